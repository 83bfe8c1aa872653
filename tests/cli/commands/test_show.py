"""`show`: a model laid out for people."""

from typing import TYPE_CHECKING

import pytest

from modelrunner.cli.commands.show import layout
from modelrunner.wire.models import ModelView

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

ID = "sha256:" + "a" * 64
MODEL = {
    "id": ID,
    "tags": ["ai/gemma3:latest", "mymodel:v1"],
    "created": 1704067200,
    "config": {
        "format": "gguf",
        "architecture": "llama",
        "parameters": "7B",
        "size": "4.5GB",
        "quantization": "Q4_K_M",
        "context_size": 4096,
        "gguf": {"llama.block_count": "32", "general.name": "Gemma"},
    },
}
FIRST = f"Model:       {ID}\nTags:        ai/gemma3:latest, mymodel:v1\nCreated:     2024-01-01T00:00:00Z\n"
TEXT = (
    f"{FIRST}\n"
    "Format:       gguf\nArchitecture: llama\nParameters:   7B\nSize:         4.5GB\n"
    "Quantization: Q4_K_M\nContext Size: 4096\n\n"
    "GGUF Metadata:\n  general.name: Gemma\n  llama.block_count: 32\n"
)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_everything_has_its_label(daemon: "Daemon", dmr: "Run") -> None:
    """The reference's layout to the character, with the metadata sorted."""
    daemon.json("GET", "/models/ai/gemma3", MODEL)

    outcome = dmr("show", "ai/gemma3")

    assert (0, TEXT, "") == (outcome.code, outcome.out, outcome.err)


def test_a_model_without_configuration_has_one_block() -> None:
    """Nothing is invented."""
    model: ModelView = {"id": ID, "tags": MODEL["tags"], "created": 1704067200, "config": None}  # type: ignore[typeddict-item]  # the constant is plain JSON

    assert layout(model) == FIRST


def test_the_registry_s_model_tells_whether_it_would_fit(daemon: "Daemon", dmr: "Run") -> None:
    """`--remote` asks the registry, and adds what a download and a load would take."""
    details = {
        "size": 4_500_000_000,
        "layers": 1,
        "tensors": 2,
        "fits": True,
        "memory_needed": 5_000_000_000,
        "memory_available": 8_000_000_000,
        "fits_context": 16384,
    }
    daemon.json("GET", "/models/ai/gemma3", {**MODEL, "details": details})

    outcome = dmr("show", "-r", "ai/gemma3")

    assert outcome.out.endswith(
        "\nDownload:     4.50GB\nMemory:       5.00GB of 8.00GB, fits\nFits Context: 16384\n"
    )
    assert daemon.seen[0].query == {"remote": "true"}


def test_what_is_in_force_is_shown_with_its_origin(daemon: "Daemon", dmr: "Run") -> None:
    """Where the daemon can tell."""
    values = {"context-size": {"value": 8192, "from": "packaged"}}
    row = {"Backend": "llama.cpp", "Mode": "completion", "Config": {}, "Effective": values}
    daemon.json("GET", "/models/m", MODEL)
    daemon.json("GET", "/engines/_configure", [row])

    assert dmr("show", "m").out.endswith(
        "\nConfiguration (llama.cpp, completion):\n  context-size: 8192 (packaged)\n"
    )


def test_text_from_a_registry_steers_no_terminal() -> None:
    """Control characters of metadata are replaced, and a time beyond the calendar is a number."""
    model: ModelView = {
        "id": ID,
        "created": 2**62,
        "config": {"architecture": "a\x1b[2J", "gguf": {"k\n": "\x9b1m"}},
    }

    text = layout(model)

    assert "\x1b" not in text
    assert "\x9b" not in text
    assert f"Created:     {2**62}\n" in text
