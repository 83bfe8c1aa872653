"""A repository of Hugging Face's hub as a sink: weights into its storage, then one commit with all.

Nothing is visible before the commit. What the storage has already is not sent again.
Source: the hub's API as huggingface_hub v0.27 speaks it (`_commit_api.py`, `lfs.py`); git-lfs, "Batch API".
"""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec

from modelrunner.errors import RegistryError, TransferInterrupted, Unauthorized, UnsupportedModel
from modelrunner.models.description import kinds
from modelrunner.models.description.kinds import FileKind, classify
from modelrunner.models.description.names import HubName
from modelrunner.models.description.paths import inner_path
from modelrunner.models.description.usual_names import usual_names
from modelrunner.models.remote.hub import Hub
from modelrunner.oci.chunks import Piece
from modelrunner.oci.connections import Upload
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import UNREADABLE, Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.oci.replies import MAX_ERROR_BYTES
from modelrunner.oci.upload import Rest

INLINE_BYTES = 10 << 20  # from here on a file goes to the storage, whatever it is
_MAX_PARTS = 10_000
_LARGE_KINDS = frozenset({FileKind.GGUF, FileKind.SAFETENSORS, FileKind.DDUF})
_LFS_JSON = "application/vnd.git-lfs+json"
_DONE = frozenset({200, 201, 202, 204})


class _Action(msgspec.Struct):
    href: str
    header: dict[str, str] | None = None


class _Object(msgspec.Struct):
    oid: str
    actions: dict[str, _Action] | None = None


class _Batch(msgspec.Struct):
    objects: list[_Object]


def upload_paths(manifest: Manifest) -> Mapping[Digest, str]:
    """The name that each layer gets in the repository: the one that it was packaged under.

    Raises:
        UnsupportedModel: there are no layers, or a name leads outside.
    """
    usual = usual_names([layer.media_type for layer in manifest.layers])
    paths = {
        layer.digest: str(inner_path(layer.annotations.get(kinds.FILEPATH) or name))
        for layer, name in zip(manifest.layers, usual, strict=True)
    }
    if not paths:
        raise UnsupportedModel("no model files found to upload")
    return paths


