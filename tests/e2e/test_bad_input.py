"""What goes wrong is said in one clear sentence with a way out, has the right status, and loses nothing."""

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from modelrunner.testing.daemon import BIN, Outcome, Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

CHAT = {"model": "ai/tiny", "messages": [{"role": "user", "content": "hello"}]}


def _said(outcome: Outcome) -> str:
    """What a failed command wrote to stderr; it may be anything but a traceback."""
    assert "Traceback" not in outcome.err
    assert "error: " in [line[:7] for line in outcome.err.splitlines()]
    return outcome.err


def _post(port: int, path: str, body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_file_that_is_no_gguf_is_refused(fake: Runner, tmp_path: Path) -> None:
    """Packaging says that the file is no GGUF file, and stores nothing."""
    (tmp_path / "notes.gguf").write_text("these are notes, not weights")

    outcome = fake.run("package", "--gguf", tmp_path / "notes.gguf", "ai/notes")

    assert outcome.code == 1
    assert "not a GGUF file" in _said(outcome)
    assert fake.must("list", "-q") == ""


def test_a_truncated_gguf_is_refused(fake: Runner, tmp_path: Path) -> None:
    """Packaging says that bytes are missing, and stores nothing."""
    whole = tiny_gguf(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[:-40])

    outcome = fake.run("package", "--gguf", tmp_path / "half.gguf", "ai/half")

    assert outcome.code == 1
    assert "truncated" in _said(outcome)
    assert fake.must("list", "-q") == ""


def test_a_name_that_is_no_reference_is_refused(fake: Runner) -> None:
    """The exit code says that the input was wrong."""
    outcome = fake.run("pull", "invalid:reference:format")

    assert outcome.code == 2
    assert "invalid:reference:format" in _said(outcome)


@pytest.mark.parametrize("command", ["inspect", "rm", "push", "run"])
def test_a_model_that_is_nowhere_is_not_found(fake: Runner, command: str) -> None:
    """Each command names the model; `run` looks in the registry too, which here refuses connections."""
    words = ["a prompt"] if command == "run" else []
    name = "localhost:1/team/nothing" if command == "run" else "no-such-model"

    outcome = fake.run(command, name, *words)

    assert outcome.code == (1 if command == "run" else 3)
    assert name in _said(outcome)


def test_a_registry_that_is_down_is_named(fake: Runner) -> None:
    """A pull from a closed port says which registry does not answer, without minutes of retries."""
    outcome = fake.run("pull", "localhost:1/team/model")

    assert outcome.code == 1
    assert "localhost:1" in _said(outcome)


@pytest.mark.parametrize("body", [b"{", b"hello", b"[1]", b'{"model": 7}', b"\xff\xfe", b""])
def test_a_body_that_is_not_json_is_refused(fake: Runner, body: bytes) -> None:
    """The status is 400, and the answer is OpenAI's error JSON."""
    status, text = _post(fake.port, "/v1/chat/completions", body)

    assert status == 400
    assert json.loads(text)["error"]["type"] == "invalid_request_error"


def test_a_chat_with_an_embedding_model_is_refused(fake: Runner, tmp_path: Path) -> None:
    """A model that can only embed says so, and names the route that works."""
    bert = tiny_gguf(tmp_path / "bert.gguf", **{"general.architecture": "bert"})
    fake.must("package", "--gguf", bert, "ai/bert")

    status, text = _post(fake.port, "/v1/chat/completions", json.dumps(CHAT | {"model": "ai/bert"}).encode())

    error = json.loads(text)["error"]
    assert status == 422
    assert "embedding" in error["message"]
    assert "/v1/embeddings" in error["hint"]


def test_a_port_in_use_names_its_owner(fake: Runner) -> None:
    """A second daemon on the same port says that a model runner is already there."""
    outcome = fake.run("serve", "--port", str(fake.port))

    assert outcome.code == 1
    assert str(fake.port) in _said(outcome)
    assert "model runner" in outcome.err.lower()


def test_an_engine_that_crashes_at_load_shows_its_last_words(tmp_path: Path) -> None:
    """The engine's own lines are in the error, and the daemon lives on."""
    script = json.dumps({"crash_at_load": "unknown tensor type 99 in blk.0"})
    program = fake_llama_server(tmp_path / "engine")
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program), FAKE_ENGINE=script) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")

        outcome = runner.run("run", "ai/tiny", "hello")
        listed = runner.must("ps")

    assert outcome.code == 1
    assert "unknown tensor type 99 in blk.0" in _said(outcome)
    assert "tiny" not in listed


