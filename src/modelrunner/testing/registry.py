"""A registry in memory, as an ASGI application: the distribution protocol, access control, faults on request.

It keeps a record of every request. What it is told to do wrong, it does to the next requests that fit.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import parse_qs, parse_qsl

from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Manifest

_Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[_Message]]
Send = Callable[[_Message], Awaitable[None]]

_PIECE = 64 * 1024
_ROUTE = re.compile(r"/v2/(?P<name>[a-z0-9/._-]+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Reply:
    """An answer in the making."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stop_after: int | None = None  # bytes of the body that are sent
    stall: bool = False  # whether it then waits until the client leaves, rather than breaking off


@dataclass(slots=True)
class Fault:
    """Something to do wrong to the next `times` requests whose `line` has `pattern`, a regular expression."""

    pattern: str
    spoil: Callable[[Reply], Reply]
    times: int = 1


def answer(status: int, body: bytes = b"", **headers: str) -> Callable[[Reply], Reply]:
    """Answer something else. Underscores in the names of headers become hyphens."""
    return lambda _: Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def refuse(status: int, code: str, message: str = "") -> Callable[[Reply], Reply]:
    """Answer with an error of the protocol."""
    return lambda _: _error(status, code, message)


def cut(after: int) -> Callable[[Reply], Reply]:
    """Break the connection after some bytes of the body."""

    def spoil(reply: Reply) -> Reply:
        reply.stop_after = after
        return reply

    return spoil


def stall(after: int) -> Callable[[Reply], Reply]:
    """Say nothing more after some bytes of the body."""

    def spoil(reply: Reply) -> Reply:
        reply.stop_after, reply.stall = after, True
        return reply

    return spoil


def replace_body(body: bytes) -> Callable[[Reply], Reply]:
    """Send other bytes, with the same headers but for their length."""

    def spoil(reply: Reply) -> Reply:
        reply.body = body
        return reply

    return spoil


@dataclass(slots=True)
class Access:
    """Who may do what. Without `bearer` passwords come with each request; with it, a token server is used."""

    users: Mapping[str, str] = field(default_factory=dict)
    bearer: bool = False
    public: bool = False  # whether anybody may pull
    refresh: Mapping[str, str] = field(default_factory=dict)  # identity token -> user
    lifetime: int = 300  # seconds
    realm: str | None = None  # elsewhere than here
    post: bool = True  # whether the token server knows the newer form of asking


