"""Asks again what was asked before: the same, of another model, or with other parameters."""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelrunner.errors import Conflict, RequestNotFound
from modelrunner.recorder.documents import dict_of, read_json
from modelrunner.recorder.shortening import has_media
from modelrunner.server.connection.replies import json_reply, parse, query_flag, read
from modelrunner.server.inference.call import Endpoint
from modelrunner.server.inference.relay import Relay
from modelrunner.server.routes.inference import Endpoints
from modelrunner.server.services import Services
from modelrunner.wire.headers import REPLAY_HEADER
from modelrunner.wire.requests import RecordedRequest, ReplayRequest

_BODY = 10 << 20  # bytes
# What the caller's headers say of the caller's body, and not of the one that is sent.
_OF_A_BODY = frozenset({b"transfer-encoding", b"trailer", b"te", b"expect", b"digest"})
_OURS = _OF_A_BODY | {b"x-request-id", b"x-record"}


class Replaying:
    """`POST /requests/{id}/replay`: a request of our own making, on the way that every request takes."""

    def __init__(self, relay: Relay, endpoints: Endpoints) -> None:
        self._relay = relay
        self._endpoints = endpoints

    async def replay(self, services: Services, request: Request) -> ASGIApp:
        """Ask again; the answer is the new record, or with `?answer=true` the model's own."""
        text = await read(request, _BODY)
        changes = parse(text, ReplayRequest) if text.strip() else ReplayRequest()
        recorded = await services.observing.archive.find(request.path_params["name"])
        body = changed(recorded, changes)
        endpoint = self._endpoints.find(recorded["path"])
        if endpoint is None:
            raise Conflict(f"there is no `{recorded['path']}` any more", hint="it was another version's")
        name = f"replay_{secrets.token_hex(8)}"
        scope = _scope(request.scope, recorded, name)
        receive = _receiving(body, request.receive)
        if query_flag(request, "answer"):
            return _Through(self._relay, endpoint, scope, receive)
        await self._relay.serve(endpoint, scope, receive, _nowhere)
        try:
            return json_reply(await services.observing.archive.find(name))
        except RequestNotFound as exc:
            raise Conflict(
                "the request was sent again, but not recorded",
                hint="`dmr requests status` says whether it can be; a model may be configured not to be",
            ) from exc


def changed(recorded: RecordedRequest, changes: ReplayRequest) -> bytes:
    """The body to send: as recorded, with the changes. Nobody waits for what is made in the background.

    Raises:
        Conflict: not all of the request was kept.
    """
    if has_media(recorded["request"]):
        raise Conflict(
            f"request {recorded['id']} cannot be sent again: it has media, which are not kept",
            hint="send it anew from where it came",
        )
    body: dict[str, Any] = dict_of(read_json(recorded["request"]))
    if not body:
        why = "it was too large to be kept" if recorded["cut"] else "its body is no JSON object"
        raise Conflict(f"request {recorded['id']} cannot be sent again: {why}")
    body.pop("background", None)
    if model := changes.get("model"):
        body["model"] = model
    parameters: Mapping[str, Any] = changes.get("parameters") or {}
    for key, value in parameters.items():
        if value is None:
            body.pop(key, None)
        else:
            body[key] = value
    return msgspec.json.encode(body)


class _Through:
    """The answer of the model, as the route gives it."""

    def __init__(self, relay: Relay, endpoint: Endpoint, scope: Scope, receive: Receive) -> None:
        self._relay = relay
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await self._relay.serve(self._endpoint, self._scope, self._receive, send)


def _scope(scope: Scope, recorded: RecordedRequest, name: str) -> Scope:
    headers = [
        pair for pair in scope["headers"] if pair[0] not in _OURS and not pair[0].startswith(b"content-")
    ]
    headers += [
        (b"content-type", b"application/json"),
        (b"x-request-id", name.encode()),
        (REPLAY_HEADER.lower().encode(), b"%d" % recorded["id"]),
    ]
    path = recorded["path"]
    return {**scope, "path": path, "raw_path": quote(path).encode(), "query_string": b"", "headers": headers}


def _receiving(body: bytes, receive: Receive) -> Receive:
    """Give the body first, and then the news of the client who waits for it."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


async def _nowhere(_message: Message) -> None:
    """Nobody is told."""
