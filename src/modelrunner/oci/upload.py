"""One blob on its way to a registry: mounted from a neighbour, sent whole, or in chunks that may go on later.

A registry that has part of a blob says how much, and the next attempt sends the rest, whoever makes it: what
was begun is remembered for as long as the process lives.
Source: OCI distribution-spec v1.1, "Pushing blobs", "Pushing a blob in chunks", "Mounting a blob".
"""

import logging
import re
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlencode

from modelrunner.errors import RegistryError, RunnerError, TransferInterrupted
from modelrunner.oci.auth import Access
from modelrunner.oci.chunks import Piece
from modelrunner.oci.connections import Upload
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import resolve
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.replies import MAX_ERROR_BYTES, refusal
from modelrunner.oci.reply import Reply
from modelrunner.oci.transport import Request, Transport

CHUNK = 64 << 20  # bytes of one request; proxies in front of registries often let no more than 100 MB pass
_LARGEST_CHUNK = 1 << 30  # that a registry may ask for
_MOST_KEPT = 256  # uploads that are remembered
_MOST_MOUNTS = 2  # repositories that are tried, each at the cost of a request
_REFUSALS = 2  # of chunks, after which a registry gets its blobs whole

_TAKEN = frozenset({200, 201, 202, 204})
_LOST = frozenset({404, 416})  # an upload that the registry has forgotten, or of which it has other bytes
_REFUSED = _LOST | {400, 405, 411, 415, 501}  # a chunk, for that reason or because it is one
_RECEIVED = re.compile(r"(?:bytes[= ])?0-(\d{1,19})", re.ASCII)
_OCTETS = {"Content-Type": "application/octet-stream"}

Neighbours = Callable[[Digest], Sequence[str]]  # repositories of the same registry that may have a blob

_log = logging.getLogger(__name__)


def no_neighbours(_blob: Digest) -> Sequence[str]:
    """Know of no other repository that has a blob."""
    return ()


@dataclass(slots=True)
class Session:
    """An upload that a registry keeps open; `offset` bytes have arrived, `chunk` go into one request."""

    location: str
    chunk: int
    offset: int = 0


class Sessions:
    """The uploads that were begun and not ended; of many, the oldest are forgotten, and start again."""

    def __init__(self, chunk: int = CHUNK) -> None:
        """`chunk` is how many bytes go into one request."""
        self.chunk = chunk
        self._kept: OrderedDict[tuple[str, Digest], Session] = OrderedDict()
        self._refusals: Counter[str] = Counter()

    def find(self, repository: str, blob: Digest) -> Session | None:
        """The upload of a blob, if there is one."""
        return self._kept.get((repository, blob))

    def keep(self, repository: str, blob: Digest, session: Session) -> Session:
        """Remember an upload."""
        self._kept[repository, blob] = session
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return session

    def forget(self, repository: str, blob: Digest) -> None:
        """Forget an upload, which is over or lost."""
        self._kept.pop((repository, blob), None)

    def refused(self, registry: str, offset: int) -> None:
        """Take note that a registry refused a chunk: the first of a blob, or one behind others."""
        self._refusals[registry] += 1 if offset else _REFUSALS

    def takes_chunks(self, registry: str) -> bool:
        """Whether it is worth a try; a later chunk may be refused once because its upload got lost."""
        return self._refusals[registry] < _REFUSALS


