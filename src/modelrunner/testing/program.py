"""Run a program in a test, and wait for what it says instead of sleeping."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager


class Program:
    """A running child; its stderr is read, line by line, as tests ask for it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a process that was started with a pipe for its stderr."""
        self.process = process
        self.lines: list[str] = []

    async def said(self, words: str) -> str:
        """Wait for a line of stderr that holds these words, among those to come; return it.

        Raises:
            AssertionError: the program ended without saying so; the message has all that it said.
        """
        async for line in self._stderr():
            if words in line:
                return line
        status = await self.process.wait()
        raise AssertionError(f"ended with {status} and never said `{words}`:\n" + "\n".join(self.lines))

    async def ended(self) -> int:
        """Wait for the end, reading on; return the exit status, negative for a signal."""
        async for _ in self._stderr():
            pass
        return await self.process.wait()

    @property
    def output(self) -> str:
        """All that was read of stderr."""
        return "\n".join(self.lines)

    async def _stderr(self) -> AsyncIterator[str]:
        assert self.process.stderr is not None
        while raw := await self.process.stderr.readline():
            line = raw.decode(errors="replace").rstrip("\n")
            self.lines.append(line)
            yield line


@asynccontextmanager
async def started(argv: Sequence[str], env: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """Run a program for as long as the block lasts; kill it if it is still there. `env` adds to ours."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    program = Program(process)
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await program.ended()
