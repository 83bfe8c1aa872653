"""A Hugging Face hub in memory, as an ASGI application: listings, files behind redirects, uploads, refusals.

Files of LFS are served from another origin than the hub, as by its storage: run the application a second time
and name that address in `storage`. It keeps a record of every request.
"""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

_Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[_Message]]
Send = Callable[[_Message], Awaitable[None]]

_PIECE = 64 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
LARGE = 64  # bytes from which a file is kept in LFS


@dataclass(slots=True)
class HubRepository:
    """A repository: its files by revision, and who may read it."""

    files: dict[str, bytes]
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    last_modified: str = "2025-06-15T12:00:00.000Z"
    token: str | None = None  # that is needed to read
    gated: bool = False

    def at(self, revision: str) -> dict[str, bytes] | None:
        """The files of a revision, by its name or its commit."""
        if revision in {"main", self.commit("main")}:
            return self.files
        for name, files in self.revisions.items():
            if revision in {name, self.commit(name)}:
                return files
        return None

    def commit(self, revision: str) -> str:
        """The commit of a revision: another one whenever a file changes."""
        files = self.files if revision == "main" else self.revisions[revision]
        state = hashlib.sha1(revision.encode(), usedforsecurity=False)
        for name, content in sorted(files.items()):
            state.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return state.hexdigest()


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stop_after: int | None = None


