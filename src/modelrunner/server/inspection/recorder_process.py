"""A recorder that runs: the process, what is said to it, and what it says. Of requests it knows nothing."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from modelrunner.recorder.frames import LENGTH, framed, report_of
from modelrunner.recorder.values import Report, Told

_EXPORTS = re.compile("OTEL_|.*_proxy$", re.IGNORECASE)
_PASSED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")
_END_WITHIN = 5.0  # seconds for the recorder to store what it has


@dataclass(slots=True)
class RecorderProcess:
    """One of them; `under_way` has the batches that it has not reported: how many requests and bytes each."""

    process: asyncio.subprocess.Process
    reading: asyncio.Task[None] | None = None
    under_way: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    async def start(cls, environ: Mapping[str, str], *, exports: bool) -> Self:
        """Start one, with what it may need of an environment: more if it is to export.

        Raises:
            OSError: there can be no process.
        """
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "modelrunner.recorder.process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={
                    name: value
                    for name, value in environ.items()
                    if name in _PASSED or (exports and _EXPORTS.match(name) is not None)
                },
            )
        )

    @property
    def has_ended(self) -> bool:
        """Whether it has no more to say."""
        return self.reading is not None and self.reading.done()

    async def say(self, told: Told) -> None:
        """Write a message; a process that is gone is noticed by who reads its reports."""
        await self.write(framed(told))

    async def write(self, message: bytes | bytearray) -> None:
        """Write a message that has its length before it."""
        pipe = self.process.stdin
        assert pipe is not None
        with contextlib.suppress(ConnectionError):
            pipe.write(message)
            await pipe.drain()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what it says, until it ends."""
        pipe = self.process.stdout
        assert pipe is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                [length] = LENGTH.unpack(await pipe.readexactly(LENGTH.size))
                yield report_of(await pipe.readexactly(length))

    async def kill(self) -> None:
        """End it now; returns when all that it said was heard."""
        self.process.kill()
        await self._heard()

    async def end(self) -> None:
        """Let it store what it has, and end; not for ever."""
        pipe = self.process.stdin
        assert pipe is not None
        pipe.close()
        try:
            async with asyncio.timeout(_END_WITHIN):
                with contextlib.suppress(ConnectionError):
                    await pipe.wait_closed()  # which takes for ever while it does not read
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._heard()

    async def _heard(self) -> None:
        if self.reading is not None:
            await asyncio.wait([self.reading])
