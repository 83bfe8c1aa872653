"""One repository of Hugging Face's hub: what is asked about it, with one token, and what a refusal means.

The token goes to the hub alone, never to the storage that it redirects to.
Source: the hub's API as huggingface_hub v0.27 speaks it.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
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
from modelrunner.models.description.names import HubName
from modelrunner.models.description.paths import inner_path
from modelrunner.models.remote.hub_selection import HubFile
from modelrunner.oci.auth import Access
from modelrunner.oci.connections import Upload
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import Endpoint, is_internal_host, same_origin
from modelrunner.oci.manifest import UNREADABLE
from modelrunner.oci.replies import MAX_ERROR_BYTES
from modelrunner.oci.reply import Reply
from modelrunner.oci.transport import Request, Transport

HUB = "https://huggingface.co"
MAX_SMALL_BYTES = 32 << 20  # of a file whose digest the hub does not tell
MAX_LISTING_BYTES = 32 << 20  # of one page
MAX_PAGES = 100


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Entry(msgspec.Struct):
    type: str
    path: str
    size: int = 0
    lfs: _Lfs | None = None


class Revision(msgspec.Struct, rename="camel"):
    """What a name of a revision stands for now."""

    sha: str
    last_modified: datetime | None = None


class HubRepository:
    """The requests about one repository, with one token."""

    def __init__(self, transport: Transport, address: str, name: HubName, token: str | None) -> None:
        self.name = name
        self.base = address.rstrip("/")
        self._transport = transport
        self._token = token
        host = urlsplit(self.base).hostname or ""
        self._access = Access(Endpoint(urlsplit(self.base).netloc, self.base, is_internal_host(host)), "")

    @property
    def has_token(self) -> bool:
        """Whether there is a token to show."""
        return bool(self._token)

    @property
    def transient(self) -> frozenset[int]:
        """The statuses after which trying again may help."""
        return self._transport.retry.transient

    @property
    def lfs_url(self) -> str:
        """Where the large-file storage is asked."""
        return f"{self.base}/{self._quoted}.git/info/lfs/objects/batch"

    def url(self, what: str, revision: str) -> str:
        """Something in the API about a revision."""
        return f"{self.base}/api/models/{self._quoted}/{what}/{quote(revision, safe='')}"

    async def revision(self) -> Revision:
        """Ask which commit the revision is now, and when it was made."""
        body, _ = await self._document(self.url("revision", self.name.revision))
        try:
            return msgspec.json.decode(body, type=Revision)
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
        return self._transport.send(
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
                await self._transport.wait_to_repeat(failures, exc)
                continue
            if len(body) > limit:
                raise RegistryError(f"the hub's answer about `{self.name.repository}` is too long")
            return body, link


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
