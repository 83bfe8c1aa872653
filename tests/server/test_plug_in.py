"""A third party's engine: the plug-in of docs/guides/engines.md, installed beside the package."""

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.testing.daemon import FAKE_ENGINE

if TYPE_CHECKING:
    from tests.server.conftest import Make

PAGE = Path(__file__).parent.parent.parent / "docs" / "guides" / "engines.md"


def _install(folder: Path) -> None:
    """Lay the plug-in out as pip does: a module, and metadata with its entry point."""
    text = PAGE.read_text()
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Acme:" in block
    ]
    point = re.search(r'^acme = "(.+)"$', text, re.MULTILINE)
    assert point is not None
    metadata = folder / "modelrunner_acme-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "modelrunner_acme.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: modelrunner-acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[modelrunner.engines]\nacme = {point[1]}\n")


async def test_an_engine_is_added_without_touching_the_package(
    make_daemon: "Make", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by its entry point, shows in the status, and answers at its own path, on a port."""
    _install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    program = tmp_path / "bin" / "acme-server"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(FAKE_ENGINE)} "$@"\n')
    program.chmod(0o755)
    daemon = await make_daemon(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    await daemon.add("ai/tiny:latest")

    status = (await daemon.ask("GET", "/engines/status")).json
    answer = await daemon.ask("POST", "/engines/acme/v1/chat/completions", json=daemon.chat())
    (running,) = (await daemon.ask("GET", "/engines/ps")).json

    assert status["acme"] == f"Running: acme-server at {program}"
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"]
    assert running["backend_name"] == "acme"
