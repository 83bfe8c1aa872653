"""A registry as a source and a sink of artifacts, by the paths and rules of the distribution protocol."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Self
from weakref import WeakValueDictionary

from modelrunner.errors import (
    DigestMismatch,
    InvalidRequest,
    RegistryError,
    RunnerError,
    TransferInterrupted,
    UnsupportedModel,
)
from modelrunner.oci.auth import Access
from modelrunner.oci.body import Body, Routes
from modelrunner.oci.certificates import Certificates
from modelrunner.oci.chunks import Piece
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import endpoint, same_origin
from modelrunner.oci.manifest import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    parse_manifest,
)
from modelrunner.oci.mirrors import Hosts, parse_mirrors
from modelrunner.oci.reference import DEFAULT_TAG, Reference
from modelrunner.oci.replies import MAX_ERROR_BYTES, refusal
from modelrunner.oci.reply import Reply
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.tokens import Lookup
from modelrunner.oci.transport import Request, Transport
from modelrunner.oci.upload import CHUNK, Neighbours, Sessions, Uploads, no_neighbours

# Indexes are asked for too, so that the answer to one is a clear sentence and not "not found".
_ACCEPT = f"{OCI_MANIFEST}, {DOCKER_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST_LIST}"
_INDEXES = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
_PUSH = "pull,push"
_STORED = frozenset({200, 201, 204})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

Turns = WeakValueDictionary[tuple[str, Digest], asyncio.Lock]  # a lock lives as long as somebody wants it


class Registry:
    """All registries, with one set of connections and tokens; an asynchronous context manager.

    `insecure` names hosts, with or without a port, that speak plain HTTP; with `insecure_all` all do.
    Those in `private_realms` may name token servers inside the user's network. `mirrors` are of Docker Hub.
    A blob larger than `upload_chunk` bytes is pushed in several requests.
    """

    def __init__(
        self,
        *,
        credentials: Lookup,
        user_agent: str,
        insecure: frozenset[str] = frozenset(),
        insecure_all: bool = False,
        private_realms: frozenset[str] = frozenset(),
        mirrors: Sequence[str] = (),
        certificates: Certificates | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        upload_chunk: int = CHUNK,
    ) -> None:
        self._insecure = insecure
        self._private_realms = private_realms
        self._mirrors = parse_mirrors(mirrors, private_realms=private_realms)
        self._insecure_all = insecure_all
        self._turns = Turns()
        self._sessions = Sessions(upload_chunk)
        self._transport = Transport(
            credentials,
            user_agent=user_agent,
            retry=retry or RetryPolicy(),
            timeouts=timeouts or Timeouts(),
            certificates=certificates,
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def manifest(self, reference: Reference, *, credential: Credential | None = None) -> Manifest:
        """Fetch and verify the manifest that a reference names; see `Repository.manifest`."""
        return await self.repository(reference, credential=credential).manifest(reference)

    def repository(
        self,
        reference: Reference,
        *,
        credential: Credential | None = None,
        neighbours: Neighbours = no_neighbours,
    ) -> "Repository":
        """The repository of a reference as a source and a sink.

        `credential` came with the request, and is used instead of what is on file. `neighbours` names other
        repositories of the same registry that may have a blob, from which it need not be sent again.
        """
        where = endpoint(
            reference.registry,
            insecure=self._insecure,
            insecure_all=self._insecure_all,
            private_realms=self._private_realms,
        )
        access = Access(where, reference.repository, credential=credential)
        hosts = Hosts(access, self._mirrors)
        return Repository(self._transport, hosts, self._turns, self._sessions, neighbours)


class Repository:
    """One repository: a source to pull from, and a sink to push to."""

    def __init__(
        self,
        transport: Transport,
        hosts: Hosts,
        turns: Turns,
        sessions: Sessions,
        neighbours: Neighbours = no_neighbours,
    ) -> None:
        access = hosts.upstream
        self._transport = transport
        self._hosts = hosts
        self._routes = Routes(hosts)
        self._access = access
        self._turns = turns
        self._pushing = replace(access, actions=_PUSH)
        self._name = f"{access.endpoint.registry}/{access.repository}"
        self._uploads = Uploads(transport, self._pushing, self._name, sessions, neighbours)

    async def manifest(self, reference: Reference) -> Manifest:
        """Fetch the manifest that a reference names, and verify it.

        With a tag and a digest, the tag is fetched and must have the digest.

        Raises:
            ModelNotFound: there is no such repository, tag or digest.
            Unauthorized: the registry wants (other) credentials.
            UnsupportedModel: it is an index, as of an image for several platforms.
            DigestMismatch: the bytes are not those of the digest.
            RegistryUnreachable: no connection, or no answer.
            RegistryError: anything else that the registry said.
        """
        self._check(reference)
        *mirrors, upstream = self._hosts.places()
        for place in mirrors:
            try:
                return await self._manifest(reference, place, once=True)
            except RunnerError as exc:
                self._hosts.passes_over(place, exc)
        return await self._manifest(reference, upstream, once=False)

    async def _manifest(self, reference: Reference, place: Access, *, once: bool) -> Manifest:
        selector = reference.tag or str(reference.digest or DEFAULT_TAG)
        url = place.endpoint.url(f"{place.repository}/manifests/{selector}")
        request = Request("GET", url, place, {"Accept": _ACCEPT}, once=once)
        headers, body, url = await self._read(request, str(reference), MAX_MANIFEST_BYTES)
        if url.startswith("http:") and not place.endpoint.is_plain and reference.digest is None:
            raise RegistryError(f"the manifest of `{reference}` would come without encryption")
        _verify(body, reference, headers.get("Docker-Content-Digest"))
        media_type = headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type in _INDEXES:
            raise UnsupportedModel(
                f"an index of several manifests, not a model: `{reference}`",
                hint="name one of its manifests by digest",
            )
        try:
            return parse_manifest(body, media_type)
        except InvalidRequest as exc:
            raise RegistryError(f"unusable manifest of `{reference}`: {exc.message}") from exc

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes; a broken connection is mended on the way.

        The int is where the bytes really start: 0 when the registry ignored the range.

        Raises:
            RegistryError: the blob is missing, or not as its manifest says.
            RegistryUnreachable: no connection, or no answer.
            Unauthorized: the registry wants (other) credentials.
        """
        async with (
            Body(self._transport, self._routes, blob, start, stop) as body,
            aclosing(body.chunks()) as chunks,
        ):
            yield body.start, chunks

    def doubt(self, blob: Digest) -> bool:
        """Have a blob whose bytes were wrong come from the registry itself; whether a mirror was asked."""
        return self._hosts.doubt(blob)

    @asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        """Hold the sole right of this process to push a blob; yield how much of it the registry has.

        Raises:
            TransferInterrupted: the registry had all of it, and broke off while it was verifying it.
            Unauthorized: the registry wants (other) credentials.
            RegistryUnreachable: no connection, or no answer.
            RegistryError: anything else that the registry said.
        """
        key = (self._name, blob.digest)
        async with self._turns.setdefault(key, asyncio.Lock()):
            if await self._has(blob):
                yield blob.size
                return
            if blob.size == 0:
                await self.write(blob, 0, _nothing())
            yield await self._uploads.begin(blob) if blob.size else 0

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Push the rest of a claimed blob; the registry verifies its digest.

        Raises:
            TransferInterrupted: it broke off; the next claim says how much has arrived.
            Unauthorized: the registry wants (other) credentials.
            RegistryError: anything else that the registry said.
        """
        await self._uploads.send(blob, offset, chunks)

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        """Put the manifest, as the bytes that it came in, under each tag; by its digest when there are none.

        Raises:
            Unauthorized: the registry wants (other) credentials.
            RegistryUnreachable: no connection, or no answer.
            RegistryError: anything else that the registry said.
        """
        for tag in tags:
            self._check(tag)
        for selector in [tag.tag or str(manifest.digest) for tag in tags] or [str(manifest.digest)]:
            what = f"{self._name}:{selector}"
            headers = {"Content-Type": manifest.media_type}
            request = self._request("PUT", f"manifests/{selector}", headers, manifest.raw)
            async with self._transport.send(request) as reply:
                if reply.status not in _STORED:
                    raise await self._refusal(reply, what)
                _check_stored(reply.headers.get("Docker-Content-Digest"), manifest, what)

    async def _has(self, blob: Descriptor) -> bool:
        async with self._transport.send(self._request("HEAD", f"blobs/{blob.digest}")) as reply:
            if reply.status == 200:
                return True
            # A storage behind the registry may refuse what it has: its URLs are signed for reading only.
            away = not same_origin(reply.url, self._access.endpoint.base)
            if reply.status in {404, 405} or away:
                return False
            raise await self._refusal(reply, self._name)

    async def _read(self, request: Request, what: str, limit: int) -> tuple[Mapping[str, str], bytes, str]:
        """Fetch a document of at most `limit` bytes: its headers, its bytes, and where they came from."""
        failures = 0
        while True:
            try:
                async with self._transport.send(request) as reply:
                    if reply.status != 200:
                        raise await self._refusal(reply, what)
                    body = await reply.read(limit)
            except TransferInterrupted as exc:
                failures += 1
                await self._transport.wait_to_repeat(failures, exc)
            else:
                if len(body) > limit:
                    raise RegistryError(f"the manifest of `{what}` is larger than {limit} bytes")
                return reply.headers, body, reply.url

    async def _refusal(self, reply: Reply, what: str) -> RunnerError:
        body = await reply.read(MAX_ERROR_BYTES)
        return refusal(reply.status, body, what, self._access.endpoint.registry)

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | None = None,
    ) -> Request:
        access = self._access if method == "GET" else self._pushing
        url = f"{access.endpoint.base}/v2/{access.repository}/{path}"
        return Request(method, url, access, headers, body)

    def _check(self, reference: Reference) -> None:
        if reference.name != self._name:
            raise InvalidRequest(f"`{reference}` does not belong to the repository `{self._name}`")


def _verify(body: bytes, reference: Reference, announced: str | None) -> None:
    """Compare a manifest's bytes with the digest that was asked for and with the one that was announced."""
    verifiers = [reference.digest.verifier()] if reference.digest else []
    try:
        verifiers += [Digest.parse(announced).verifier()] if announced else []
    except InvalidRequest as exc:
        raise RegistryError(f"`{reference.registry}` announces a digest that is none") from exc
    for verifier in verifiers:
        verifier.update(body)
        if not verifier.matches:
            moved = reference.digest == verifier.expected and reference.tag
            raise DigestMismatch(
                f"manifest of `{reference}` has the digest `{verifier.actual}`, not `{verifier.expected}`",
                hint="the tag may have moved; name it by the digest alone" if moved else "try again",
            )


def _check_stored(announced: str | None, manifest: Manifest, what: str) -> None:
    if announced and announced.startswith("sha256:") and announced != str(manifest.digest):
        raise RegistryError(f"the registry stored `{what}` as `{announced}`, not as `{manifest.digest}`")


async def _nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""
