"""Models in the shapes of the API."""

from dataclasses import replace

import pytest

from modelrunner.models.config import ModelConfig
from modelrunner.models.kinds import Mode
from modelrunner.models.peek import Peek
from modelrunner.oci.digest import Digest
from modelrunner.runtime.plan import Key, State
from modelrunner.runtime.views import ResidentView
from modelrunner.server.views import remote_view, running_view
from modelrunner.testing.artifacts import make_artifact

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
        "memory_needed": GB + (256 << 20) + 4096 * 100_000,
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


def test_a_running_model_says_what_memory_is_set_aside_for_it() -> None:
    """On all devices together, in bytes, beside what it does and who waits for it."""
    resident = ResidentView(KEY, State.READY, 2, None, 300.0, {"ram": 3, "cuda:0": 4}, pinned=False)
    view = running_view(resident, "ai/a:latest", context=512, pinned=False, waiting=5)

    assert (7, 2, 5) == (view["memory"], view["requests"], view["waiting"])


def test_a_memory_that_is_not_known_is_not_told() -> None:
    """Rather than 0."""
    resident = ResidentView(KEY, State.STARTING, 0, None, None, {}, pinned=False)

    assert "memory" not in running_view(resident, "ai/a:latest", context=None, pinned=False, waiting=0)
