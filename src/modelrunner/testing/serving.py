"""Runs any ASGI application on a real loopback socket inside a test.

In-process transports collect a whole response before they hand it over; streaming, broken connections and
clients that leave can be seen on a socket only.
"""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import uvicorn

App = Callable[..., Awaitable[None]]  # scope, receive, send

_GRACE = 2  # seconds for requests that still run when the test is over


@contextlib.asynccontextmanager
async def serving(app: App) -> AsyncIterator[str]:
    """Serve an application from this event loop on a free port of 127.0.0.1; yield its base URL."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Not `serve()`, which would take over the signal handlers of the test run.
        await server.startup(sockets=[listener])
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await server.shutdown(sockets=[listener])


@contextlib.contextmanager
def serving_in_thread(app: App) -> Iterator[str]:
    """Serve an application from an event loop in another thread, for tests that block; yield its base URL."""
    news: queue.SimpleQueue[tuple[str, Callable[[], object]] | BaseException] = queue.SimpleQueue()

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        async with serving(app) as url:
            news.put((url, lambda: loop.call_soon_threadsafe(done.set)))
            await done.wait()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            news.put(exc)

    thread = threading.Thread(target=work, name="serving", daemon=True)
    thread.start()
    started = news.get()
    if isinstance(started, BaseException):
        raise started
    url, stop = started
    try:
        yield url
    finally:
        stop()
        thread.join()
