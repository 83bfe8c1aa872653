"""A repository of Hugging Face's hub as a source of an artifact: listed, and described from its headers.

A revision is resolved to its commit first, so what is fetched cannot change on the way. The token goes to the
hub alone, never to the storage that it redirects to.
Source: the hub's API as huggingface_hub v0.27 speaks it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from modelrunner.errors import (
    ModelNotFound,
    RegistryError,
    RunnerError,
    TransferInterrupted,
    Unauthorized,
    UnsupportedModel,
)
from modelrunner.models import kinds
from modelrunner.models.config import ModelConfig
from modelrunner.models.ctranslate2 import WHISPER
from modelrunner.models.gguf_config import describe as describe_gguf
from modelrunner.models.hub_selection import Choice, HubFile, choose
from modelrunner.models.kinds import FileKind, Format
from modelrunner.models.names import HubName
from modelrunner.models.packaging import Described, compose
from modelrunner.models.paths import inner_path
from modelrunner.models.peek import ctranslate2_spec, gguf_header, safetensors_header
from modelrunner.models.safetensors_config import context_size, describe, size_text
from modelrunner.oci.auth import Access
from modelrunner.oci.connections import Reply, Upload
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import Endpoint, is_internal_host, same_origin
from modelrunner.oci.manifest import UNREADABLE, Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.oci.replies import MAX_ERROR_BYTES, body_start
from modelrunner.oci.transport import Request, Transport

HUB = "https://huggingface.co"
MAX_SMALL_BYTES = 32 << 20  # of a file whose digest the hub does not tell
MAX_SMALL_TOTAL = 128 << 20
MAX_LISTING_BYTES = 32 << 20  # of one page
MAX_PAGES = 100

_LAYERS = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
}
_EXPIRED = frozenset({400, 401, 403, 404, 410})  # what a storage says to a signed address that is too old


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Entry(msgspec.Struct):
    type: str
    path: str
    size: int = 0
    lfs: _Lfs | None = None


class _Revision(msgspec.Struct, rename="camel"):
    sha: str
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub at one address. `token` is used when a request brings none."""

    transport: Transport
    address: str = HUB
    token: str | None = field(default=None, repr=False)

    async def look(self, name: HubName, token: str | None = None) -> "HubModel":
        """Find out what a model of the hub is made of, from its listing and its headers.

        Raises:
            ModelNotFound: no such repository, revision or quantization.
            Unauthorized: it is private, or its terms have not been accepted.
            UnsupportedModel: it has no weights that anything here could run.
            RegistryError: anything else that the hub said, or that it cannot be reached.
        """
        repository = HubRepository(self, name, token or self.token)
        revision = await repository.revision()
        files = await repository.files(revision.sha)
        choice = choose(files, name.selector, name.repository)
        return await _described(repository, revision, choice)


