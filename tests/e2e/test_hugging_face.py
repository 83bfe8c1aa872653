"""Pull from, and push to, a hub that speaks Hugging Face's API, as a user does."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.hub import FakeHub
from modelrunner.testing.serving import serving_in_thread

SAFE = {
    "config.json": b'{"model_type": "llama", "max_position_embeddings": 4096, "num_hidden_layers": 2, '
    b'"num_attention_heads": 4, "hidden_size": 32}',
    "tokenizer_config.json": b'{"chat_template": "{{ inside }}"}',
}


def _safetensors(folder: Path) -> bytes:
    save_file({"a": np.zeros((4, 8), np.float16)}, folder / "m.safetensors")
    return (folder / "m.safetensors").read_bytes()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    fake = FakeHub()
    weights = tiny_gguf(tmp_path / "m.gguf").read_bytes()
    fake.add("Org/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": weights, "Tiny-Q8_0.gguf": weights, "LICENSE": b"free"})
    fake.add("Org/Safe", {"model.safetensors": _safetensors(tmp_path), **SAFE})
    fake.add("Org/Closed", {"m.gguf": weights}, gated=True)
    with serving_in_thread(fake) as address, serving_in_thread(fake) as storage:
        fake.address, fake.storage = address, storage
        yield fake


@pytest.fixture
def runner(tmp_path: Path, hub: FakeHub) -> Iterator[Runner]:
    with running(tmp_path / "home", HF_ENDPOINT=hub.address, DMR_MEMORY="8GiB") as started:
        yield started


def test_a_model_is_pulled_listed_and_pulled_again(runner: Runner) -> None:
    """By the quantization that its name says; the second time it is found to be the same."""
    first = runner.run("pull", "hf.co/Org/Tiny-GGUF:Q8_0")
    listed = runner.must("list")
    second = runner.run("pull", "hf.co/Org/Tiny-GGUF:Q8_0")

    assert (0, 0) == (first.code, second.code)
    assert "Model pulled successfully" in first.out
    assert "Using cached model" in second.out
    assert "huggingface.co/org/tiny-gguf:Q8_0" in listed


def test_a_quantization_that_is_not_there_is_an_error_with_a_list(runner: Runner) -> None:
    """And the exit code of a model that is not found."""
    outcome = runner.run("pull", "hf.co/Org/Tiny-GGUF:Q5_K_M")

    assert 3 == outcome.code
    assert "no `Q5_K_M` in repository `Org/Tiny-GGUF`" in outcome.err
    assert "`Q4_K_M`, `Q8_0`" in outcome.err


def test_a_gated_model_says_what_to_do(runner: Runner) -> None:
    """Accept the terms, and bring a token; no success is claimed."""
    outcome = runner.run("pull", "hf.co/Org/Closed")

    assert 4 == outcome.code
    assert "the model is gated: `Org/Closed`" in outcome.err
    assert "accept its terms at https://huggingface.co/Org/Closed" in outcome.err


def test_a_model_is_looked_at_without_being_pulled(runner: Runner) -> None:
    """Its description is made of its header; whether it fits is asked of what models may have here."""
    found = json.loads(runner.must("inspect", "--remote", "hf.co/Org/Tiny-GGUF"))

    assert "gguf" == found["config"]["format"]
    assert found["details"]["fits"]
    assert 8 << 30 == found["details"]["memory_available"]
    assert "[]" == runner.must("list", "--json").strip()


def test_a_safetensors_model_is_looked_at_without_being_pulled(runner: Runner) -> None:
    """Its architecture, its context and its template are in files beside the weights."""
    found = json.loads(runner.must("inspect", "--remote", "hf.co/Org/Safe"))

    assert {
        "format": "safetensors",
        "architecture": "llama",
        "parameters": "32.00",
        "quantization": "F16",
        "context_size": 4096,
    }.items() <= found["config"].items()
    assert ("{{ inside }}", True, 4096) == (
        found["details"]["chat_template"],
        found["details"]["fits"],
        found["details"]["fits_context"],
    )
    assert "[]" == runner.must("list", "--json").strip()


def test_a_model_is_pushed_and_comes_back_the_same(tmp_path: Path, hub: FakeHub) -> None:
    """To a new repository, which is private; the file names are those it was packaged with."""
    with running(tmp_path / "home", HF_ENDPOINT=hub.address, HF_TOKEN="hf_mine") as runner:
        (tmp_path / "COPYING").write_text("free")
        weights = tmp_path / "mine-F16.gguf"
        tiny_gguf(weights)
        runner.must("package", "--gguf", weights, "-l", tmp_path / "COPYING", "hf.co/me/mine")
        pushed = runner.run("push", "hf.co/me/mine")
        runner.must("rm", "hf.co/me/mine")
        runner.must("pull", "hf.co/me/mine")

    assert 0 == pushed.code
    assert {"mine-F16.gguf", "COPYING"} == set(hub.repositories["me/mine"].files)
    assert weights.read_bytes() == hub.repositories["me/mine"].files["mine-F16.gguf"]
