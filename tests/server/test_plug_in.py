"""A third party's engine: the plug-in of docs/guides/engines.md, installed beside the package."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.testing.daemon import FAKE_ENGINE

if TYPE_CHECKING:
    from tests.server.conftest import Make

PAGE = Path(__file__).parent.parent.parent / "docs" / "guides" / "engines.md"


SLEEPER = """
from dataclasses import replace

from modelrunner.engines.ask import Ask
from modelrunner.engines.base import Sleep
from modelrunner.engines.estimate import RAM, Estimate


class Sleeper(Acme):
    def launch(self, *arguments):
        sleep = Sleep(Ask("POST", "/sleep"), Ask("POST", "/wake_up"))
        return replace(super().launch(*arguments), sleep=sleep)

    def estimate(self, bundle, mode, options, devices):
        return Estimate(RAM, 0, weights=2 << 20, asleep={RAM: 1 << 20})
"""


HEARER = """
from dataclasses import replace


class Hearer(Acme):
    modes = frozenset({Mode.TRANSCRIPTION})

    def launch(self, *arguments):
        return replace(super().launch(*arguments), model_name="the/only:one")
"""


def _install(folder: Path, more: str = "", name: str = "Acme") -> None:
    """Lay the plug-in out as pip does: a module, and metadata with its entry point."""
    text = PAGE.read_text()
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Acme:" in block
    ]
    point = re.search(r'^acme = "(.+)"$', text, re.MULTILINE)
    assert point is not None
    metadata = folder / "modelrunner_acme-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "modelrunner_acme.py").write_text(code + more)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: modelrunner-acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[modelrunner.engines]\nacme = modelrunner_acme:{name}\n")


def _program(folder: Path) -> Path:
    """The engine's program, which is the fake."""
    program = folder / "acme-server"
    folder.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(FAKE_ENGINE)} "$@"\n')
    program.chmod(0o755)
    return program


async def test_an_engine_is_added_without_touching_the_package(
    make_daemon: "Make", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by its entry point, shows in the status, and answers at its own path, on a port."""
    _install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    program = _program(tmp_path / "bin")
    daemon = await make_daemon(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    await daemon.add("ai/tiny:latest")

    status = (await daemon.ask("GET", "/engines/status")).json
    answer = await daemon.ask("POST", "/engines/acme/v1/chat/completions", json=daemon.chat())
    (running,) = (await daemon.ask("GET", "/engines/ps")).json

    assert status["acme"] == f"Running: acme-server at {program}"
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"]
    assert running["backend_name"] == "acme"


async def test_an_engine_that_can_sleep_is_put_to_sleep(
    make_daemon: "Make", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another model needs its place; people see that it sleeps, and a request wakes it."""
    _install(tmp_path / "site", SLEEPER, "Sleeper")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "modelrunner_acme", raising=False)
    program = _program(tmp_path / "bin")
    daemon = await make_daemon(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", DMR_PLACES="1")
    for title in ("one", "two"):
        await daemon.add(f"ai/{title}:latest", title=title)

    async def ask(name: str) -> int:
        body = {**daemon.chat(), "model": f"ai/{name}"}
        return (await daemon.ask("POST", "/engines/acme/v1/chat/completions", json=body)).status

    assert [200, 200] == [await ask("one"), await ask("two")]
    rows = {row["model_name"]: row for row in (await daemon.ask("GET", "/engines/ps")).json}
    explained = (await daemon.ask("GET", "/engines/explain?model=ai/one&backend=acme")).json
    assert 200 == await ask("one")

    assert [True, None] == [rows[f"ai/{name}:latest"].get("asleep") for name in ("one", "two")]
    assert 1 << 20 == rows["ai/one:latest"]["memory"]
    assert "`ai/one` is asleep: it has given its place back" in explained["sentences"][0]
    events = (await daemon.ask("GET", "/engines/events")).json
    texts = [event["text"] for event in events if event["model"] == "ai/one:latest"]
    assert "falling asleep: another model needs its place (`ai/two`)" in texts
    assert "waking: a request asked for it" in texts


async def test_an_engine_that_hears_gets_the_form_as_it_was(
    make_daemon: "Make", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, with its type; but for the model, of which it knows one name only."""
    _install(tmp_path / "site", HEARER, "Hearer")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "modelrunner_acme", raising=False)
    program = _program(tmp_path / "bin")
    daemon = await make_daemon(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    await daemon.add("ai/tiny:latest")
    form = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\0\r\n--b\xff\r\n'
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--B--\r\n'
    )
    answer = await daemon.ask(
        "POST",
        "/v1/audio/transcriptions",
        data=form % b"ai/tiny",
        headers={"content-type": "multipart/form-data; boundary=B"},
    )
    ((_, running),) = daemon.services.pool.running()
    async with running.request("GET", "/asked", (), b"") as upstream:
        asked = b"".join([piece async for piece in upstream.chunks()])

    assert 404 == answer.status  # the fake has no such route, and says so
    assert form % b"the/only:one" == asked