class HubModel:
    """A model of the hub; a Source of its manifest and its blobs."""

    def __init__(
        self, repository: "HubRepository", commit: str, choice: Choice, small: Mapping[Digest, bytes]
    ) -> None:
        self.choice = choice
        self._repository = repository
        self._commit = commit
        self._small = dict(small)
        self._paths: dict[Digest, str] = {}
        self._places: dict[Digest, str] = {}  # where the hub redirected to; good for some minutes
        self.content: Manifest | None = None

    def know(self, digest: Digest, path: str) -> None:
        """Remember which file a blob is."""
        self._paths[digest] = path

    def settle(self, manifest: Manifest, config: bytes) -> None:
        """Take the documents that were composed for the files."""
        self.content = manifest
        self._small[manifest.config.digest] = config

    async def manifest(self, reference: Reference) -> Manifest:
        """Give the one manifest there is, whatever the name."""
        if self.content is None:
            raise ModelNotFound(f"model not found: `{reference}`")
        return self.content

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes, over one connection.

        The int is where they really start: 0 when the storage ignored the range.

        Raises:
            TransferInterrupted: the connection breaks while the bytes are read.
            RunnerError: what the hub has against it.
        """
        end = blob.size if stop is None else min(stop, blob.size)
        held = self._small.get(blob.digest)
        if held is not None:
            yield start, _once(held[start:end])
            return
        if start >= end:
            yield start, _once(b"")
            return
        async with self._answer(blob, start, end) as (reply, begin):
            yield begin, _clipped(reply, end - begin)

    @asynccontextmanager
    async def _answer(self, blob: Descriptor, start: int, end: int) -> AsyncIterator[tuple[Reply, int]]:
        path = self._paths[blob.digest]
        headers = {"Range": f"bytes={start}-{end - 1}"} if start > 0 or end < blob.size else {}
        known = self._places.get(blob.digest)
        if known is not None:
            async with self._repository.get(known, headers) as reply:
                if reply.status not in _EXPIRED:
                    yield reply, self._begin(reply, blob, start, path)
                    return
            self._places.pop(blob.digest, None)
        async with self._repository.get(self._repository.file_url(self._commit, path), headers) as reply:
            if reply.status not in {200, 206}:
                raise await self._repository.refusal(reply, path)
            if self._repository.is_elsewhere(reply.url):
                self._places[blob.digest] = reply.url
            yield reply, self._begin(reply, blob, start, path)

    def _begin(self, reply: Reply, blob: Descriptor, start: int, path: str) -> int:
        if reply.status not in {200, 206}:
            raise RegistryError(f"the hub's storage answers with status {reply.status} for `{path}`")
        begin = body_start(reply.status, reply.headers, blob, start)
        if begin is None:
            raise RegistryError(f"the hub's storage sends another range of `{path}` than was asked for")
        return begin


class HubRepository:
    """The requests about one repository, with one token; also for `hub_upload.py`."""

    def __init__(self, hub: Hub, name: HubName, token: str | None) -> None:
        self.name = name
        self._hub = hub
        self._token = token
        self.base = hub.address.rstrip("/")
        host = urlsplit(self.base).hostname or ""
        self._access = Access(Endpoint(urlsplit(self.base).netloc, self.base, is_internal_host(host)), "")

    @property
    def has_token(self) -> bool:
        """Whether there is a token to show."""
        return bool(self._token)

    @property
    def transient(self) -> frozenset[int]:
        """The statuses after which trying again may help."""
        return self._hub.transport.retry.transient

    @property
    def lfs_url(self) -> str:
        """Where the large-file storage is asked."""
        return f"{self.base}/{self._quoted}.git/info/lfs/objects/batch"

    def url(self, what: str, revision: str) -> str:
        """Something in the API about a revision."""
        return f"{self.base}/api/models/{self._quoted}/{what}/{quote(revision, safe='')}"

    async def revision(self) -> _Revision:
        """Ask which commit the revision is now, and when it was made."""
        body, _ = await self._document(self.url("revision", self.name.revision))
        try:
            return msgspec.json.decode(body, type=_Revision)
        except UNREADABLE as exc:
            raise RegistryError(f"the hub's answer about `{self.name.repository}` cannot be read") from exc

    async def files(self, commit: str) -> list[HubFile]:
        """List the files of a commit, over as many pages as there are."""
        url = f"{self.url('tree', commit)}?recursive=true"
        files: list[HubFile] = []
        for _ in range(MAX_PAGES):
            body, link = await self._document(url)
            try:
                entries = msgspec.json.decode(body, type=list[_Entry])
            except UNREADABLE as exc:
                raise RegistryError(f"the hub's list of `{self.name.repository}` cannot be read") from exc
            files += [_hub_file(entry) for entry in entries if entry.type == "file"]
            following = _next_page(link)
            if following is None:
                return files
            url = urljoin(url, following)
            if not same_origin(url, self.base):
                raise RegistryError("the hub's list goes on at another host")
        raise RegistryError(f"the list of `{self.name.repository}` is too long")

    async def small_file(self, commit: str, file: HubFile) -> bytes:
        """Fetch a file whole."""
        if file.size > MAX_SMALL_BYTES:
            raise UnsupportedModel(f"`{file.path}` is larger than {MAX_SMALL_BYTES} bytes")
        body, _ = await self._document(self.file_url(commit, file.path), limit=MAX_SMALL_BYTES)
        return body

    def file_url(self, commit: str, path: str) -> str:
        """Where a file is had."""
        return f"{self.base}/{self._quoted}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def is_elsewhere(self, url: str) -> bool:
        """Whether an address is not of the hub itself."""
        return not same_origin(url, self.base)

    def get(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Reply]:
        """Fetch something; the token goes along to the hub, and to nobody else."""
        return self.send("GET", url, headers)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Upload | None = None,
        *,
        to_storage: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a request; addresses of the storage have what they need in them."""
        token = "" if to_storage or not self._token else f"Bearer {self._token}"
        return self._hub.transport.send(
            Request(method, url, self._access, dict(headers), body, authorization=token)
        )

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, good: frozenset[int]
    ) -> tuple[int, bytes]:
        """Post something to the hub: status and answer.

        Raises:
            RunnerError: the status is none of `good`.
        """
        async with self.send("POST", url, headers, body) as reply:
            if reply.status not in good:
                raise await self.refusal(reply)
            return reply.status, await reply.read(MAX_LISTING_BYTES)

    async def refusal(self, reply: Reply, what: str = "") -> RunnerError:
        """The error for an answer that is not a success."""
        await reply.read(MAX_ERROR_BYTES)
        return _refusal(
            reply.status, reply.headers.get("X-Error-Code", ""), self.name, what, bool(self._token)
        )

    @property
    def _quoted(self) -> str:
        return quote(self.name.repository, safe="/")

    async def _document(self, url: str, *, limit: int = MAX_LISTING_BYTES) -> tuple[bytes, str]:
        """Fetch a document of at most `limit` bytes, and its `Link` header."""
        failures = 0
        while True:
            try:
                async with self.get(url, {}) as reply:
                    if reply.status != 200:
                        raise await self.refusal(reply)
                    body = await reply.read(limit)
                    link = reply.headers.get("Link", "")
            except TransferInterrupted as exc:
                failures += 1
                await self._hub.transport.wait_to_repeat(failures, exc)
                continue
            if len(body) > limit:
                raise RegistryError(f"the hub's answer about `{self.name.repository}` is too long")
            return body, link


