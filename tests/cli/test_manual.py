"""The manual pages: one for each command, and nothing that the formatter complains about."""

import shutil
import subprocess
from pathlib import Path

import pytest

from modelrunner.cli import manual, table


def test_every_command_has_a_page() -> None:
    """With the flags that its help has, and the program's own page that leads to all."""
    pages = manual.pages()
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
    for name, text in manual.pages().items():
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
