"""One engine process serving one model: started, asked until it is ready, talked to, stopped.

Answers pass through unread. Which engine it is, and what its command line means, is not known here.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import lru_cache, partial
from io import BytesIO
from itertools import chain, repeat
from types import TracebackType

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from modelrunner.engines.base import Address, Launch, explain
from modelrunner.errors import EngineFailed, InvalidRequest, NotReadyInTime, RunnerError, ShuttingDown
from modelrunner.runtime.headers import Header, end_to_end, for_engine
from modelrunner.runtime.process import Child, without_credentials
from modelrunner.runtime.readiness import until_ready

_START_GRACE = 1.0  # seconds to end for a process that has nothing to save, because it was never ready
_REAPED_WITHIN = 1.0  # seconds between a process's last closed connection and the news of its exit
# llama-server gives a thread to each open connection, idle or not, and starts with few: idle ones must not
# stay while others wait for a thread (a first burst of 60 requests took 29 s when they did). Reuse pays when
# requests follow each other at once; otherwise a new connection costs a tenth of a millisecond.
_IDLE_CONNECTION = 0.25  # seconds
_STARVING = 0.05  # seconds without an answer
_FULL_QUEUE_PAUSES = (0.001, 0.002, 0.004, 0.008)  # seconds
_LARGE_BODY = 1 << 20  # bytes; aiohttp wants larger ones as files, and writes them in pieces
_OWN_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Instance:
    """A running engine. Satisfies `lease.Running`."""

    def __init__(
        self, name: str, child: Child, address: Address, diagnose: Callable[[str], str | None]
    ) -> None:
        self.name = name
        self.address = address
        self.unanswered: dict[object, float] = {}  # requests without an answer yet, oldest first: when sent
        self._child = child
        self._diagnose = diagnose
        self._stopped = False
        self._origin = _origin(address)
        self.session = self._new_session(reuse=True)
        self._fresh: aiohttp.ClientSession | None = None

    @classmethod
    async def start(
        cls,
        launch: Launch,
        address: Address,
        name: str,
        log: Callable[[str], None],
        diagnose: Callable[[str], str | None],
        *,
        environ: Mapping[str, str],
    ) -> "Instance":
        """Start the process and return when it is ready; nothing of it is left if that fails.

        `name` is what people call the engine; `log` gets each line it writes, and `diagnose` its last lines
        when it failed. `environ` is what it inherits, less the credentials in it.

        Raises:
            EngineFailed: it cannot be run, or ended by itself; the message has its last lines.
            NotReadyInTime: it was not ready within `launch.ready_within`.
        """
        env = {**without_credentials(environ), **launch.env}
        try:
            child = await Child.start(launch.argv, env=env, cwd=launch.cwd, on_line=log)
        except OSError as exc:
            raise EngineFailed(
                f"{name} could not be started: `{launch.argv[0]}`: {exc.strerror}",
                hint="check that the engine is installed and that its program can be run",
            ) from exc
        instance = cls(name, child, address, diagnose)
        try:
            await instance._become_ready(launch)
        except BaseException:
            await instance.stop(_START_GRACE)
            raise
        return instance

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        return self._child.alive

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done, with the status, as soon as the process is gone. Not to be cancelled."""
        return self._child.exited

    @property
    def tail(self) -> str:
        """The last lines that the process wrote."""
        return self._child.tail

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    def request(
        self, method: str, target: str, headers: Iterable[Header], body: bytes
    ) -> AbstractAsyncContextManager["Upstream"]:
        """Pass a request on; the block gets the answer as soon as its headers are here.

        `target` is path and query, encoded; `headers` are the client's, of which those that concern only its
        own connection are left out. Leaving the block early closes the connection, upon which an engine stops
        generating. There is no time limit.

        Raises:
            EngineFailed: the engine went away, or answered something that is not HTTP. Also while reading.
            ShuttingDown: it was stopped meanwhile. Also while reading.
            InvalidRequest: the target is none.
        """
        return _Exchange(self, method, _url(self._origin, target), for_engine(headers), body)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop the process, if it still runs, and clear away what belongs to it; `grace` is in seconds."""
        self._stopped = self._stopped or self.alive
        await self._child.stop(grace)
        await self.session.close()
        if self._fresh is not None:
            await self._fresh.close()
        if self.address.socket is not None:
            self.address.socket.unlink(missing_ok=True)

    async def _become_ready(self, launch: Launch) -> None:
        polling = asyncio.create_task(until_ready(self.address, launch.health))
        try:
            await asyncio.wait(
                (polling, self.exited), timeout=launch.ready_within, return_when=asyncio.FIRST_COMPLETED
            )
            if not self.alive:
                raise await self._obituary()
            if not polling.done():
                raise NotReadyInTime(
                    explain(f"{self.name} was not ready within {launch.ready_within:g} seconds", self.tail),
                    hint="a larger model may need more time",
                )
        finally:
            polling.cancel()
            await asyncio.wait((polling,))

    async def loss(self) -> RunnerError:
        """Say why there is no answer, or no end of it; with the last lines if the process is gone."""
        if self._stopped:
            return ShuttingDown(f"{self.name} was stopped before its answer was complete")
        await asyncio.wait((self.exited,), timeout=_REAPED_WITHIN)
        if self.alive:
            return EngineFailed(f"{self.name} did not complete its answer")
        return await self._obituary()

    async def _obituary(self) -> EngineFailed:
        lines = await self._child.last_words()
        status = self.exited.result()
        sentence = self._diagnose(lines) or f"{self.name} {_ending(status)}"
        return EngineFailed(explain(sentence, lines), detail={"status": status})

    def fresh_session(self) -> aiohttp.ClientSession:
        """Give a session that never reuses a connection; rarely needed, so made when it is."""
        if self._fresh is None:
            self._fresh = self._new_session(reuse=False)
        return self._fresh

    def _new_session(self, *, reuse: bool) -> aiohttp.ClientSession:
        idle = _IDLE_CONNECTION if reuse else None
        return aiohttp.ClientSession(
            connector=_TCP(idle)
            if self.address.socket is None
            else _Unix(str(self.address.socket), self.unanswered, idle),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
        )


class Upstream:
    """An engine's answer: status, headers that may be passed on, and the body as it arrives."""

    __slots__ = ("_content", "_instance", "headers", "status")

    def __init__(self, instance: Instance, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: list[Header] = end_to_end(response.raw_headers)
        self._content = response.content
        self._instance = instance

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body, whatever has arrived at a time; undecoded."""
        return self

    def __aiter__(self) -> "Upstream":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise await self._instance.loss() from exc
        if not chunk:
            raise StopAsyncIteration
        return chunk


class _Exchange:
    """`async with` around one request; a class, because a generator costs more on every request."""

    __slots__ = ("_body", "_headers", "_instance", "_method", "_response", "_url")

    def __init__(
        self, instance: Instance, method: str, url: URL, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        self._instance = instance
        self._method = method
        self._url = url
        self._headers = headers
        self._body = body
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Upstream:
        unanswered = self._instance.unanswered
        unanswered[self] = asyncio.get_running_loop().time()
        try:
            self._response = response = await self._send()
        finally:
            del unanswered[self]
        return Upstream(self._instance, response)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()  # does nothing when the answer was read to its end

    async def _send(self) -> aiohttp.ClientResponse:
        instance = self._instance
        if instance.session.closed:
            raise await instance.loss()
        try:
            try:
                return await self._attempt(instance.session)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
                if isinstance(exc, aiohttp.ClientConnectorError) or not instance.alive:
                    raise
            # No byte of an answer: as a rule, the engine closed an idle connection just as it was used again.
            return await self._attempt(instance.fresh_session())
        except (aiohttp.ClientError, OSError) as exc:
            raise await instance.loss() from exc

    async def _attempt(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        body = self._body
        return await session.request(
            self._method,
            self._url,
            headers=CIMultiDict(self._headers),
            data=body if len(body) <= _LARGE_BODY else BytesIO(body),
            allow_redirects=False,
        )


class _TCP(aiohttp.TCPConnector):
    """Connections to an engine that knows no Unix sockets; never kept when `idle` (seconds) is None."""

    def __init__(self, idle: float | None) -> None:
        if idle is None:
            super().__init__(limit=0, force_close=True)
        else:
            super().__init__(limit=0, keepalive_timeout=idle)


class _Unix(aiohttp.UnixConnector):
    """Connections to an engine's socket, for engines that accept slowly and serve few at a time."""

    def __init__(self, path: str, unanswered: Mapping[object, float], idle: float | None) -> None:
        if idle is None:
            super().__init__(path, limit=0, force_close=True)
        else:
            super().__init__(path, limit=0, keepalive_timeout=idle)
        self._unanswered = unanswered

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - the signature is aiohttp's
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109 - the signature is aiohttp's
    ) -> ResponseHandler:
        try:
            sock = await _connect(self.path)
            _, protocol = await self._loop.create_unix_connection(
                partial(ResponseHandler, loop=self._loop), sock=sock
            )
        except OSError as exc:
            raise UnixClientConnectorError(self.path, req.connection_key, exc) from exc
        return protocol

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close or self._somebody_starves())

    def _somebody_starves(self) -> bool:
        oldest = next(iter(self._unanswered.values()), None)
        return oldest is not None and self._loop.time() - oldest > _STARVING


async def _connect(path: str) -> socket.socket:
    """Connect, waiting while the queue of connections that the engine has not accepted yet is full.

    It has 5 places in llama-server. Linux then answers EAGAIN, which uvloop makes an error of, and asyncio a
    connection that is none.
    """
    for pause in chain(_FULL_QUEUE_PAUSES, repeat(_FULL_QUEUE_PAUSES[-1])):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(path)
        except BlockingIOError:
            sock.close()
        except OSError:
            sock.close()
            raise
        else:
            return sock
        await asyncio.sleep(pause)
    raise AssertionError  # `repeat` has no end


def _origin(address: Address) -> str:
    if address.socket is not None:
        return "http://localhost"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{address.port}"


@lru_cache(maxsize=256)
def _url(origin: str, target: str) -> URL:
    """Make a URL of path and query without another round of encoding; whatever could end the line is refused.

    Raises:
        InvalidRequest: it has other characters than a request line may have, or does not begin with a slash.
    """
    if not target.startswith("/") or not all("!" <= character <= "~" for character in target):
        raise InvalidRequest(f"invalid path: `{target!r:.200}`", hint="paths are given percent-encoded")
    return URL(f"{origin}{target}", encoded=True)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