class FakeHub:
    """The application. `page` is the length of a page of a listing, `part` the size of parts in uploads."""

    def __init__(self, *, page: int = 1000, part: int | None = None) -> None:
        self.repositories: dict[str, HubRepository] = {}
        self.storage = ""
        self.address = ""
        self.page = page
        self.part = part
        self.seen: list[HubRequest] = []
        self.expire = 0  # so many addresses of the storage are refused from now on
        self.cut: dict[str, int] = {}  # path of a file -> bytes after which it breaks off, once
        self.limit = 0  # so many requests are answered with 429 from now on
        self.objects: dict[str, bytes] = {}  # uploaded to LFS
        self.parts: dict[tuple[str, int], bytes] = {}
        self.ranges = True

    def add(self, name: str, files: dict[str, bytes], **options: object) -> HubRepository:
        """Publish a repository."""
        repository = HubRepository(dict(files), **options)  # type: ignore[arg-type]  # the options are its fields
        self.repositories[name] = repository
        return repository

    async def __call__(self, scope: _Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}  # type: ignore[attr-defined]  # ASGI
        path = str(scope["raw_path"].decode())  # type: ignore[attr-defined]  # ASGI
        query = scope["query_string"].decode()  # type: ignore[attr-defined]  # ASGI
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")  # type: ignore[operator]  # ASGI
            more = bool(message.get("more_body"))
        request = HubRequest(str(scope["method"]), unquote(path), headers, body)
        self.seen.append(request)
        answer = self._answer(request, path, query)
        await _send(answer, send)

    def _answer(self, request: HubRequest, raw_path: str, query: str) -> _Answer:
        if request.path.startswith("/storage/"):
            return self._stored(request)
        if self.limit:
            self.limit -= 1
            return _Answer(429)
        if request.path == "/api/repos/create":
            return self._create(request)
        for pattern, answer in (
            (r"/api/models/(.+?)/revision/([^/]+)", self._revision),
            (r"/api/models/(.+?)/tree/([^/]+)", self._tree),
            (r"/api/models/(.+?)/commit/([^/]+)", self._commit),
            (r"/(.+?)/resolve/([^/]+)/(.+)", self._resolve),
            (r"/(.+?)\.git/info/lfs/objects/batch", self._batch),
        ):
            if found := re.fullmatch(pattern, raw_path):
                parts = [unquote(part) for part in found.groups()]
                repository = self.repositories.get(parts[0])
                refused = self._refused(repository, request)
                return refused or answer(repository, parts, request, query)  # type: ignore[arg-type]  # refused if None
        return _Answer(404)

    def _refused(self, repository: HubRepository | None, request: HubRequest) -> _Answer | None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if repository is None:  # the hub does not tell strangers what does not exist
            return _Answer(404 if sent else 401, headers={"X-Error-Code": "RepoNotFound"})
        if repository.token is not None and sent != repository.token:
            return _Answer(401, headers={"X-Error-Code": "RepoNotFound"})
        if repository.gated and "/api/models/" not in request.path:
            return _Answer(403 if sent else 401, headers={"X-Error-Code": "GatedRepo"})
        return None

    def _revision(self, repository: HubRepository, parts: list[str], _: HubRequest, __: str) -> _Answer:
        if repository.at(parts[1]) is None:
            return _Answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        sha = parts[1] if len(parts[1]) == 40 else repository.commit(parts[1])
        return _json({"sha": sha, "lastModified": repository.last_modified})

    def _tree(self, repository: HubRepository, parts: list[str], request: HubRequest, query: str) -> _Answer:
        files = repository.at(parts[1]) or {}
        start = int(parse_qs(query).get("cursor", ["0"])[0])
        names = sorted(files)
        entries = [_entry(name, files[name]) for name in names[start : start + self.page]]
        folders = {name.rpartition("/")[0] for name in names if "/" in name} if start == 0 else set()
        answer = _json([*({"type": "directory", "path": folder, "size": 0} for folder in folders), *entries])
        if start + self.page < len(names):
            following = f"{self.address}{request.path}?recursive=true&cursor={start + self.page}"
            answer.headers["Link"] = f'<{following}>; rel="next"'
        return answer

    def _resolve(self, repository: HubRepository, parts: list[str], request: HubRequest, _: str) -> _Answer:
        content = (repository.at(parts[1]) or {}).get(parts[2])
        if content is None:
            return _Answer(404, headers={"X-Error-Code": "EntryNotFound"})
        if len(content) < LARGE or not self.storage:
            return self._ranged(content, request, parts[2])
        place = f"{self.storage}/storage/{hashlib.sha256(content).hexdigest()}/{parts[2]}?signature=secret"
        return _Answer(302, headers={"Location": place})

    def _stored(self, request: HubRequest) -> _Answer:
        _, _, digest, name = request.path.split("/", 3)
        if request.method in {"PUT", "POST"}:
            return self._keep(request, digest, name)
        if self.expire:
            self.expire -= 1
            return _Answer(403)
        for repository in self.repositories.values():
            for files in (repository.files, *repository.revisions.values()):
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == digest:
                        return self._ranged(content, request, name)
        return _Answer(404)

    def _ranged(self, content: bytes, request: HubRequest, name: str) -> _Answer:
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        stop_after = self.cut.pop(name, None)
        if found is None or not self.ranges:
            return _Answer(200, content, stop_after=stop_after)
        start, end = int(found[1]), int(found[2] or len(content) - 1)
        if start >= len(content):
            return _Answer(416)
        headers = {"Content-Range": f"bytes {start}-{min(end, len(content) - 1)}/{len(content)}"}
        return _Answer(206, content[start : end + 1], headers, stop_after)

    def _create(self, request: HubRequest) -> _Answer:
        wanted = json.loads(request.body)
        name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
        if name in self.repositories:
            return _Answer(409)
        self.add(name, {})
        return _json({"url": f"{self.address}/{name}"})

    def _batch(self, _: HubRepository, __: list[str], request: HubRequest, ___: str) -> _Answer:
        objects = json.loads(request.body)["objects"]
        return _json({"transfer": "basic", "objects": [self._object(each) for each in objects]})

    def _object(self, wanted: dict[str, object]) -> dict[str, object]:
        oid, size = str(wanted["oid"]), int(str(wanted["size"]))
        if oid in self.objects:
            return {"oid": oid, "size": size}
        base = f"{self.storage or self.address}/storage/{oid}"
        headers: dict[str, str] = {"x-upload": "yes"}
        href = f"{base}/whole"
        if self.part is not None and size > self.part:
            parts = range(1, -(-size // self.part) + 1)
            headers = {"chunk_size": str(self.part), **{str(n): f"{base}/{n}" for n in parts}}
            href = f"{self.address}/storage/{oid}/complete"
        return {"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": headers}}}

    def _keep(self, request: HubRequest, digest: str, name: str) -> _Answer:
        """Take a whole object, one part, or the list of all parts, which makes them an object."""
        if name not in {"whole", "complete"}:
            self.parts[digest, int(name)] = request.body
            return _Answer(200, headers={"ETag": f'"{name}"'})
        content = request.body
        if name == "complete":
            listed = json.loads(request.body)["parts"]
            content = b"".join(self.parts[digest, part["partNumber"]] for part in listed)
        if hashlib.sha256(content).hexdigest() != digest:
            return _Answer(400)
        self.objects[digest] = content
        return _Answer(200)

    def _commit(self, repository: HubRepository, _: list[str], request: HubRequest, __: str) -> _Answer:
        for line in request.body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    return _Answer(422)
                repository.files[value["path"]] = self.objects[value["oid"]]
            elif step["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
        return _json({"success": True})


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
    if len(content) >= LARGE:
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return entry


def _json(value: object) -> _Answer:
    return _Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


async def _send(answer: _Answer, send: Send) -> None:
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    body = answer.body if answer.stop_after is None else answer.body[: answer.stop_after]
    for at in range(0, len(body), _PIECE):
        await send({"type": "http.response.body", "body": body[at : at + _PIECE], "more_body": True})
    if answer.stop_after is None:  # else the server closes a connection whose answer is not complete
        await send({"type": "http.response.body", "body": b"", "more_body": False})
