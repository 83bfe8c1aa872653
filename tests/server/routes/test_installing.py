"""`/engines/install-backend` and `uninstall-backend`, with a real environment of a small wheel."""

import asyncio
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.engines.base import Address, EngineState, EngineStatus, Launch, Options
from modelrunner.engines.environment import Environment, Recipe
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.daemon import FAKE_ENGINE

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

pytestmark = pytest.mark.timeout(180)

INSTALL, UNINSTALL = "/engines/install-backend", "/engines/uninstall-backend"
LINES = {"Accept": "application/x-ndjson"}
# Imported for the first time, it says so in a file, and stays until a file lets it go.
CODE = """
import os, pathlib, time
pathlib.Path(os.environ["THING"]).write_text(str(os.getpid()))
while not pathlib.Path(os.environ["THING"] + ".go").exists():
    time.sleep(0.02)
"""


class Thing:
    """An engine that is a wheel of one file."""

    name = display = "thing"
    formats = frozenset({Format.GGUF})
    modes = frozenset({Mode.COMPLETION})
    native: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        recipe = Recipe("thing", "1.0", module="thing", packages=("thing==1.0",))
        self.environment = Environment(folder / "thing", recipe)

    def probe(self) -> EngineStatus:
        found = self.environment.find()
        if found is None:
            return EngineStatus(EngineState.NOT_INSTALLED, detail="package not installed")
        return EngineStatus(EngineState.RUNNING, found.version, f"thing {found.version}")

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:
        return None

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        assert address.socket is not None
        arguments = ("--model", str(bundle.weights[0]), "--host", str(address.socket))
        return Launch(argv=(*FAKE_ENGINE, *arguments))

    def diagnose(self, tail: str) -> str | None:
        return None


@pytest.fixture
async def things(make_daemon: "Make", tmp_path: Path, request: pytest.FixtureRequest) -> "Daemon":
    """A daemon with that engine, and the wheel where pip finds it; a parameter says how it behaves."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("thing.py", CODE)
        info = "thing-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    daemon = await make_daemon(
        engine=getattr(request, "param", None),
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(wheels),
        THING=str(tmp_path / "imported"),
    )
    daemon.services.engines._engines["thing"] = Thing(daemon.folder / "engines")
    return daemon


def pretend(daemon: "Daemon") -> None:
    """Have the engine installed without pip."""
    engine = daemon.services.engines.get("thing")
    assert isinstance(engine, Thing)
    environment = engine.environment
    environment.begin()
    (environment.target / "bin").mkdir(parents=True)
    (environment.target / "bin" / "python").touch()
    environment.complete()


def let_go(tmp_path: Path) -> None:
    (tmp_path / "imported.go").touch()


async def trying(daemon: "Daemon") -> None:
    """Wait until the installation is at its last step, in which it waits for the test."""
    async with asyncio.timeout(120):
        while (await status(daemon)) != "Installing: trying thing":  # noqa: ASYNC110 - it is the status that is asked
            await asyncio.sleep(0.05)


async def status(daemon: "Daemon") -> str:
    return str((await daemon.ask("GET", "/engines/status")).json["thing"])


async def test_two_who_ask_share_one_installation(things: "Daemon", tmp_path: Path) -> None:
    """One reads lines of progress, the other gets an empty 200 when it is over; the status tells of it.

    Then the engine is here and takes space; asked again, it is installed already; and it can be removed.
    """
    before = await status(things)
    first = asyncio.create_task(things.ask("POST", INSTALL, json={"backend": "thing"}, headers=LINES))
    await trying(things)
    second = asyncio.create_task(things.ask("POST", INSTALL, json={"backend": "thing"}))
    blocked = await things.ask("POST", UNINSTALL, json={"backend": "thing"})
    let_go(tmp_path)
    lines, empty = await asyncio.gather(first, second)
    installed = await status(things)
    used = (await things.ask("GET", "/engines/df")).json["default_backend_disk_usage"]
    again = await things.ask("POST", INSTALL, json={"backend": "thing", "version": "1.0"}, headers=LINES)
    removed = await things.ask("POST", UNINSTALL, json={"backend": "thing"})
    after = await status(things)

    assert before == "Not Installed: package not installed"
    assert "making an environment" in [line["message"] for line in lines.lines]
    assert lines.lines[-1]["type"] == "success"
    assert (empty.status, empty.text) == (200, "")
    assert blocked.status == 409
    assert installed == "Running: thing 1.0"
    assert used > 1_000_000
    assert [line["type"] for line in again.lines] == ["success"]
    assert (removed.status, removed.text) == (200, "")
    assert after == before
    assert (await things.ask("GET", "/engines/df")).json["default_backend_disk_usage"] == 0


async def test_when_the_last_who_asked_has_gone_the_installation_ends(things: "Daemon") -> None:
    """Nothing of it is left, no process either, and the next one begins afresh."""
    asking = asyncio.create_task(things.ask("POST", INSTALL, json={"backend": "thing"}, headers=LINES))
    await trying(things)
    (job,) = things.services.installing._jobs.values()
    asking.cancel()
    await asyncio.wait([job.task])

    assert job.task.cancelled()
    assert await status(things) == "Not Installed: package not installed"
    assert not list((things.folder / "engines" / "thing").glob("thing-*"))


async def test_an_installation_that_fails_says_why(things: "Daemon", tmp_path: Path) -> None:
    """With pip's words: as the last line for who reads lines, as text with status 500 for others."""
    (tmp_path / "wheels" / "thing-1.0-py3-none-any.whl").unlink()
    lines, text = await asyncio.gather(
        things.ask("POST", INSTALL, json={"backend": "thing"}, headers=LINES),
        things.ask("POST", INSTALL, json={"backend": "thing"}),
    )

    words = "backend installation failed: installing thing 1.0: Could not find a version"
    assert lines.lines[-1]["type"] == "error"
    assert lines.lines[-1]["code"] == "install_failed"
    assert words in lines.lines[-1]["message"]
    assert text.status == 500
    assert text.text.startswith(words)


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        (INSTALL, {}, 400, "invalid request: backend is required"),
        (INSTALL, {"backend": ""}, 400, "invalid request: backend is required"),
        (INSTALL, {"backend": 7}, 400, "invalid request"),
        (INSTALL, {"backend": "none"}, 404, "backend not found: `none`"),
        (INSTALL, {"backend": "thing", "version": "9"}, 400, "thing cannot be installed in version `9`"),
        (INSTALL, {"backend": "llama.cpp", "version": "b9879"}, 400, "the version of llama.cpp"),
        (INSTALL, {"backend": "llama.cpp"}, 200, ""),
        (UNINSTALL, {}, 400, "invalid request: backend is required"),
        (UNINSTALL, {"backend": "none"}, 404, "backend not found: `none`"),
        (
            UNINSTALL,
            {"backend": "llama.cpp"},
            400,
            "backend uninstall failed: llama.cpp was not",
        ),
        (UNINSTALL, {"backend": "thing"}, 200, ""),
    ],
)
async def test_what_cannot_be_done_is_told_at_once(
    things: "Daemon", path: str, body: dict[str, object], code: int, words: str
) -> None:
    """An unknown engine, a version that is not to be had, an engine that is not ours to remove."""
    answer = await things.ask("POST", path, data=json.dumps(body))

    assert answer.status == code
    assert answer.text.startswith(words)


