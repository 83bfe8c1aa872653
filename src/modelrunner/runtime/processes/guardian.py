"""The daemon's side of the guardian, which sees to it that nothing of an engine outlives the daemon.

The kernel's own signal at the death of a parent reaches the direct child only, and engines start workers.
"""

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path

from modelrunner.runtime.processes import guardian_program

_log = logging.getLogger(__name__)

_PROGRAM = guardian_program.__file__
_AGAIN_AFTER = 1.0  # seconds between two starts of a guardian that somebody ends
_END_WITHIN = 2.0  # seconds to end for a guardian whose daemon is done


class Guardian:
    """A running guardian, started again when it ends; it is told of each process group."""

    def __init__(self, directory: Path) -> None:
        """`directory` is where the directories of the engines are."""
        self._directory = directory
        self._groups: set[int] = set()
        self._pipe: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start it; it need not be up before the first engine is.

        Raises:
            OSError: it cannot be run.
        """
        await self._start()
        self._task = asyncio.create_task(self._keep(), name="guardian")

    @property
    def pid(self) -> int | None:
        """The number of its process."""
        return self._process.pid if self._process is not None else None

    def watch(self, group: int) -> None:
        """Have a process group killed when the daemon dies."""
        self._groups.add(group)
        self._tell(f"+{group}")

    def forget(self, group: int, directory: Path) -> None:
        """Say that a group is over; what has left it is killed, if it has this engine's directory."""
        self._groups.discard(group)
        self._tell(f"-{group} {directory}")

    async def close(self) -> None:
        """End it; whatever still is there of an engine goes with it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._hang_up()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_WITHIN)

    async def _start(self) -> None:
        reading, writing = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", _PROGRAM, str(self._directory)),
                stdin=reading,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                start_new_session=True,  # a signal to the daemon's group is not for it
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        os.set_blocking(writing, False)
        self._hang_up()
        self._pipe = writing
        for group in self._groups:
            self._tell(f"+{group}")

    async def _keep(self) -> None:
        while self._process is not None:
            status = await self._process.wait()
            _log.warning("guardian ended, starting another status=%d", status)
            await asyncio.sleep(_AGAIN_AFTER)
            try:
                await self._start()
            except OSError as exc:
                _log.error("guardian cannot be started error=%s", exc)

    def _tell(self, line: str) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, os.fsencode(f"{line}\n"))  # so short a write is never cut in two
        except BrokenPipeError:
            pass  # the one that is to come is told of all
        except BlockingIOError:
            _log.warning("guardian does not listen line=%s", line)

    def _hang_up(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
