"""How instances come to be: engines on ports, and where each lives."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.engines.base import Address, Launch, Listens, Options
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.engines.registry import Engines
from modelrunner.errors import PortTaken, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.processes.confinement import Sandbox, Sandboxing
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.run_directory import RunDirectory
from modelrunner.runtime.processes.workspace import Workspaces
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.states.state_files import StateFiles
from modelrunner.server.loading.loader import Loader, files_of
from modelrunner.server.loading.preparing import Preparing

if TYPE_CHECKING:
    from tests.server.conftest import Daemon


class OnPorts(LlamaCpp):
    """The scripted engine, on a port; the first `thefts` of its ports are taken at the last moment."""

    listens = Listens.PORT

    def __init__(self, thefts: int = 0) -> None:
        super().__init__()
        self.thieves: list[socket.socket] = []
        self._thefts = thefts

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        if mode is not Mode.COMPLETION:
            raise UnsupportedModel("no")
        if len(self.thieves) < self._thefts:
            self.thieves.append(socket.create_server((address.host, address.port)))
        told = ("--host", address.host, "--port", str(address.port))
        return Launch(
            (sys.executable, "-m", "modelrunner.testing.engine", *told, "--model", str(bundle.weights[0]))
        )


class Loading:
    """A loader for one engine, on the model of a daemon."""

    def __init__(self, daemon: "Daemon", workspaces: Workspaces) -> None:
        self._daemon = daemon
        self._workspaces = workspaces
        self.run = workspaces.run.path
        self.lines: list[tuple[str, str, str]] = []

    def loader(self, engine: OnPorts) -> Loader:
        services = self._daemon.services
        preparing = Preparing(
            store=services.store,
            catalogue=services.catalogue,
            engines=Engines([engine]),
            configurations=services.configurations,
            states=StateFiles(self.run, 0),
        )
        return Loader(preparing, self._workspaces, os.environ, lambda *line: self.lines.append(line))

    def key(self, mode: Mode = Mode.COMPLETION) -> Key:
        return Key("llama.cpp", self._daemon.services.catalogue.find("ai/tiny").id, mode)

    def workspaces(self) -> list[Path]:
        return [path for path in self.run.iterdir() if path.is_dir()]


@pytest.fixture
async def loading(tiny: "Daemon") -> AsyncIterator[Loading]:
    async with AsyncExitStack() as stack:
        run = RunDirectory.create([Path("/tmp")])
        stack.callback(run.close)
        guardian = Guardian(run.path)
        stack.push_async_callback(guardian.close)
        await guardian.open()
        yield Loading(tiny, Workspaces(run, Sandbox(Sandboxing.AUTO, tiny.folder), guardian))


async def test_an_engine_that_knows_ports_only_is_given_one(loading: Loading) -> None:
    """On loopback, and another each time; what it says goes to its model's log."""
    loader = loading.loader(OnPorts())
    one, two = [await loader.start(loading.key()) for _ in range(2)]

    assert one.address.socket is None
    assert one.address.host == "127.0.0.1"
    assert one.address.port != two.address.port
    assert {("llama.cpp", loading.key().model.short)} == {line[:2] for line in loading.lines}
    await asyncio.gather(one.stop(), two.stop())
    assert [] == loading.workspaces()


async def test_a_stolen_port_is_exchanged_for_another(loading: Loading) -> None:
    """Somebody listens on it between its choice and the engine's start; nothing of that start is left."""
    engine = OnPorts(thefts=2)
    instance = await loading.loader(engine).start(loading.key())

    assert instance.address.port not in [thief.getsockname()[1] for thief in engine.thieves]
    assert 1 == len(loading.workspaces())
    await instance.stop()
    for thief in engine.thieves:
        thief.close()


async def test_a_thief_that_takes_every_port_is_told_of(loading: Loading) -> None:
    """After a few, rather than never."""
    engine = OnPorts(thefts=100)
    with pytest.raises(PortTaken, match="another program took the port"):
        await loading.loader(engine).start(loading.key())
    for thief in engine.thieves:
        thief.close()

    assert 4 == len(engine.thieves)
    assert [] == loading.workspaces()


async def test_an_engine_that_refuses_leaves_no_place_behind(loading: Loading) -> None:
    """The directory that was made for it goes."""
    with pytest.raises(UnsupportedModel):
        await loading.loader(OnPorts()).start(loading.key(Mode.EMBEDDING))

    assert [] == loading.workspaces()


def test_links_that_lead_out_of_a_model_are_what_an_engine_has_to_read(tmp_path: Path) -> None:
    """Hard links are files of their own; those of another program's layout may be symbolic."""
    from modelrunner.models.description.config import ModelConfig

    root = tmp_path / "bundle"
    root.mkdir()
    (tmp_path / "blob").touch()
    (root / "weights").hardlink_to(tmp_path / "blob")
    (root / "template").symlink_to(tmp_path / "blob")

    assert (root,) == files_of(Bundle(root, ModelConfig(), (root / "weights",)))
    linked = Bundle(root, ModelConfig(), (root / "weights",), template=root / "template")
    assert (root, tmp_path / "blob") == files_of(linked)
