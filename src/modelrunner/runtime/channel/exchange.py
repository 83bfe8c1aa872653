"""One request to an engine and its answer, over a kept connection or a fresh one. Nothing of either is read.

What it means that there is no answer is for the engine's owner to say.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from types import TracebackType
from typing import Protocol

from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.runtime.channel.connection import Connection, ConnectionLost, Connections
from modelrunner.runtime.channel.headers import Header, end_to_end


class Observer(Protocol):
    """Somebody who sees an answer pass."""

    def see(self, chunk: bytes) -> None:
        """Take a piece of it; the empty one is its end."""
        ...


class Engine(Protocol):
    """Whom to ask."""

    connections: Connections

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        ...

    async def loss(self, cause: Exception | None = None) -> RunnerError:
        """Say why there is no answer, or no end of it."""
        ...


class Upstream:
    """An engine's answer: status, headers that may be passed on, and the body as it arrives."""

    __slots__ = ("_connection", "_engine", "_observer", "headers", "status")

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        status: int,
        headers: list[Header],
        observer: Observer | None,
    ) -> None:
        self.status = status
        self.headers: list[Header] = end_to_end(headers)
        self._connection = connection
        self._engine = engine
        self._observer = observer

    @property
    def ended(self) -> bool:
        """Whether what has been read of the body is all of it, as far as is known yet."""
        return self._connection.ended

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body, whatever has arrived at a time; undecoded."""
        return self

    def __aiter__(self) -> "Upstream":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._connection.read()
        except ConnectionLost as exc:
            raise await self._engine.loss(exc) from exc
        if self._observer is not None:
            self._observer.see(chunk)
        if not chunk:
            raise StopAsyncIteration
        return chunk


class Exchange:
    """`async with` around one request; a class, because a generator costs more on every request."""

    __slots__ = ("_body", "_connection", "_engine", "_head", "_observer", "_prepare")

    def __init__(
        self,
        engine: Engine,
        head: bytes,
        body: bytes,
        prepare: Callable[[], Awaitable[Observer | None]] | None = None,
    ) -> None:
        self._engine = engine
        self._head = head
        self._body = body
        self._connection: Connection | None = None
        self._prepare = prepare
        self._observer: Observer | None = None

    async def __aenter__(self) -> Upstream:
        try:
            return await self._send()
        except (ConnectionLost, OSError) as exc:
            self._release()
            raise await self._engine.loss(exc) from exc
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    async def _send(self) -> Upstream:
        if self._prepare is not None:
            self._observer = await self._prepare()
        connections = self._engine.connections
        if connections.closed:
            raise await self._engine.loss()
        self._connection = kept = connections.kept()
        if kept is not None:
            try:
                return await self._ask(kept)
            except ConnectionLost as exc:
                if exc.answered or not self._engine.alive:
                    raise
            # No byte of an answer: as a rule, the engine closed an idle connection just as it was used again.
            self._release()
        self._connection = fresh = await connections.fresh()
        return await self._ask(fresh)

    async def _ask(self, connection: Connection) -> Upstream:
        status, headers = await self._engine.connections.ask(connection, self._head, self._body)
        return Upstream(self._engine, connection, status, headers, self._observer)

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._engine.connections.release(connection)


@lru_cache(maxsize=256)
def checked_target(target: str) -> str:
    """Refuse whatever could end the request line.

    Raises:
        InvalidRequest: it has other characters than a request line may have, or does not begin with a slash.
    """
    if not target.startswith("/") or not all("!" <= character <= "~" for character in target):
        raise InvalidRequest(f"invalid path: `{target!r:.200}`", hint="paths are given percent-encoded")
    return target
