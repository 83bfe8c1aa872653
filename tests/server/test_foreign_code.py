"""A model with code of its own never reaches an engine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors import numpy as safetensors_numpy

from modelrunner.engines.base import Address, EngineState, EngineStatus, Launch, Options
from modelrunner.models.artifacts.packaging import File, assemble
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import copy

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

CHAT = "/engines/v1/chat/completions"


class Seeing:
    """An engine for safetensors that notes what it is given, and never starts."""

    name = display = "seeing"
    formats = frozenset({Format.SAFETENSORS})
    modes = frozenset({Mode.COMPLETION})
    native: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.seen: list[Bundle] = []

    def probe(self) -> EngineStatus:
        return EngineStatus(EngineState.RUNNING)

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:
        return None

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        self.seen.append(bundle)
        return Launch(argv=("/bin/false",))

    def diagnose(self, tail: str) -> str | None:
        return None


async def _store(daemon: "Daemon", name: str, beside: dict[str, str]) -> None:
    """Store a model in safetensors with some files beside its weights, as another tool may package it."""
    folder = daemon.folder / "files"
    folder.mkdir(exist_ok=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(safetensors_numpy.save({}))
    files = [File(weights, kinds.SAFETENSORS_LAYER, weights.name)]
    for name_of_file, text in beside.items():
        path = folder / name_of_file
        path.write_text(text)
        files.append(File(path, kinds.FILE_LAYER, name_of_file))
    draft = assemble(files, ModelConfig(format=Format.SAFETENSORS), config_type=kinds.CONFIG_V02)
    await copy(draft, daemon.services.store, draft.manifest_value, [parse_reference(name)])


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ({"modeling_evil.py": "raise SystemExit"}, "`modeling_evil.py` is a program"),
        ({"training_args.bin": "\x80"}, "`training_args.bin` is a pickle"),
        ({"config.json": '{"auto_map": {"AutoModel": "evil.Evil"}}'}, "`config.json` has `auto_map`"),
    ],
)
async def test_a_model_with_code_is_refused_with_the_reason(
    daemon: "Daemon", beside: dict[str, str], reason: str
) -> None:
    """422: the engine is not even asked for a command line, and no such file was laid out for it."""
    engine = Seeing()
    daemon.services.engines._engines = {"seeing": engine}
    await _store(daemon, "ai/evil:latest", {"config.json": "{}", **beside})

    answer = await daemon.ask("POST", CHAT, json=daemon.chat("ai/evil"))

    assert answer.status == 422
    assert answer.json["error"]["code"] == "unsupported_model"
    assert reason in answer.json["error"]["message"]
    assert engine.seen == []
    assert [path for name in beside for path in daemon.folder.joinpath("models", "bundles").rglob(name)] == []


async def test_a_bundle_that_was_laid_out_before_is_looked_at_again(daemon: "Daemon") -> None:
    """Code that came into it since is gone before an engine gets it: it is laid out anew."""
    engine = Seeing()
    daemon.services.engines._engines = {"seeing": engine}
    await _store(daemon, "ai/good:latest", {"config.json": json.dumps({"model_type": "llama"})})
    first = await daemon.ask("POST", CHAT, json=daemon.chat("ai/good"))
    (bundle,) = engine.seen
    (Path(bundle.root) / "model" / "evil.py").write_text("raise SystemExit")
    second = await daemon.ask("POST", CHAT, json=daemon.chat("ai/good"))
    found = sorted(path.name for path in (Path(bundle.root) / "model").iterdir())

    assert first.json["error"]["code"] == second.json["error"]["code"] == "engine_failed"
    assert len(engine.seen) == 2
    assert found == ["config.json", "model.safetensors"]
