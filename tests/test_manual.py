"""The manual pages: one for each command, and nothing that the formatter complains about."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from modelrunner.cli import table

ROOT = Path(__file__).parent.parent


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "scripts" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_page() -> None:
    """With the flags that its help has, and the program's own page that leads to all."""
    pages = _script().pages()
    names = [name for name, _ in table.listed(standalone=True)]

    assert {"dmr.1", *(f"dmr-{name}.1" for name in names)} == set(pages)
    assert "\\-\\-context\\-size int32" in pages["dmr-configure.1"]
    assert [] == [name for name in names if name.replace("-", "\\-") not in pages["dmr.1"]]


def test_man_reads_them_without_a_warning(tmp_path: Path) -> None:
    """All at once, for the sake of time; and `apropos` would find each by its first line."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed; scripts/test-packages does that")
    folder = tmp_path / "man1"
    folder.mkdir()
    for name, text in _script().pages().items():
        (folder / name).write_text(text)
    paths = sorted(folder.iterdir())
    done = subprocess.run(
        ["man", "--warnings=all", "-E", "UTF-8", "-P", "cat", "-l", *paths],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    named = subprocess.run(["lexgrog", *paths], capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert "dmr-pull - Pull a model from a registry" in done.stdout
    assert (0, len(paths)) == (named.returncode, len(named.stdout.splitlines()))