async def _described(repository: HubRepository, revision: _Revision, choice: Choice) -> HubModel:
    """Make a model of the files that were chosen: their digests, their headers, then the documents."""
    files = _layered(choice)
    small: dict[str, bytes] = {}
    for file, _ in files:
        if file.sha256 is None:
            small[file.path] = await repository.small_file(revision.sha, file)
            if sum(map(len, small.values())) > MAX_SMALL_TOTAL:
                raise UnsupportedModel(f"`{repository.name.repository}` has too many files outside of LFS")
    keep_paths = choice.format in {Format.SAFETENSORS, Format.CTRANSLATE2}
    described = [
        _described_file(file, kind, small.get(file.path), keep_paths=keep_paths) for file, kind in files
    ]
    model = HubModel(
        repository, revision.sha, choice, {Digest.of(content): content for content in small.values()}
    )
    for (file, _), layer in zip(files, described, strict=True):
        model.know(layer.digest, file.path)
    config = await _config(model, choice, described, small)
    created = (
        (revision.last_modified or datetime.fromtimestamp(0, UTC)).astimezone(UTC).replace(microsecond=0)
    )
    kind = kinds.CONFIG_V02 if keep_paths else kinds.CONFIG_V01
    model.settle(*compose(described, replace(config, created=created), created=created, config_type=kind))
    return model


def _layered(choice: Choice) -> list[tuple[HubFile, str]]:
    """The files with their layer types, in the order of their layers."""
    if choice.format is Format.SAFETENSORS:
        everything = sorted((*choice.weights, *choice.others), key=lambda file: file.path)
        return [(file, _LAYERS.get(file.kind, kinds.FILE_LAYER)) for file in everything]
    if choice.format is Format.CTRANSLATE2:
        beside = [(file, _LAYERS.get(file.kind, kinds.FILE_LAYER)) for file in choice.others]
        return [(file, kinds.CTRANSLATE2_LAYER) for file in choice.weights] + beside
    files = [(file, _LAYERS[file.kind]) for file in (*choice.weights, *choice.others)]
    files += [(choice.template, kinds.TEMPLATE_LAYER)] if choice.template else []
    files += [(choice.projector, kinds.PROJECTOR_LAYER)] if choice.projector else []
    return files


def _described_file(file: HubFile, kind: str, content: bytes | None, *, keep_paths: bool) -> Described:
    path = inner_path(file.path)
    digest = Digest("sha256", file.sha256) if content is None and file.sha256 else Digest.of(content or b"")
    size = file.size if content is None else len(content)
    return Described(str(path) if keep_paths else path.name, kind, digest, size)


