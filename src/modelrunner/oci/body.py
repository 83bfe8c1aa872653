"""The bytes of one blob from a registry, gone on with after each break until they are complete."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from modelrunner.errors import RegistryError, TransferInterrupted
from modelrunner.oci.auth import Access
from modelrunner.oci.connections import Reply
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.replies import MAX_ERROR_BYTES, blob_refusal, body_start
from modelrunner.oci.transport import Request, Transport


@dataclass(frozen=True, slots=True)
class _Part:
    """An answer, and the byte of the blob that it starts at."""

    reply: Reply
    start: int


class Body:
    """A range of a blob; an asynchronous context manager that holds one connection at a time.

    `start` is where the bytes of `chunks` really start, which is 0 when the registry knows no ranges. Sizes
    are verified here; the digest is the business of whoever keeps the bytes.
    """

    def __init__(
        self, transport: Transport, access: Access, blob: Descriptor, start: int, stop: int | None
    ) -> None:
        self.start = start
        self._transport = transport
        self._access = access
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

    async def chunks(self) -> AsyncGenerator[bytes, None]:
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
                part = None
                failures = 1 if position - mark >= self._transport.retry.headway else failures + 1
                mark = position
                await self._transport.wait_to_continue(failures, exc)

    async def _clip(self, part: _Part, position: int) -> AsyncGenerator[bytes, None]:
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
        # A partial answer that does not say which part it is cannot be used: then all of it.
        part = await self._ask(position, headers) or await self._ask(0, {})
        if part is None:
            raise RegistryError(f"`{self._access.endpoint.registry}` sends ranges that nobody asked for")
        return part

    async def _ask(self, position: int, headers: dict[str, str]) -> _Part | None:
        await self._connection.aclose()
        endpoint, digest = self._access.endpoint, self._blob.digest
        url = f"{endpoint.base}/v2/{self._access.repository}/blobs/{digest}"
        reply = await self._connection.enter_async_context(
            self._transport.send(Request("GET", url, self._access, headers))
        )
        if reply.status not in {200, 206}:
            body = await reply.read(MAX_ERROR_BYTES)
            raise blob_refusal(reply.status, body, self._blob, endpoint.registry)
        start = body_start(reply.status, reply.headers, self._blob, position)
        return None if start is None else _Part(reply, start)

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
