"""Models in the shapes of the API."""

from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines import llamacpp_memory
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Mode
from modelrunner.models.remote.peek import Peek
from modelrunner.models.weights.gguf import GGUFHeader, read_header
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.plan import Key, State
from modelrunner.runtime.views import ResidentView
from modelrunner.server.library.views import remote_view, running_view
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.gguf import tiny_gguf

GB = 1 << 30
CONFIG = ModelConfig(context_size=4096)
PEEK = Peek(CONFIG, CONFIG, template="{{ x }}", size=GB + 10, weights=GB, tensors=3, per_token=100_000)
KEY = Key("llama.cpp", Digest.of(b"a"), Mode.COMPLETION)
MANIFEST = make_artifact(b"weights").content


def test_a_model_that_is_elsewhere_has_figures_for_this_machine() -> None:
    """What there is, what it needs, and the context that there is memory for."""
    details = remote_view(MANIFEST, PEEK, 8 * GB)["details"]

    assert {
        "size": GB + 10,
        "layers": 1,
        "tensors": 3,
        "chat_template": "{{ x }}",
        "fits": True,
        "fits_context": 4096,
        "memory_needed": GB + 2 * GB + 4096 * 100_000,
        "memory_available": 8 * GB,
    } == details


def test_a_model_that_is_too_large_does_not_fit() -> None:
    """Nor any context of it."""
    details = remote_view(MANIFEST, PEEK, GB)["details"]

    assert not details["fits"]
    assert "fits_context" not in details


@pytest.mark.parametrize("template", [None, ""])
def test_of_a_context_nothing_is_said_when_nothing_is_known(template: str | None) -> None:
    """As of a model for images; an empty template is one."""
    found = replace(PEEK, per_token=0, template=template)
    details = remote_view(MANIFEST, found, 8 * GB)["details"]

    assert details["fits"]
    assert "fits_context" not in details
    assert details.get("chat_template") == template


@pytest.fixture
def header(tmp_path: Path) -> GGUFHeader:
    path = tiny_gguf(
        tmp_path / "m.gguf",
        **{
            "llama.block_count": 32,
            "llama.embedding_length": 4096,
            "llama.feed_forward_length": 14336,
            "llama.attention.head_count": 32,
            "llama.attention.head_count_kv": 8,
            "llama.context_length": 131072,
        },
    )
    return read_header(path)


def test_a_gguf_model_is_held_against_the_memory_by_its_header(header: GGUFHeader) -> None:
    """As before a load: it fits, with less context, or not; with what is loaded beside the weights."""
    needed = llamacpp_memory.needs([header])
    assert needed is not None
    config = ModelConfig(context_size=131072)
    found = replace(PEEK, config=config, headers=(header,), weights=header.file_bytes + 1000)

    sizes = (64 * GB, needed(4096) + 1000, needed(512) + 999)
    details = [remote_view(MANIFEST, found, size)["details"] for size in sizes]

    assert [True, True, False] == [each["fits"] for each in details]
    assert [8192, 4096, None] == [each.get("fits_context") for each in details]
    assert {needed(8192) + 1000} == {each["memory_needed"] for each in details}


def test_a_running_model_says_what_memory_is_set_aside_for_it() -> None:
    """On all devices together, in bytes, beside what it does and who waits for it."""
    resident = ResidentView(KEY, State.READY, 2, None, 300.0, {"ram": 3, "cuda:0": 4}, pinned=False)
    view = running_view(resident, "ai/a:latest", context=512, pinned=False, waiting=5)

    assert (7, 2, 5) == (view["memory"], view["requests"], view["waiting"])


def test_a_memory_that_is_not_known_is_not_told() -> None:
    """Rather than 0."""
    resident = ResidentView(KEY, State.STARTING, 0, None, None, {}, pinned=False)

    assert "memory" not in running_view(resident, "ai/a:latest", context=None, pinned=False, waiting=0)