@dataclass(frozen=True, slots=True)
class Uploads:
    """The uploads to one repository. `neighbours` knows where else in the same registry a blob may be."""

    transport: Transport
    access: Access  # to push
    name: str
    sessions: Sessions
    neighbours: Neighbours
    barren: set[str] = field(default_factory=set)  # neighbours that did not give what they were asked for

    async def begin(self, blob: Descriptor) -> int:
        """Find out how much of a blob has arrived, having it mounted if it can be; its size when it is there.

        Raises:
            Unauthorized: the registry wants (other) credentials.
            RegistryUnreachable: no connection, or no answer.
            RegistryError: anything else that the registry said.
        """
        session = self.sessions.find(self.name, blob.digest)
        if session is not None and await self._is_open(session, blob):
            if session.offset == blob.size:
                await self._close(session, blob)
            _log.info("upload goes on blob=%s offset=%d", blob.digest, session.offset)
            return session.offset
        self.sessions.forget(self.name, blob.digest)
        return blob.size if await self._is_mounted(blob) else 0

    async def send(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Send the rest of a blob, from `offset` on; the registry verifies its digest.

        Raises:
            TransferInterrupted: it broke off; `begin` says how much has arrived.
            Unauthorized: the registry wants (other) credentials.
            RegistryError: anything else that the registry said.
        """
        session = self.sessions.find(self.name, blob.digest)
        if (session.offset if session else 0) != offset:
            raise RegistryError(f"an upload of `{blob.digest}` cannot go on at byte {offset}")
        session = session or await self._open(blob)
        if session is None:
            return
        chunked = blob.size > session.chunk and self.sessions.takes_chunks(self._registry)
        if offset == 0 and not chunked:
            self.sessions.forget(self.name, blob.digest)  # whatever comes of it, nothing of it is kept
            await self._put(session, blob, Upload(blob.size, chunks))
            return
        rest = Rest(chunks)
        while session.offset < blob.size:
            size = min(session.chunk, blob.size - session.offset)
            async with aclosing(rest.take(size)) as pieces:
                await self._patch(session, blob, Upload(size, pieces))
        await self._close(session, blob)

    @property
    def _registry(self) -> str:
        return self.access.endpoint.registry

    async def _is_mounted(self, blob: Descriptor) -> bool:
        """Have the registry take the blob from another repository; what it opens instead is an upload."""
        places = [place for place in self.neighbours(blob.digest) if place not in self.barren]
        for place in places[:_MOST_MOUNTS]:
            asked = replace(self.access, also_pull=place)
            query = urlencode({"mount": str(blob.digest), "from": place})
            try:
                opened = await self._open(blob, f"?{query}", asked)
            except RunnerError as exc:  # the other repository may be private, or gone
                _log.info("blob not mounted blob=%s from=%s reason=%s", blob.digest, place, exc)
                self.barren.add(place)
                continue
            if opened is None:
                _log.info("blob mounted blob=%s from=%s", blob.digest, place)
                return True
            self.barren.add(place)
            return False
        return False

    async def _open(self, blob: Descriptor, query: str = "", access: Access | None = None) -> Session | None:
        """Begin an upload; None when the registry has the blob already, or has mounted it."""
        access = access or self.access
        url = access.endpoint.url(f"{access.repository}/blobs/uploads/{query}")
        async with self.transport.send(Request("POST", url, access, body=b"")) as reply:
            if reply.status == 201:
                return None
            if reply.status not in _TAKEN:
                raise refusal(reply.status, await reply.read(MAX_ERROR_BYTES), self.name, self._registry)
            location = resolve(reply.url, reply.headers.get("Location"))
            session = Session(location, max(self.sessions.chunk, _least_chunk(reply)))
        return self.sessions.keep(self.name, blob.digest, session)

    async def _is_open(self, session: Session, blob: Descriptor) -> bool:
        """Ask how much of an upload has arrived; False when it has to begin again."""
        try:
            async with self.transport.send(Request("GET", session.location, self.access)) as reply:
                received = _received(reply)
                if reply.status not in _TAKEN or received is None or received > blob.size:
                    return False
                _follow(session, reply)
        except RegistryError as exc:
            _log.info("upload is lost blob=%s reason=%s", blob.digest, exc)
            return False
        session.offset = received
        return True

    async def _patch(self, session: Session, blob: Descriptor, body: Upload) -> None:
        """Send one chunk."""
        end = session.offset + body.size
        headers = {**_OCTETS, "Content-Range": f"{session.offset}-{end - 1}"}
        request = Request("PATCH", session.location, self.access, headers, body)
        async with self.transport.send(request) as reply:
            if reply.status in _TAKEN:
                _follow(session, reply)
                received = _received(reply)
                if received not in {None, end}:
                    raise TransferInterrupted(
                        f"`{self._registry}` has {received} bytes of `{blob.digest}` instead of {end}"
                    )
                session.offset = end
                return
            error = await self._refusal(reply, blob)
        if reply.status in _REFUSED:
            _log.info("chunk refused registry=%s status=%d", self._registry, reply.status)
            self.sessions.refused(self._registry, session.offset)
            self.sessions.forget(self.name, blob.digest)
            raise _again(error)
        raise self._told(reply.status, error)

    async def _close(self, session: Session, blob: Descriptor) -> None:
        """Have the registry verify what it has."""
        try:
            await self._put(session, blob, Upload(0, _nothing()))
        except TransferInterrupted:
            raise
        except RunnerError:
            self.sessions.forget(self.name, blob.digest)
            raise
        self.sessions.forget(self.name, blob.digest)

    async def _put(self, session: Session, blob: Descriptor, body: Upload) -> None:
        mark = "&" if "?" in session.location else "?"
        url = f"{session.location}{mark}digest={quote(str(blob.digest), safe='')}"
        async with self.transport.send(Request("PUT", url, self.access, _OCTETS, body)) as reply:
            if reply.status in _TAKEN:
                return
            error = await self._refusal(reply, blob)
        raise self._told(reply.status, error)

    def _told(self, status: int, error: RunnerError) -> RunnerError:
        """Whoever has the bytes may send them again if the trouble was not ours."""
        passing = status in _LOST or status == 401 or status in self.transport.retry.transient
        return _again(error) if passing else error

    async def _refusal(self, reply: Reply, blob: Descriptor) -> RunnerError:
        if reply.status in _LOST:
            await reply.read(MAX_ERROR_BYTES)
            return RegistryError(f"`{self._registry}` knows nothing of the upload of `{blob.digest}`")
        return refusal(reply.status, await reply.read(MAX_ERROR_BYTES), str(blob.digest), self._registry)


class Rest:
    """A stream of pieces, of which so many bytes are taken at a time."""

    def __init__(self, chunks: AsyncIterator[Piece]) -> None:
        self._chunks = chunks
        self._held: Piece = b""

    async def take(self, size: int) -> AsyncGenerator[Piece, None]:
        """The next `size` bytes, or fewer at the end; what is more stays for the next time."""
        while size > 0:
            if not self._held:
                self._held = await anext(self._chunks, self._held)
                if not self._held:
                    return
            piece, self._held = self._held[:size], self._held[size:]
            size -= len(piece)
            yield piece


def _again(error: RunnerError) -> TransferInterrupted:
    interrupted = TransferInterrupted(error.message, hint=error.hint, detail=error.detail)
    interrupted.__cause__ = error
    return interrupted


def _follow(session: Session, reply: Reply) -> None:
    """Each answer about an upload may say anew where it goes on."""
    location = reply.headers.get("Location")
    if location:
        session.location = resolve(reply.url, location)


def _received(reply: Reply) -> int | None:
    """How many bytes of an upload an answer says that there are; `0-0` is what registries say of none."""
    found = _RECEIVED.fullmatch(reply.headers.get("Range", "").strip())
    return (int(found[1]) + 1 if int(found[1]) else 0) if found else None


def _least_chunk(reply: Reply) -> int:
    """The least that a registry wants in one request, in bytes."""
    said = reply.headers.get("OCI-Chunk-Min-Length", "")
    return min(int(said), _LARGEST_CHUNK) if said.isascii() and said.isdigit() and len(said) < 20 else 0


async def _nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""
