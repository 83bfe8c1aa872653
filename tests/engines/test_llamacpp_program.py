"""Which program serves models for llama.cpp, and what it says of itself."""

import os
import stat
import sys
from pathlib import Path

import pytest

from modelrunner.engines.base import EngineSettings, EngineState
from modelrunner.engines.llamacpp_program import Programs, parse_version


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("version: 6021 (3f2e8a1)\nbuilt with cc for x86_64", "3f2e8a1"),
        ("ggml_cuda_init: found 1 device\nversion: 6021 (3f2e8a1)", "3f2e8a1"),
        ("version: 7", "7"),
        ("nothing", None),
    ],
)
def test_the_version_is_the_commit(output: str, version: str | None) -> None:
    """As `llama-server --version` prints it."""
    assert parse_version(output) == version


def _script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


GOOD = "echo 'version: 1 (abc)' >&2"


@pytest.mark.parametrize("name", ["llama-server", "com.docker.llama-server"])
def test_a_named_directory_holds_the_program(tmp_path: Path, name: str) -> None:
    """By either of its usual names; it wins over the search path."""
    program = _script(tmp_path / "named" / name, GOOD)
    _script(tmp_path / "path/llama-server", "echo 'version: 2 (def)'")
    programs = Programs(EngineSettings(server_path=tmp_path / "named", search_path=str(tmp_path / "path")))

    found = programs.find()

    assert found.argv == (str(program),)
    assert str(found.status) == "Running: llama.cpp abc"
    assert found.status.version == "abc"


def test_the_program_itself_may_be_named(tmp_path: Path) -> None:
    """Whatever it is called."""
    program = _script(tmp_path / "my-server", GOOD)
    programs = Programs(EngineSettings(server_path=program))

    assert programs.find().status.usable
    assert programs.find().argv == (str(program),)


def test_a_named_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The user is told, rather than given another engine."""
    status = Programs(EngineSettings(server_path=tmp_path / "none")).find().status

    assert status.state is EngineState.ERROR
    assert str(tmp_path / "none") in status.detail


def test_a_program_on_the_search_path_comes_before_the_embedded_one(tmp_path: Path) -> None:
    """A native build is faster."""
    program = _script(tmp_path / "llama-server", GOOD)
    programs = Programs(EngineSettings(search_path=f"/nonexistent{os.pathsep}{tmp_path}"))

    assert programs.find().status.detail == "llama.cpp abc"
    assert programs.find().argv == (str(program),)


@pytest.mark.parametrize(
    "body", ["echo 'error while loading shared libraries: libx.so' >&2; exit 127", "exit 1"]
)
def test_a_broken_program_on_the_search_path_is_passed_over(tmp_path: Path, body: str) -> None:
    """Nobody named it, and the embedded engine works."""
    _script(tmp_path / "llama-server", body)
    programs = Programs(EngineSettings(search_path=str(tmp_path)))

    assert programs.find().status.usable
    assert programs.find().argv[0] == sys.executable


def test_a_broken_program_that_was_named_tells_its_last_words(tmp_path: Path) -> None:
    """They say what is missing."""
    program = _script(tmp_path / "llama-server", "echo 'libx.so: not found' >&2; exit 127")

    status = Programs(EngineSettings(server_path=program)).find().status

    assert status.state is EngineState.ERROR
    assert status.detail == f"`{program}` does not start: libx.so: not found"


def test_a_file_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    """Whatever the system says of it."""
    program = tmp_path / "llama-server"
    program.write_text("not a program")

    status = Programs(EngineSettings(server_path=program)).find().status

    assert status.state is EngineState.ERROR
    assert "cannot be run" in status.detail


def test_an_unchanged_program_is_asked_once(tmp_path: Path) -> None:
    """A changed one again."""
    program = _script(tmp_path / "llama-server", f"echo x >> {tmp_path}/asked; {GOOD}")
    programs = Programs(EngineSettings(server_path=program))

    programs.find()
    programs.find()
    asked = (tmp_path / "asked").read_text()
    os.utime(program, ns=(1, 1))
    programs.find()

    assert asked == "x\n"
    assert (tmp_path / "asked").read_text() == "x\nx\n"


def test_without_any_program_the_embedded_engine_serves() -> None:
    """In this interpreter, as a module, with nothing imported from the working directory."""
    programs = Programs(EngineSettings())

    found = programs.find()

    assert found.status.usable
    assert found.status.version is not None
    assert found.argv == (sys.executable, "-P", "-m", "modelrunner.engines.llamacpp_server")
