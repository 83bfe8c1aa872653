"""Which engine is chosen for a model, and what is said when none is."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from modelrunner.engines.base import (
    Address,
    Engine,
    EngineSettings,
    EngineState,
    EngineStatus,
    Launch,
    Options,
)
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.engines.registry import Engines, load_engines
from modelrunner.engines.vllm import Vllm
from modelrunner.errors import EngineNotFound, EngineNotInstalled, InvalidRequest, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode

GGUF, SAFETENSORS = ModelConfig(format=Format.GGUF), ModelConfig(format=Format.SAFETENSORS)
RUNNING = EngineStatus(EngineState.RUNNING, "1", "fine 1")
MISSING = EngineStatus(EngineState.NOT_INSTALLED, detail="binary not found")


class Scripted:
    """An engine whose probe answers from a list, the last one for ever."""

    native: frozenset[str] = frozenset()
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING})

    def __init__(self, name: str, form: Format, *statuses: EngineStatus, reason: str | None = None) -> None:
        self.name = self.display = name
        self.formats = frozenset({form})
        self.probes = 0
        self._statuses = statuses or (RUNNING,)
        self._reason = reason

    def probe(self) -> EngineStatus:
        self.probes += 1
        return self._statuses[min(self.probes, len(self._statuses)) - 1]

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:
        return self._reason if mode is Mode.COMPLETION else None

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        return Launch(argv=(self.name,))

    def diagnose(self, tail: str) -> str | None:
        return None


def _engines(*engines: Engine) -> Engines:
    return Engines(engines, clock=lambda: 0.0)


def _choice(engines: Sequence[Engine], config: ModelConfig, named: str | None = None) -> str:
    return _engines(*engines).choose(config, Mode.COMPLETION, named).name


LLAMA = Scripted("llama.cpp", Format.GGUF)
VLLM = Scripted("vllm", Format.SAFETENSORS)
MLX = Scripted("mlx", Format.SAFETENSORS)
NO_VLLM = Scripted("vllm", Format.SAFETENSORS, MISSING)


@pytest.mark.parametrize(
    ("engines", "config", "named", "chosen"),
    [
        ((LLAMA, VLLM), GGUF, None, "llama.cpp"),
        ((LLAMA, VLLM), SAFETENSORS, None, "vllm"),
        ((LLAMA, VLLM), SAFETENSORS, "llama.cpp", "vllm"),
        ((LLAMA, VLLM), GGUF, "vllm", "llama.cpp"),
        ((LLAMA, VLLM, MLX), SAFETENSORS, "mlx", "mlx"),
        ((LLAMA, NO_VLLM, MLX), SAFETENSORS, None, "mlx"),
        ((LLAMA, VLLM), ModelConfig(), None, "llama.cpp"),
        ((LLAMA, VLLM), ModelConfig(), "vllm", "vllm"),
    ],
)
def test_the_first_engine_that_fits_is_chosen(
    engines: tuple[Engine, ...], config: ModelConfig, named: str | None, chosen: str
) -> None:
    """The named one goes first, but the model's format decides; one that is not installed is passed over."""
    assert _choice(engines, config, named) == chosen


def test_an_engine_that_was_named_and_fits_must_be_installed() -> None:
    """Nobody gets another engine than the one asked for without a word."""
    with pytest.raises(EngineNotInstalled, match="vllm: Not Installed: binary not found"):
        _choice((LLAMA, NO_VLLM, MLX), SAFETENSORS, "vllm")


def test_engines_that_fit_and_are_not_installed_say_why() -> None:
    """The reason is the probe's; engines that would not fit anyway are left out."""
    with pytest.raises(EngineNotInstalled) as caught:
        _choice((LLAMA, NO_VLLM), SAFETENSORS)

    assert caught.value.message == (
        "no usable backend for this model (vllm: Not Installed: binary not found)"
    )


def test_when_no_engine_fits_each_ones_reason_is_given() -> None:
    """A user sees what was tried."""
    with pytest.raises(UnsupportedModel) as caught:
        _choice((LLAMA, VLLM), ModelConfig(format=Format.DDUF))

    assert caught.value.message == (
        "no backend can serve this model for completion (llama.cpp: does not run models of the format `dduf`;"
        " vllm: does not run models of the format `dduf`)"
    )
    assert caught.value.hint is None


def test_a_mode_that_no_engine_does_is_named() -> None:
    """The model may be fine, and the wish is not."""
    with pytest.raises(UnsupportedModel, match=r"llama\.cpp: does not do reranking"):
        _engines(LLAMA).choose(GGUF, Mode.RERANKING)


def test_a_model_that_only_embeds_comes_with_the_way_out() -> None:
    """Who chats with it is sent to the embeddings."""
    engine = Scripted("llama.cpp", Format.GGUF, reason="it makes embeddings")

    with pytest.raises(UnsupportedModel, match=r"llama\.cpp: it makes embeddings") as caught:
        _choice((engine,), GGUF)

    assert caught.value.hint == "it is a model for embeddings: use /v1/embeddings"


@pytest.mark.parametrize(
    ("metadata", "mode"),
    [
        ({"general.architecture": "llama"}, Mode.COMPLETION),
        ({"general.architecture": "bert", "bert.pooling_type": "1"}, Mode.EMBEDDING),
        ({"general.architecture": "bert", "bert.pooling_type": "4"}, Mode.RERANKING),
        ({"general.architecture": "clip"}, Mode.COMPLETION),
        ({}, Mode.COMPLETION),
    ],
)
def test_what_a_model_is_for_is_detected(metadata: dict[str, str], mode: Mode) -> None:
    """From its header; nobody has to say that it makes embeddings, or ranks."""
    engines = Engines([LlamaCpp()])

    assert engines.natural_mode(ModelConfig(format=Format.GGUF, metadata=metadata)) is mode


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """The error lists what there is."""
    with pytest.raises(EngineNotFound, match="backend not found: `tgi`") as caught:
        _choice((LLAMA, VLLM), GGUF, "tgi")

    assert caught.value.hint == "known backends: `llama.cpp`, `vllm`"