def test_an_engine_that_crashes_mid_stream_ends_the_stream_with_an_error(
    fake: Runner, tmp_path: Path
) -> None:
    """The official client raises; the stream does not just stop."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    with openai.OpenAI(base_url=f"{fake.url}/v1", api_key="unused", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="ai/tiny",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_body={"fake": {"tokens": 10, "crash_after_tokens": 3}},
        )

        with pytest.raises(openai.APIError) as caught:
            for _ in stream:
                pass

    assert "llama.cpp" in caught.value.message


def _on_a_disk_of_8_mb(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon whose store has a file system of its own, one command, and a list.

    A namespace lets an ordinary user mount it.
    """
    (folder / "disk").mkdir()
    (folder / "small").mkdir()
    script = (
        f"mount -t tmpfs -o size=8m none {folder}/disk && export MODELS_PATH={folder}/disk/models"
        f" HOME={folder}/small DMR_READY_FILE={folder}/ready &&"
        f" {{ {BIN}/dmr serve --port 0 >{folder}/serve.out 2>&1 & }} &&"
        f" while ! [ -s {folder}/ready ]; do sleep 0.01; done;"
        f" export MODEL_RUNNER_HOST=$(cat {folder}/ready);"
        f" {BIN}/dmr {command}; echo code $?; {BIN}/dmr list; kill %1; wait"
    )
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-mc", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["package", "pull"])
def test_a_full_disk_is_said_with_figures(fake: Runner, tmp_path: Path, smollm2: Path, command: str) -> None:
    """A model that is larger than the disk is refused, and the daemon goes on."""
    with serving_in_thread(FakeRegistry()) as url:
        name = f"{url.removeprefix('http://')}/team/smollm2"
        fake.must("package", "--gguf", smollm2, name)
        fake.must("push", name)

        words = f"package --gguf {smollm2} {name}" if command == "package" else f"pull {name}"
        done = _on_a_disk_of_8_mb(tmp_path, words)

    assert "code 1" in done.stdout, (done.stdout, done.stderr)
    assert "MODEL NAME" in done.stdout
    assert "smollm2" not in done.stdout.partition("MODEL NAME")[2]
    assert "error: not enough disk space" in done.stderr
    assert "MB" in done.stderr


def test_a_model_that_its_registry_does_not_have_is_not_found(fake: Runner) -> None:
    """A pull names the model, and has the exit code of what is not there."""
    with serving_in_thread(FakeRegistry()) as url:
        name = f"{url.removeprefix('http://')}/team/nothing:v1"

        outcome = fake.run("pull", name)

    assert outcome.code == 3
    assert name in _said(outcome)


def test_the_daemon_survives_kill_9_of_itself(fake: Runner, tmp_path: Path) -> None:
    """After kill -9 no engine is left, and the next start has the same models."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    fake.must("run", "ai/tiny", "hello")
    import psutil

    engines = psutil.Process(fake.pid).children(recursive=True)
    assert engines

    fake.stop(signal.SIGKILL)
    gone, alive = psutil.wait_procs(engines, timeout=10)
    fake.start()

    assert alive == []
    assert len(gone) == len(engines)
    assert "tiny" in fake.must("list")
    assert fake.must("run", "ai/tiny", "hello").strip() != ""


def test_nothing_is_left_after_a_stop(fake: Runner, tmp_path: Path) -> None:
    """SIGTERM ends the daemon with code 0, its engines with it, and its run directory is gone."""
    import psutil

    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    fake.must("run", "ai/tiny", "hello")
    engines = psutil.Process(fake.pid).children(recursive=True)

    code = fake.stop()

    assert code == 0
    assert [] == [engine for engine in engines if engine.is_running()]


def test_python_m_modelrunner_is_the_same_program(fake: Runner) -> None:
    """`python -m modelrunner` does what `dmr` does."""
    done = subprocess.run(
        [sys.executable, "-m", "modelrunner", "list", "-q"],
        env=fake.environ | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == ""