async def _config(
    model: HubModel, choice: Choice, described: Sequence[Described], small: Mapping[str, bytes]
) -> ModelConfig:
    if choice.format is Format.CTRANSLATE2:
        return await _whisper(model, described[0])
    weights = [layer for layer in described if layer.media_type == _LAYERS[FileKind(choice.format)]]
    blobs = [(Descriptor(layer.media_type, layer.digest, layer.size), layer.name) for layer in weights]
    if choice.format is Format.GGUF:
        return describe_gguf([await gguf_header(model, blob, name) for blob, name in blobs])
    if choice.format is Format.DDUF:
        return ModelConfig(
            format=Format.DDUF,
            architecture="diffusers",
            size=size_text(sum(blob.size for blob, _ in blobs)),
            metadata={"dduf_file": weights[0].name, "layout": "dduf"},
        )
    folders = dict.fromkeys(PurePosixPath(layer.name).parent for layer in weights)
    configs = (small.get(str(folder / "config.json"), b"") for folder in folders)
    tokens = next((size for raw in configs if (size := context_size(raw))), None)
    return describe(
        [await safetensors_header(model, blob, name) for blob, name in blobs], context_size=tokens
    )


async def _whisper(model: HubModel, weights: Described) -> ModelConfig:
    """Describe a model of CTranslate2 by its first bytes, which say whether it is a Whisper."""
    blob = Descriptor(weights.media_type, weights.digest, weights.size)
    header = await ctranslate2_spec(model, blob, weights.name)
    if header.spec != WHISPER:
        raise UnsupportedModel(f"not a Whisper model: `{weights.name}` is a `{header.spec[:60]}`")
    return ModelConfig(
        format=Format.CTRANSLATE2,
        architecture="whisper",
        size=size_text(weights.size),
        metadata={"spec": header.spec},
    )


def _hub_file(entry: _Entry) -> HubFile:
    """Read one line of a listing, of which nothing is believed that could be a path or a digest."""
    path = str(inner_path(entry.path))
    size = entry.lfs.size if entry.lfs else entry.size
    if size < 0:
        raise RegistryError(f"the hub says that `{path[:200]}` has {size} bytes")
    if entry.lfs is None:
        return HubFile(path, size)
    return HubFile(path, size, Digest("sha256", entry.lfs.oid.removeprefix("sha256:")).hex)


def _next_page(link: str) -> str | None:
    """The address with `rel="next"` of a `Link` header. Source: RFC 8288."""
    for part in link.split(","):
        address, _, parameters = part.strip().partition(";")
        if 'rel="next"' in parameters.replace(" ", "") and address.startswith("<") and address.endswith(">"):
            return address[1:-1]
    return None


def _refusal(status: int, code: str, name: HubName, what: str, has_token: bool) -> RunnerError:  # noqa: FBT001 - a fact about the request
    """The error for an answer of the hub. Source: huggingface_hub `utils/_http.py`, `X-Error-Code`."""
    repository = name.repository
    page = f"{HUB}/{repository}"
    detail = {"status": status, "code": code[:64]}
    if code == "GatedRepo":
        way = "with the account of your token" if has_token else "and set HF_TOKEN to a token of that account"
        return Unauthorized(
            f"the model is gated: `{repository}`", hint=f"accept its terms at {page} {way}", detail=detail
        )
    if code == "RevisionNotFound":
        return ModelNotFound(f"no revision `{name.revision}` in repository `{repository}`", detail=detail)
    if code == "EntryNotFound":
        return ModelNotFound(f"no file `{what}` in repository `{repository}`", detail=detail)
    if status in {401, 403}:
        hint = (
            "your token may not read it"
            if has_token
            else "if it is private, set HF_TOKEN to a token that may"
        )
        return Unauthorized(
            f"repository not found, or private: `{repository}`", hint=f"check the name; {hint}", detail=detail
        )
    if status == 404:
        return ModelNotFound(f"model not found: `hf.co/{repository}`", hint="check the name", detail=detail)
    if status == 429:
        return RegistryError(
            f'rate limited while accessing repository "{repository}"',
            hint="wait a while" if has_token else "wait a while, or set HF_TOKEN for a higher limit",
            detail=detail,
        )
    return RegistryError(
        f"the hub answers with status {status} for `{repository}`", hint="try again", detail=detail
    )


async def _clipped(reply: Reply, length: int) -> AsyncIterator[bytes]:
    left = length
    async for chunk in reply.chunks():
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
