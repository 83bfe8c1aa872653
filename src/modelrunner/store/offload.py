"""Disk work in threads, in such a way that a cancelled caller leaves no thread behind that still writes."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


async def in_thread(
    function: Callable[[*_Args], _Result], *args: *_Args, stop: threading.Event | None = None
) -> _Result:
    """Run blocking work in a thread and wait for its end, even when cancelled meanwhile.

    Whoever holds a file or a lock may therefore let go of it as soon as this returns or raises. Work that
    takes long watches `stop`, which is set on cancellation.

    Raises:
        asyncio.CancelledError: after the thread has ended, when the caller was cancelled.
    """
    context = contextvars.copy_context()
    # Not a task: the end of an event loop cancels tasks, and would abandon the thread.
    future = asyncio.get_running_loop().run_in_executor(None, functools.partial(context.run, function, *args))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as exc:
            cancelled = exc  # and wait on: even a second cancellation does not end the thread
            if stop is not None:
                stop.set()
    if cancelled is None:
        return future.result()
    future.exception()  # seen, so that nobody complains that it was not
    raise cancelled
