"""An asynchronous stream walked from ordinary code."""

import asyncio
from collections.abc import AsyncGenerator, Generator


def walk(chunks: AsyncGenerator[bytes, None]) -> Generator[bytes, None, None]:
    """Yield what a stream yields; closing this closes that, in its own loop."""
    latest: bytes | None = None

    async def follow() -> None:
        # Not returned: `run` has its task, and so its result, printed to text that nobody sees (by
        # `signal.signal`, twice), which for a megabyte takes 15 ms.
        nonlocal latest
        latest = await anext(chunks, None)

    with asyncio.Runner() as runner:
        try:
            runner.run(follow())
            while latest is not None:
                yield latest
                runner.run(follow())
        finally:
            runner.run(_close(chunks))


async def _close(chunks: AsyncGenerator[bytes, None]) -> None:
    await chunks.aclose()
