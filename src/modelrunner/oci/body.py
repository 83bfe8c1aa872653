"""The bytes of one blob from a registry, gone on with after each break until they are complete."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from modelrunner.errors import RegistryError, RunnerError, TransferInterrupted
from modelrunner.oci.auth import Access
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import origin
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.mirrors import Hosts
from modelrunner.oci.replies import MAX_ERROR_BYTES, blob_refusal, body_start, check_size, unsatisfied_size
from modelrunner.oci.reply import Reply
from modelrunner.oci.transport import Request, Transport

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Routes:
    """Where the blobs of one repository are, and what was learned about that; shared by its bodies.

    `moved` has where the registry sent us for a blob, and for whose sake: the next range is asked for there,
    until that place, whose URL is a permission with an end, refuses.
    """

    hosts: Hosts
    moved: dict[Digest, tuple[Access, str]] = field(default_factory=dict)

    def leave(self, blob: Digest, url: str) -> None:
        """Ask the registry again where a blob is, if `url` is what it said last."""
        if blob in self.moved and self.moved[blob][1] == url:
            del self.moved[blob]


@dataclass(frozen=True, slots=True)
class _Part:
    """An answer, the byte of the blob that it starts at, and who was asked."""

    reply: Reply
    start: int
    place: Access


class Body:
    """A range of a blob; an asynchronous context manager that holds one connection at a time.

    `start` is where the bytes of `chunks` really start, which is 0 when the registry knows no ranges. Sizes
    are verified here; the digest is the business of whoever keeps the bytes.
    """

    def __init__(
        self, transport: Transport, routes: Routes, blob: Descriptor, start: int, stop: int | None
    ) -> None:
        self.start = start
        self._transport = transport
        self._routes = routes
        self._blob = blob
        self._stop = blob.size if stop is None else min(stop, blob.size)
        self._connection = AsyncExitStack()
        self._part: _Part | None = None

    async def __aenter__(self) -> Self:
        if self.start < self._stop:
            self._part = await self._connect(self.start)
            self.start = self._part.start
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.aclose()

    async def chunks(self) -> AsyncGenerator[Piece, None]:
        """The bytes, to the end of the range; a break is mended by asking for the rest.

        Raises:
            RegistryError: it breaks off again and again, the blob is longer than its manifest says, or the
                registry refuses to go on.
        """
        position = mark = self.start
        failures = 0
        part = self._part
        while position < self._stop:
            try:
                part = part or await self._connect(position)
                async with aclosing(self._clip(part, position)) as chunks:
                    async for chunk in chunks:
                        position += len(chunk)
                        yield chunk
                self._check_complete(position)
            except TransferInterrupted as exc:
                self._leave(part, exc)
                part = None
                failures = 1 if position - mark >= self._transport.retry.headway else failures + 1
                mark = position
                await self._transport.wait_to_continue(failures, exc)

    def _leave(self, part: _Part | None, cause: RunnerError) -> None:
        """Take a break as a reason to have the way shown again, and to pass a mirror over."""
        if part is not None:
            self._routes.leave(self._blob.digest, part.reply.url)
            self._routes.hosts.passes_over(part.place, cause)

    async def _clip(self, part: _Part, position: int) -> AsyncGenerator[Piece, None]:
        """What an answer has of the range from `position` on."""
        end = part.start
        async with aclosing(part.reply.chunks()) as chunks:
            async for chunk in chunks:
                begin, end = end, end + len(chunk)
                self._check_length(end)
                clipped = chunk[max(position - begin, 0) : max(self._stop - begin, 0)]
                if clipped:
                    yield clipped
                if end >= self._stop:
                    return

    async def _connect(self, position: int) -> _Part:
        headers = {}
        if position > 0 or self._stop < self._blob.size:
            headers["Range"] = f"bytes={position}-{self._stop - 1}"
        part = await self._shortcut(position, headers)
        if part is not None:
            return part
        *mirrors, upstream = self._routes.hosts.places(self._blob.digest)
        for place in mirrors:
            try:
                return await self._ask(place, position, headers, once=True)
            except RunnerError as exc:
                self._routes.hosts.passes_over(place, exc)
        return await self._ask(upstream, position, headers, once=False)

    async def _shortcut(self, position: int, headers: dict[str, str]) -> _Part | None:
        """Ask where the registry sent us before; None when that is not known, or is over."""
        if self._blob.digest not in self._routes.moved:
            return None
        place, url = self._routes.moved[self._blob.digest]
        try:
            reply = await self._send(Request("GET", url, place, headers, once=True))
            if reply.status in {200, 206}:
                start = body_start(reply.status, reply.headers, self._blob, position)
                if start is not None:
                    return _Part(reply, start, place)
            reason = f"status {reply.status}"
        except RegistryError as exc:
            reason = exc.message
        _log.info("redirect is over origin=%s reason=%s", origin(url), reason)
        self._routes.leave(self._blob.digest, url)
        return None

    async def _ask(self, place: Access, position: int, headers: dict[str, str], *, once: bool) -> _Part:
        part = await self._ask_for(place, position, headers, once=once)
        if part is None:  # it does not say which part it is, and cannot be used: then all of it
            part = await self._ask_for(place, 0, {}, once=once)
        if part is None:
            raise RegistryError(f"`{place.endpoint.registry}` sends ranges that nobody asked for")
        if part.reply.url != self._url(place):
            self._routes.moved[self._blob.digest] = (place, part.reply.url)
        return part

    async def _ask_for(
        self, place: Access, position: int, headers: dict[str, str], *, once: bool
    ) -> _Part | None:
        reply = await self._send(Request("GET", self._url(place), place, headers, once=once))
        if reply.status == 416 and headers:
            # Either the blob is not what the manifest says, or this registry cannot count.
            check_size(self._blob, unsatisfied_size(reply.headers.get("Content-Range")))
            return None
        if reply.status not in {200, 206}:
            body = await reply.read(MAX_ERROR_BYTES)
            raise blob_refusal(reply.status, body, self._blob, place.endpoint.registry)
        start = body_start(reply.status, reply.headers, self._blob, position)
        return None if start is None else _Part(reply, start, place)

    async def _send(self, request: Request) -> Reply:
        await self._connection.aclose()
        return await self._connection.enter_async_context(self._transport.send(request))

    def _url(self, place: Access) -> str:
        return place.endpoint.url(f"{place.repository}/blobs/{self._blob.digest}")

    def _check_length(self, end: int) -> None:
        if end > self._blob.size:
            raise RegistryError(
                f"blob `{self._blob.digest}` is longer than the {self._blob.size} bytes of its manifest",
                hint="the model was published wrongly; ask whoever published it",
            )

    def _check_complete(self, position: int) -> None:
        if position < self._stop:
            raise TransferInterrupted(
                f"blob `{self._blob.digest}` ends at byte {position} of {self._stop}", hint="try again"
            )
