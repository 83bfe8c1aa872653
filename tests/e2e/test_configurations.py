"""How models are to be run outlasts everything that a daemon goes through."""

import json
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

PATIENCE = 60.0  # seconds


@pytest.fixture
def runner(fake: Runner, tmp_path: Path) -> Runner:
    """A daemon with the model `ai/tiny` and the scripted engine."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    return fake


def engine_processes(runner: Runner) -> Iterator[tuple[int, list[str]]]:
    """The numbers and the command lines of the engines that the daemon has started."""
    for child in psutil.Process(runner.pid).children(recursive=True):
        try:
            arguments = child.cmdline()
        except psutil.Error:  # gone meanwhile
            continue
        if "--model" in arguments:
            yield child.pid, arguments


def engine_numbers(runner: Runner) -> list[int]:
    """Which processes they are."""
    return [number for number, _ in engine_processes(runner)]


def engines(runner: Runner) -> Iterator[list[str]]:
    """What they were started with."""
    yield from (arguments for _, arguments in engine_processes(runner))


def context(runner: Runner) -> str:
    """The context that the one engine was started with."""
    [arguments] = engines(runner)
    return arguments[arguments.index("--ctx-size") + 1]


def loaded(runner: Runner) -> list[str]:
    """The models in memory, once none is loading and there is one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{runner.url}/engines/ps") as answer:
            rows = json.load(answer)
        if rows and not any(row.get("loading") for row in rows):
            return sorted(row["model_name"] for row in rows)
    raise AssertionError(f"nothing was loaded\n{runner.log}")


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_a_configuration_is_in_force_after_a_restart(runner: Runner, with_signal: signal.Signals) -> None:
    """Whether the daemon was stopped or killed; the engine's command line has it, and `ps` shows it."""
    runner.must("configure", "--context-size", "768", "--keep-alive", "-1", "ai/tiny", "--", "--temp", "0")
    runner.stop(with_signal)
    runner.start()
    runner.must("run", "ai/tiny", "hello")

    assert "768" == context(runner)
    header, row = runner.must("ps").splitlines()
    shown = dict(zip(re.split(r"  +", header), re.split(r"  +", row), strict=True))
    assert "768" == shown["CONTEXT"]
    assert "Forever" in row
    [shown] = json.loads(runner.must("configure", "show", "ai/tiny"))
    assert {"context-size": 768, "keep_alive": "-1", "runtime-flags": ["--temp", "0"]} == shown["Config"]


def test_a_configuration_is_in_force_after_unloading(runner: Runner) -> None:
    """When idle for too long, and by command; a reset ends it."""
    runner.must("configure", "--context-size", "768", "ai/tiny")
    runner.must("run", "ai/tiny", "hello")
    runner.must("unload", "--all")
    runner.must("run", "ai/tiny", "hello")
    assert "768" == context(runner)

    runner.must("configure", "--reset", "ai/tiny")
    runner.must("run", "ai/tiny", "hello")
    assert "2048" == context(runner)


def test_compose_may_configure_again_what_is_in_use(runner: Runner) -> None:
    """The same configuration at every `up`, without a restart of the engine."""
    arguments = ("configure", "--context-size", "768", "ai/tiny", "--", "--temp", "0")
    runner.must(*arguments)
    runner.must("run", "ai/tiny", "hello")
    before = engine_numbers(runner)
    outcome = runner.run(*arguments, program="docker-model")

    assert (0, "", "") == (outcome.code, outcome.out, outcome.err)
    assert before
    assert before == engine_numbers(runner)


def test_a_pinned_model_is_there_after_a_restart(runner: Runner) -> None:
    """Without a request, and for good; until it is unpinned."""
    runner.must("pin", "ai/tiny")
    runner.stop(signal.SIGKILL)
    runner.start("--keep-alive", "0")
    assert ["ai/tiny:latest"] == loaded(runner)
    assert "Pinned" in runner.must("ps")

    runner.must("unpin", "ai/tiny")
    runner.must("run", "ai/tiny", "hello")
    assert 1 == len(runner.must("ps").splitlines())


def test_models_are_preloaded_by_a_setting(tmp_path: Path) -> None:
    """What is not here is said in the log, and keeps nothing from starting."""
    program = fake_llama_server(tmp_path / "engine")
    with running(
        tmp_path / "home", LLAMA_SERVER_PATH=str(program), DMR_PRELOAD="ai/absent, ai/tiny"
    ) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
        runner.stop()
        runner.start()

        assert ["ai/tiny:latest"] == loaded(runner)
        assert "model not preloaded model=ai/absent error=model not found: `ai/absent`" in runner.log


def test_inspect_says_how_a_model_is_run(runner: Runner) -> None:
    """Value by value, and where each comes from."""
    runner.must("configure", "--context-size", "768", "ai/tiny")
    [runs] = json.loads(runner.must("inspect", "ai/tiny"))["configuration"]

    assert ("llama.cpp", "completion") == (runs["backend"], runs["mode"])
    assert {"value": 768, "from": "configured"} == runs["values"]["context-size"]
    assert {"value": "5m0s", "from": "default"} == runs["values"]["keep_alive"]
