"""The directory that is one engine's own, what it is kept to there, and the end of what it leaves."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelrunner.engines.base import Address, Launch
from modelrunner.runtime.processes.confinement import Confinement, Sandbox
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.guardian_program import VARIABLE
from modelrunner.runtime.processes.run_directory import RunDirectory


class Workspace:
    """The place of one engine; `directory` is there until it is closed."""

    def __init__(self, directory: Path, sandbox: Sandbox, guardian: Guardian) -> None:
        self.directory = directory
        self._sandbox = sandbox
        self._guardian = guardian
        self._group: int | None = None

    @property
    def socket(self) -> Path:
        """Where the engine is to listen."""
        return self.directory / "engine.sock"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for the engine, which what it says itself goes before."""
        return self._sandbox.environment(self.directory)

    @property
    def confines(self) -> bool:
        """Whether something is refused to the engine."""
        return self._sandbox.caveat is None

    @property
    def mark(self) -> Mapping[str, str]:
        """The variable by which the guardian knows whatever the engine starts."""
        return {os.fsdecode(VARIABLE.removesuffix(b"=")): str(self.directory)}

    def confine(self, launch: Launch, address: Address) -> Confinement | None:
        """Prepare what the engine is kept to; None when to nothing.

        Raises:
            OSError: it cannot be prepared.
        """
        return self._sandbox.confine(launch, address, self.directory)

    def watch(self, group: int) -> None:
        """Have the engine's process group ended when the daemon is."""
        self._group = group
        self._guardian.watch(group)

    def close(self) -> None:
        """Remove the directory, and end whatever the engine has left."""
        if self._group is not None:
            self._guardian.forget(self._group, self.directory)
            self._group = None
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Workspaces:
    """Makes workspaces."""

    run: RunDirectory
    sandbox: Sandbox
    guardian: Guardian

    def open(self) -> Workspace:
        """Make a workspace for one engine.

        Raises:
            RunnerError: there is no room for its directory.
        """
        return Workspace(self.run.engine(), self.sandbox, self.guardian)
