"""`dmr gateway` as a program, in front of the runner."""

import json
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from modelrunner.testing.daemon import BIN, Runner
from modelrunner.testing.gguf import tiny_gguf


def test_the_runner_s_models_are_behind_a_name_of_one_s_own(fake: Runner, tmp_path: Path) -> None:
    """It finds the runner as every command does, and a signal ends it."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "m.gguf"), "ai/smollm2")
    config = tmp_path / "gateway.yaml"
    config.write_text("model_list: [{model_name: mine, params: {model: docker_model_runner/ai/smollm2}}]\n")
    process = subprocess.Popen(
        [BIN / "dmr", "gateway", "--config", config, "--port", "0"],
        env=fake.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip().rpartition(" ")[2]
        body = {"model": "mine", "messages": [{"role": "user", "content": "hi"}]}
        request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            document = json.load(answer)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        process.stdout.close()

    assert document["choices"][0]["message"]["content"]
    assert code in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot read"), ("{", "is no YAML"), ("model_list: []", "has no models")]
)
def test_a_file_that_cannot_be_used_is_a_sentence(
    fake: Runner, tmp_path: Path, text: str | None, message: str
) -> None:
    """And no server."""
    config = tmp_path / "gateway.yaml"
    if text is not None:
        config.write_text(text)

    outcome = fake.run("gateway", "--config", config)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_the_file_has_to_be_named(fake: Runner) -> None:
    """There is no usual place for it."""
    assert "--config is required" in fake.run("gateway").err