class HubUpload:
    """A Sink for one model; `copy` moves the blobs, and the commit makes them visible."""

    def __init__(self, hub: Hub, name: HubName, manifest: Manifest, token: str | None) -> None:
        self._repository = hub.repository(name, token)
        self._paths = upload_paths(manifest)
        self._config = manifest.config.digest
        self._actions: dict[Digest, Mapping[str, _Action]] = {}
        self._inline: dict[Digest, bytes] = {}
        self.created = False

    async def ensure(self) -> None:
        """Make the repository, for its owner only, if there is none.

        Raises:
            Unauthorized: there is no token, or one that may not write.
            RegistryError: anything else that the hub said.
        """
        if not self._repository.has_token:
            raise Unauthorized(
                f"no token to push to Hugging Face: `{self._repository.name.repository}`",
                hint="set HF_TOKEN to a token that may write, or run `hf auth login`",
            )
        owner, _, name = self._repository.name.repository.rpartition("/")
        body = {"name": name, "organization": owner or None, "type": "model", "private": True}
        status, _ = await self._post("/api/repos/create", body, {200, 201, 409})
        self.created = status != 409

    @asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        """Yield the blob's size if there is nothing to send, else 0.

        Raises:
            RunnerError: what the hub has against it.
        """
        if blob.digest == self._config or blob.digest not in self._paths:
            yield blob.size  # a repository has no place for our configuration, which is made of its files
        elif not self._is_large(blob):
            if blob.size == 0:
                self._inline[blob.digest] = b""
            yield 0
        else:
            actions = await self._ask_storage(blob)
            self._actions[blob.digest] = actions
            yield 0 if "upload" in actions else blob.size

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Send a claimed blob; a small one is kept for the commit.

        Raises:
            TransferInterrupted: it broke off, and nothing of it is kept.
            RegistryError: the storage refuses it.
        """
        if offset != 0:
            raise RegistryError(f"an upload of `{blob.digest}` cannot start at byte {offset}")
        if not self._is_large(blob):
            self._inline[blob.digest] = b"".join([chunk async for chunk in chunks])
            return
        actions = self._actions[blob.digest]
        upload = actions["upload"]
        headers = dict(upload.header or {})
        part_size = headers.pop("chunk_size", None)
        if part_size is None:
            await self._put(upload.href, headers, blob.size, chunks)
        else:
            await self._put_parts(blob, upload.href, headers, int(part_size), chunks)
        if verify := actions.get("verify"):
            body = msgspec.json.encode({"oid": blob.digest.hex, "size": blob.size})
            await self._ask(verify.href, {**(verify.header or {}), "Content-Type": _LFS_JSON}, body)

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:  # noqa: ARG002 - a repository has no tags of ours
        """Make one commit of all files."""
        header = {"summary": "Upload model", "description": ""}
        lines: list[dict[str, object]] = [{"key": "header", "value": header}]
        sizes = {layer.digest: layer.size for layer in manifest.layers}
        for digest, path in self._paths.items():
            if digest not in self._inline:
                value = {"path": path, "algo": "sha256", "oid": digest.hex, "size": sizes[digest]}
                lines.append({"key": "lfsFile", "value": value})
        for digest, content in self._inline.items():
            encoded = base64.b64encode(content).decode()
            lines.append(
                {
                    "key": "file",
                    "value": {"path": self._paths[digest], "encoding": "base64", "content": encoded},
                }
            )
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        url = self._repository.url("commit", self._repository.name.revision)
        await self._repository.post(url, {"Content-Type": "application/x-ndjson"}, body, _DONE)

    def _is_large(self, blob: Descriptor) -> bool:
        return blob.size >= INLINE_BYTES or classify(self._paths[blob.digest]) in _LARGE_KINDS

    async def _ask_storage(self, blob: Descriptor) -> Mapping[str, _Action]:
        body = {
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{"oid": blob.digest.hex, "size": blob.size}],
            "hash_algo": "sha256",
        }
        headers = {"Content-Type": _LFS_JSON, "Accept": _LFS_JSON}
        _, answer = await self._repository.post(
            self._repository.lfs_url, headers, msgspec.json.encode(body), _DONE
        )
        try:
            return msgspec.json.decode(answer, type=_Batch).objects[0].actions or {}
        except (*UNREADABLE, IndexError) as exc:
            raise RegistryError("the hub's answer about an upload cannot be read") from exc

    async def _put_parts(
        self,
        blob: Descriptor,
        href: str,
        headers: Mapping[str, str],
        part_size: int,
        chunks: AsyncIterator[Piece],
    ) -> None:
        """Send a blob in the parts that the storage has addresses for, then say which they were."""
        count = -(-blob.size // part_size) if part_size > 0 else 0
        if not 0 < count <= _MAX_PARTS or any(str(n) not in headers for n in range(1, count + 1)):
            raise RegistryError("the hub's addresses for an upload are not those of its parts")
        parts: list[dict[str, object]] = []
        rest = Rest(chunks)
        for number in range(1, count + 1):
            size = min(part_size, blob.size - part_size * (number - 1))
            async with aclosing(rest.take(size)) as pieces:
                etag = await self._put(headers[str(number)], {}, size, pieces)
            parts.append({"partNumber": number, "etag": etag})
        body = msgspec.json.encode({"oid": blob.digest.hex, "parts": parts})
        await self._ask(href, {"Content-Type": _LFS_JSON, "Accept": _LFS_JSON}, body)

    async def _put(
        self, href: str, headers: Mapping[str, str], size: int, chunks: AsyncIterator[Piece]
    ) -> str:
        kept = {"Content-Type": "application/octet-stream", **headers}
        async with self._repository.send("PUT", href, kept, Upload(size, chunks), to_storage=True) as reply:
            if reply.status in _DONE:
                return reply.headers.get("ETag", "")
            await reply.read(MAX_ERROR_BYTES)
            said = RegistryError(f"the hub's storage answers with status {reply.status} to an upload")
            if reply.status in self._repository.transient or reply.status in {400, 403}:
                raise TransferInterrupted(
                    said.message, hint="try again"
                ) from said  # an address that is too old
            raise said

    async def _ask(self, href: str, headers: Mapping[str, str], body: bytes) -> None:
        async with self._repository.send("POST", href, headers, body, to_storage=True) as reply:
            await reply.read(MAX_ERROR_BYTES)
            if reply.status not in _DONE:
                raise RegistryError(f"the hub's storage answers with status {reply.status} to an upload")

    async def _post(self, path: str, body: Mapping[str, object], good: set[int]) -> tuple[int, bytes]:
        present = {key: value for key, value in body.items() if value is not None}
        return await self._repository.post(
            self._repository.base + path,
            {"Content-Type": "application/json"},
            msgspec.json.encode(present),
            frozenset(good),
        )