async def test_an_engine_that_is_in_use_stays_and_an_idle_one_is_unloaded_first(things: "Daemon") -> None:
    """409 while it answers somebody; then its process ends, it is gone, and the next request is told so."""
    pretend(things)
    await things.add("ai/tiny:latest")
    chat = "/engines/thing/v1/chat/completions"
    slow = things.chat(stream=True, fake={"tokens_per_second": 5})
    async with things.session.post(f"{things.url}{chat}", json=slow) as stream:
        await stream.content.readline()
        refused = await things.ask("POST", UNINSTALL, json={"backend": "thing"})
        before = len(things.residents)
        await stream.read()
    removed = refused
    while removed.status == 409:  # its end may be seen before the daemon has let go of the engine
        removed = await things.ask("POST", UNINSTALL, json={"backend": "thing"})
    after = await things.ask("POST", chat, json=things.chat())

    assert (refused.status, before) == (409, 1)
    assert refused.text.startswith("backend uninstall failed: thing is in use")
    assert removed.status == 200
    assert things.residents == ()
    assert after.status == 412
    assert after.json["error"]["hint"].endswith("`dmr install-runner --backend thing`")


@pytest.mark.parametrize("things", [{"hang_at_load": True}], indirect=True)
async def test_a_load_that_no_request_began_does_not_keep_an_engine(things: "Daemon") -> None:
    pretend(things)
    await things.add("ai/tiny:latest")
    wanted = {"model": "ai/tiny", "context-size": 512, "pinned": True}
    configured = await things.ask("POST", "/engines/thing/_configure", json=wanted)
    await things.until(lambda: bool(things.residents))
    removed = await things.ask("POST", UNINSTALL, json={"backend": "thing"})

    assert (202, 200, ()) == (configured.status, removed.status, things.residents)