class FakeRegistry:
    """The application. All repositories share their blobs, as far as the names are right."""

    def __init__(self, access: Access | None = None) -> None:
        self.access = access
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.upload_base = ""  # another host to send uploads to
        self.ranges = True
        self.chunks = True  # whether uploads may come in several requests
        self.mounts = True  # whether a repository may have a blob of another one
        self._tokens: dict[str, frozenset[str]] = {}
        self._uploads: dict[str, bytes] = {}
        self._numbers = count(1)

    def add(self, repository: str, tag: str, manifest: Manifest, blobs: Mapping[Digest, bytes]) -> None:
        """Publish an artifact."""
        self.blobs.update(blobs)
        for selector in (tag, str(manifest.digest)):
            self.manifests[repository, selector] = (manifest.media_type, manifest.raw)

    def fault(self, pattern: str, spoil: Callable[[Reply], Reply], *, times: int = 1) -> None:
        """Do something wrong to the next requests that fit."""
        self.faults.append(Fault(pattern, spoil, times))

    def revoke(self) -> None:
        """Forget every token that was given out."""
        self._tokens.clear()

    def lines(self, pattern: str = "") -> list[str]:
        """The requests so far, as `METHOD /path`, that have a pattern."""
        return [seen.line for seen in self.seen if re.search(pattern, seen.line)]

    async def __call__(self, scope: Mapping[str, object], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        seen = await _read(scope, receive)
        self.seen.append(seen)
        reply = self._answer(seen)
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, seen.line):
                fault.times -= 1
                reply = fault.spoil(reply)
                break
        await _send(reply, seen, receive, send)

    def _answer(self, seen: Seen) -> Reply:
        if seen.path == "/token":
            return self._token(seen)
        route = _ROUTE.fullmatch(seen.path)
        denied = self._deny(seen, route["name"] if route else "")
        if denied is not None:
            return denied
        if seen.path == "/v2/":
            return Reply(200, body=b"{}")
        if route is None:
            return _error(404, "NAME_UNKNOWN")
        if route["kind"] == "manifests":
            return self._manifest(seen, route["name"], route["rest"])
        if route["kind"] == "tags":
            tags = sorted(tag for name, tag in self.manifests if name == route["name"] and ":" not in tag)
            return Reply(200, body=json.dumps({"name": route["name"], "tags": tags}).encode())
        if route["rest"].startswith("uploads/"):
            return self._upload(seen, route["name"])
        return self._blob(seen, Digest.parse(route["rest"]))

    def _manifest(self, seen: Seen, name: str, selector: str) -> Reply:
        if seen.method == "PUT":
            digest = str(Digest.of(seen.body))
            stored = (seen.headers.get("content-type", ""), seen.body)
            self.manifests[name, selector] = self.manifests[name, digest] = stored
            return Reply(201, {"Docker-Content-Digest": digest})
        found = self.manifests.get((name, selector))
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN")
        media_type, raw = found
        digest = str(Digest.of(raw))
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, raw)

    def _blob(self, seen: Seen, digest: Digest) -> Reply:
        content = self.blobs.get(digest)
        if content is None:
            return _error(404, "BLOB_UNKNOWN")
        headers = {"Docker-Content-Digest": str(digest), "Content-Type": "application/octet-stream"}
        wanted = _RANGE.fullmatch(seen.headers.get("range", ""))
        if wanted is None or not self.ranges:
            return Reply(200, headers, content)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first > last:
            return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Reply(206, headers, content[first : last + 1])

    def _upload(self, seen: Seen, name: str) -> Reply:
        if seen.method == "POST":
            return self._begin(seen, name)
        number = seen.path.rpartition("/")[2]
        held = self._uploads.get(number, b"")
        if number not in self._uploads and seen.method != "PUT":
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if seen.method == "GET":
            return self._status(204, name, number)
        if seen.method == "PATCH":
            return self._take(seen, name, number, held)
        content = held + seen.body
        digest = Digest.parse(seen.query.get("digest", ""))
        verifier = digest.verifier()
        verifier.update(content)
        if not verifier.matches:
            return _error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[digest] = content
        self._uploads.pop(number, None)
        return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)})

    def _begin(self, seen: Seen, name: str) -> Reply:
        """Open an upload, unless the blob is mounted: here all repositories have what one of them has."""
        mount = seen.query.get("mount")
        if mount and self.mounts and Digest.parse(mount) in self.blobs:
            return Reply(201, {"Location": f"/v2/{name}/blobs/{mount}"})
        number = str(next(self._numbers))
        self._uploads[number] = b""
        return self._status(202, name, number)

    def _take(self, seen: Seen, name: str, number: str, held: bytes) -> Reply:
        """Take a chunk that begins where the last one ended; also what came of one that broke off."""
        if not self.chunks:
            return _error(405, "UNSUPPORTED")
        first = seen.headers.get("content-range", f"{len(held)}-").partition("-")[0]
        if int(first) != len(held):
            return _error(416, "RANGE_INVALID")
        self._uploads[number] = held + seen.body
        return self._status(202, name, number)

    def _status(self, status: int, name: str, number: str) -> Reply:
        location = f"{self.upload_base}/v2/{name}/blobs/uploads/{number}?_state=a%2Fb%3D"
        last = max(len(self._uploads[number]) - 1, 0)
        return Reply(status, {"Location": location, "Range": f"0-{last}"})

    def _deny(self, seen: Seen, name: str) -> Reply | None:
        """The refusal of a request that is not allowed."""
        if self.access is None:
            return None
        action = "pull" if seen.method in {"GET", "HEAD"} else "push"
        scheme, _, value = seen.headers.get("authorization", "").partition(" ")
        if not self.access.bearer:
            if scheme == "Basic" and _basic(value) in self.access.users.items():
                return None
            return _error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="fake"'})
        granted = self._tokens.get(value, frozenset()) if scheme == "Bearer" else frozenset()
        if f"{name}:{action}" in granted:
            return None
        realm = self.access.realm or f"http://{seen.headers['host']}/token"
        challenge = f'Bearer realm="{realm}",service="fake",scope="repository:{name}:{action}"'
        if scheme:
            challenge += ',error="insufficient_scope"'
        return _error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})

    def _token(self, seen: Seen) -> Reply:
        """Exchange what was given for a token, or refuse."""
        access = self.access or Access()
        form = dict(parse_qsl(seen.body.decode()))
        if seen.method == "POST" and not access.post:
            return Reply(404)
        scheme, _, value = seen.headers.get("authorization", "").partition(" ")
        if seen.method == "POST" and form.get("grant_type") == "refresh_token":
            user = access.refresh.get(form.get("refresh_token", ""))
        else:
            given = _basic(value) if scheme else (form.get("username", ""), form.get("password", ""))
            user = given[0] if given in access.users.items() else None
        if user is None and (scheme or form or not access.public):
            return _error(401, "UNAUTHORIZED")
        scopes = form["scope"].split() if form else parse_qs(seen.query["*"]).get("scope", [])
        token = f"token-{next(self._numbers)}"
        allowed = {"pull"} if user is None else {"pull", "push"}
        self._tokens[token] = frozenset(grant for scope in scopes for grant in _grants(scope, allowed))
        reply = {"access_token" if form else "token": token, "expires_in": access.lifetime}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(reply).encode())


def _grants(scope: str, allowed: set[str]) -> Iterator[str]:
    _, name, actions = scope.split(":")
    return (f"{name}:{action}" for action in actions.split(",") if action in allowed)


def _basic(value: str) -> tuple[str, str]:
    user, _, password = base64.b64decode(value).decode().partition(":")
    return user, password


def _error(status: int, code: str, message: str = "", *, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message or code.lower()}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


async def _read(scope: Mapping[str, object], receive: Receive) -> Seen:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        piece, more = message.get("body", b""), bool(message.get("more_body", False))
        assert isinstance(piece, bytes)
        body += piece
    headers, query = scope["headers"], scope["query_string"]
    assert isinstance(headers, list)
    assert isinstance(query, bytes)
    pairs = {"*": query.decode(), **dict(parse_qsl(query.decode()))}
    names = {name.decode().lower(): value.decode() for name, value in headers}
    return Seen(str(scope["method"]), str(scope["path"]), pairs, names, bytes(body))


async def _send(reply: Reply, seen: Seen, receive: Receive, send: Send) -> None:
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    body = b"" if seen.method == "HEAD" else reply.body
    stop = len(body) if reply.stop_after is None else reply.stop_after
    for start in range(0, min(stop, len(body)), _PIECE):
        piece = body[start : min(start + _PIECE, stop)]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if reply.stall:
        while (await receive())["type"] != "http.disconnect":
            pass
    elif reply.stop_after is None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    # Else it returns without an end, and the server breaks the connection.