def test_a_good_probe_is_believed() -> None:
    """Choosing again costs no probe."""
    engine = Scripted("llama.cpp", Format.GGUF)
    engines = _engines(engine)

    for _ in range(3):
        engines.choose(GGUF, Mode.COMPLETION)

    assert engine.probes == 1


def test_an_engine_that_was_missing_is_looked_for_again_after_a_while() -> None:
    """Not on every request, and not never."""
    now = [0.0]
    engine = Scripted("llama.cpp", Format.GGUF, MISSING, RUNNING)
    engines = Engines([engine], clock=lambda: now[0])

    for now[0] in (0.0, 0.5):
        with pytest.raises(EngineNotInstalled):
            engines.choose(GGUF, Mode.COMPLETION)
    probes = engine.probes
    now[0] = 1.5

    assert engines.choose(GGUF, Mode.COMPLETION) is engine
    assert probes == 1


def test_statuses_probe_every_engine_now() -> None:
    """What they find replaces what was believed."""
    engine = Scripted("llama.cpp", Format.GGUF, RUNNING, MISSING)
    engines = _engines(engine, NO_VLLM)
    engines.choose(GGUF, Mode.COMPLETION)

    statuses = engines.statuses()

    assert {name: str(status) for name, status in statuses.items()} == {
        "llama.cpp": "Not Installed: binary not found",
        "vllm": "Not Installed: binary not found",
    }
    with pytest.raises(EngineNotInstalled):
        engines.choose(GGUF, Mode.COMPLETION)


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group="modelrunner.engines")


def test_the_built_in_engine_is_registered_like_any_other() -> None:
    """An installed distribution brings llama.cpp, and it comes first."""
    engines = load_engines(EngineSettings())

    assert engines.names[0] == "llama.cpp"
    assert isinstance(engines.get("llama.cpp"), LlamaCpp)


def test_a_plugin_that_cannot_be_loaded_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, has a status, and an error of its own when it is asked for."""
    found = [
        _point("broken", "no.such.module:X"),
        _point("llama.cpp", "modelrunner.engines.llamacpp:LlamaCpp"),
    ]

    engines = load_engines(EngineSettings(), found)

    assert engines.names == ("llama.cpp",)
    assert engines.statuses()["broken"].state is EngineState.ERROR
    assert "name=broken" in caplog.text
    with pytest.raises(EngineNotFound) as caught:
        engines.get("broken")
    assert caught.value.hint is not None
    assert "ModuleNotFoundError" in caught.value.hint


def test_wrong_settings_stop_the_start() -> None:
    """A user's mistake is told, unlike a plug-in's."""
    found = [_point("llama.cpp", "modelrunner.engines.llamacpp:LlamaCpp")]

    with pytest.raises(InvalidRequest, match="LLAMA_ARGS"):
        load_engines(EngineSettings(extra_args=("--host", "x")), found)


def test_of_several_that_are_installed_the_best_is_taken_not_the_first_by_name() -> None:
    """The order is vLLM, SGLang, MLX, whatever the order in which distributions register them."""
    points = [
        EntryPoint(name, f"{__name__}:{value}", "modelrunner.engines")
        for name, value in (("mlx", "_mlx"), ("sglang", "_sglang"), ("vllm", "_no_vllm"), ("a", "_other"))
    ]

    engines = load_engines(EngineSettings(), points)

    assert engines.names == ("vllm", "sglang", "mlx", "a")
    assert engines.choose(SAFETENSORS, Mode.COMPLETION).name == "sglang"


def _mlx(_: EngineSettings) -> Engine:
    return Scripted("mlx", Format.SAFETENSORS)


def _sglang(_: EngineSettings) -> Engine:
    return Scripted("sglang", Format.SAFETENSORS)


def _no_vllm(_: EngineSettings) -> Engine:
    return Scripted("vllm", Format.SAFETENSORS, MISSING)


def _other(_: EngineSettings) -> Engine:
    return Scripted("a", Format.SAFETENSORS)


def test_whoever_lacks_an_engine_is_told_how_to_install_it(tmp_path: Path) -> None:
    """The error has the command; for an engine that the daemon cannot install there is none."""
    vllm = Vllm(EngineSettings(environments=tmp_path), system="Linux", image_program=tmp_path / "absent")
    named = Vllm(EngineSettings(programs={"vllm": tmp_path / "absent"}), system="Linux")
    hints = []
    for engine in (vllm, named):
        with pytest.raises(EngineNotInstalled) as caught:
            _engines(LLAMA, engine).choose(SAFETENSORS, Mode.COMPLETION)
        hints.append(caught.value.hint)

    assert "`docker model install-runner --backend vllm`" in (hints[0] or "")
    assert hints[1] is None


def test_while_one_is_installed_the_status_says_so() -> None:
    """With what is done for it; afterwards it is looked at again, however good the last look was."""
    engine = Scripted("vllm", Format.SAFETENSORS, MISSING, RUNNING)
    engines = _engines(engine)
    engines.note("vllm", "unpacking")
    during = engines.statuses()["vllm"]
    engines.note("vllm", None)

    assert str(during) == "Installing: unpacking"
    assert engines.status(engine).usable
