"""A GGUF file on a web server as a model: looked at by ranges, named after its address.

Nobody says its digest beforehand; it is what the bytes turn out to be. Until then address, size and version,
as the server tells it, stand for the file, so that an interrupted download goes on only with the same one.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from modelrunner.errors import (
    InvalidReference,
    ModelNotFound,
    RegistryError,
    Unauthorized,
    UnsupportedModel,
)
from modelrunner.models.artifacts.packaging import Described, compose
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.remote.peek import gguf_header
from modelrunner.oci.auth import Access
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import Endpoint, is_internal_host, origin
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.oci.replies import body_start, parse_content_range
from modelrunner.oci.reply import Reply
from modelrunner.oci.transport import Request, Transport

_SCHEMES = ("http://", "https://")
_SUFFIX = ".gguf"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)
_NO_NAME_CHARACTER = re.compile(r"[^a-z0-9]+")
_EPOCH = datetime.fromtimestamp(0, UTC)


def is_web_file(text: str) -> bool:
    """Whether a text is the address of a GGUF file, and not the name of a model."""
    address = text.strip()
    if not address.lower().startswith(_SCHEMES):
        return False
    return urlsplit(address).path.lower().endswith(_SUFFIX)


def web_name(address: str) -> Reference:
    """The name of the model at an address: its host and its path, in what names may be made of.

    Raises:
        InvalidReference: the address is none, has credentials in it, or is one of a set of shards.
    """
    try:
        parts = urlsplit(address.strip())
        wrong = not parts.hostname or parts.username is not None or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise InvalidReference("invalid address of a model", hint="write it like `https://host/model.gguf`")
    path = unquote(parts.path)
    if _SHARD.search(path):
        raise InvalidReference(
            f"one of a set of shards: `{PurePosixPath(path).name[:200]}`",
            hint="fetch all of them, then `dmr package --gguf` one of them",
        )
    pieces = (
        _NO_NAME_CHARACTER.sub("-", piece.lower()).strip("-") for piece in path[: -len(_SUFFIX)].split("/")
    )
    return parse_reference(f"{parts.netloc.lower()}/{'/'.join(piece for piece in pieces if piece)}:latest")


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at an address. `key` stands for it; `version` is the server's, empty when it tells none."""

    transport: Transport
    address: str
    key: Descriptor
    version: str
    changed: datetime

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(unquote(urlsplit(self.address).path)).name

    @property
    def is_dated(self) -> bool:
        """Whether the server says when it was last changed."""
        return self.changed != _EPOCH

    async def config(self) -> ModelConfig:
        """Describe the model by its header, which is fetched by range.

        Raises:
            UnsupportedModel: it is no GGUF file.
            RunnerError: what the server has against it.
        """
        return replace(describe([await gguf_header(self, self.key, self.name)]), created=self.changed)

    def compose(self, config: ModelConfig, digest: Digest) -> tuple[Manifest, bytes]:
        """Write the manifest and the configuration, once the digest is known."""
        file = Described(self.name, kinds.GGUF_LAYER, digest, self.key.size)
        return compose([file], config, created=self.changed)

    async def manifest(self, reference: Reference) -> Manifest:
        """There is none before the file is here; a Source has to have this."""
        raise ModelNotFound(f"model not found: `{reference}`")

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[Piece]]]:
        """Open the file's bytes from `start` up to `stop`, over one connection.

        The int is where they really start: 0 when the server ignored the range.

        Raises:
            TransferInterrupted: the connection breaks while the bytes are read.
            RegistryError: the file is another one now, or the server refuses.
        """
        end = blob.size if stop is None else min(stop, blob.size)
        headers = {"Range": f"bytes={start}-{end - 1}"} if start > 0 or end < blob.size else {}
        async with self.transport.send(_request(self.address, headers)) as reply:
            if reply.status not in {200, 206}:
                raise _refusal(reply, self.address)
            if _version(reply) != self.version:
                raise RegistryError(
                    f"the file at `{origin(self.address)}` changed while it was fetched", hint="pull it again"
                )
            begin = body_start(reply.status, reply.headers, blob, start)
            if begin is None:
                raise RegistryError(f"`{origin(self.address)}` sends another range than was asked for")
            yield begin, _clipped(reply, end - begin)


async def look(transport: Transport, address: str) -> WebFile:
    """Ask a server for the size and the version of a file.

    Raises:
        ModelNotFound: there is no such file.
        Unauthorized: the server wants credentials, which are not for files.
        UnsupportedModel: the server does not say how large it is.
        RegistryError: anything else that the server said, or that it cannot be reached.
    """
    address = address.strip()
    async with transport.send(_request(address, {"Range": "bytes=0-0"})) as reply:
        if reply.status not in {200, 206}:
            raise _refusal(reply, address)
        size = _size(reply)
        version, changed = _version(reply), _changed(reply)
    if not size:
        raise UnsupportedModel(
            f"the server does not say how large the file is: `{origin(address)}`",
            hint="fetch it yourself, then `dmr package --gguf` it",
        )
    key = Digest.of(f"{address}\n{size}\n{version}".encode())
    return WebFile(transport, address, Descriptor(kinds.GGUF_LAYER, key, size), version, changed)


def _request(address: str, headers: dict[str, str]) -> Request:
    parts = urlsplit(address)
    home = Endpoint(parts.netloc, f"{parts.scheme}://{parts.netloc}", is_internal_host(parts.hostname or ""))
    return Request("GET", address, Access(home, ""), headers, authorization="")


def _size(reply: Reply) -> int:
    span = parse_content_range(reply.headers.get("Content-Range")) if reply.status == 206 else None
    if span is not None:
        return span.total or 0
    length = reply.headers.get("Content-Length", "")
    return int(length) if reply.status == 200 and length.isascii() and length.isdigit() else 0


def _version(reply: Reply) -> str:
    """What changes with the file: its tag, else the time of its last change."""
    return reply.headers.get("ETag") or reply.headers.get("Last-Modified", "")


def _changed(reply: Reply) -> datetime:
    try:
        moment = parsedate_to_datetime(reply.headers.get("Last-Modified", ""))
    except ValueError:
        return _EPOCH
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refusal(reply: Reply, address: str) -> RegistryError | ModelNotFound | Unauthorized:
    where, detail = origin(address), {"status": reply.status}
    if reply.status in {404, 410}:
        return ModelNotFound(f"no such file at `{where}`", hint="check the address", detail=detail)
    if reply.status in {401, 403}:
        return Unauthorized(f"`{where}` refuses the file", hint="check the address", detail=detail)
    return RegistryError(f"`{where}` answers with status {reply.status}", hint="try again", detail=detail)


async def _clipped(reply: Reply, length: int) -> AsyncIterator[Piece]:
    left = length
    async for chunk in reply.chunks():
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return
