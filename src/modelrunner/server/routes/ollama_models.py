"""`/api`: what needs no engine: version, tags, ps, show, pull, push, create, copy, delete, blobs."""

import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelrunner import __version__
from modelrunner.dialects.ollama import API_VERSION, Ollama
from modelrunner.dialects.ollama_defaults import defaults_of
from modelrunner.dialects.reading import read
from modelrunner.errors import InvalidRequest
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.transfer import read_blob
from modelrunner.runtime.views import ResidentView
from modelrunner.server.configuration.in_force import context_in_force
from modelrunner.server.connection.replies import JSON, LinesReply, json_reply
from modelrunner.server.connection.replies import read as read_body
from modelrunner.server.library.creating import Base, CreateRequest, base_of_files, create
from modelrunner.server.library.ollama_views import pull_line, running_view, show_view, tag_views
from modelrunner.server.routes.models import remove, then_preload
from modelrunner.server.services import Services
from modelrunner.store.adopt import Way
from modelrunner.store.disk import TEMPORARY
from modelrunner.store.offload import in_thread
from modelrunner.wire.headers import NDJSON
from modelrunner.wire.transfers import ProgressLine

_SMALL_BODY = 1 << 20  # bytes; requests of a few fields
_CREATE_BODY = 16 << 20  # bytes; licences and messages
_MOST_LICENSE = 1 << 20  # bytes
_DIALECT = Ollama()


class _Named(msgspec.Struct):
    """A request about one model; `name` is the older word, and wins."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    verbose: bool | None = None
    password: str | None = None

    @property
    def wanted(self) -> str:
        """The model that is meant.

        Raises:
            InvalidRequest: none is named.
        """
        text = (self.name or self.model or "").strip()
        if not text:
            raise InvalidRequest("model is required", hint='say which one, as in `"model": "ai/smollm2"`')
        return text


class _Copy(msgspec.Struct):
    """`POST /api/copy`."""

    source: str
    destination: str


async def version(_services: Services, _request: Request) -> Response:
    """`GET /api/version`: of what of Ollama's API is here; and our own."""
    return json_reply({"version": API_VERSION, "modelrunner": __version__})


async def tags(services: Services, _request: Request) -> Response:
    """`GET /api/tags`."""
    models = [(model, services.catalogue.description(model)) for model in services.catalogue.models]
    return json_reply({"models": tag_views(models)})


async def running(services: Services, _request: Request) -> Response:
    """`GET /api/ps`."""
    return json_reply({"models": [_running(services, each) for each in services.pool.residents()]})


async def show(services: Services, request: Request) -> Response:
    """`POST /api/show`."""
    wanted = await _read(request)
    model = services.catalogue.find(wanted.wanted)
    licenses = [
        await read_blob(services.store, layer, limit=_MOST_LICENSE)
        for layer in model.manifest.layers
        if layer.media_type == kinds.LICENSE_LAYER and layer.size <= _MOST_LICENSE
    ]
    view = show_view(
        model,
        services.catalogue.description(model),
        await services.abilities.of(model),
        defaults_of(model.config_bytes),
        license_text=b"\n".join(licenses).decode(errors="replace"),
        verbose=bool(wanted.verbose),
    )
    return json_reply(view)


async def pull(services: Services, request: Request) -> LinesReply:
    """`POST /api/pull`."""
    wanted = await _read(request)
    lines = services.transfers.pull(wanted.wanted, wanted.password)
    told = _told(then_preload(services, lines, wanted.wanted), ("pulling manifest",), _AFTER_PULL)
    return _reply(services, told, streams=wanted.stream is not False)


async def push(services: Services, request: Request) -> LinesReply:
    """`POST /api/push`."""
    wanted = await _read(request)
    told = _told(services.transfers.push(wanted.wanted, wanted.password), ("retrieving manifest",), ())
    return _reply(services, told, streams=wanted.stream is not False)


async def make(services: Services, request: Request) -> LinesReply:
    """`POST /api/create`."""
    asked = read(await read_body(request, _CREATE_BODY), CreateRequest)
    asked.check()
    return _reply(services, _made(services, asked), streams=asked.stream is not False)


async def copy(services: Services, request: Request) -> Response:
    """`POST /api/copy`: another name for a model."""
    wanted = read(await read_body(request, _SMALL_BODY), _Copy)
    model = services.catalogue.find(wanted.source)
    await services.store.tag(model.id, services.transfers.name(wanted.destination))
    return Response()


async def delete(services: Services, request: Request) -> Response:
    """`DELETE /api/delete`."""
    await remove(services, (await _read(request)).wanted, force=False)
    return Response()


async def has_blob(services: Services, request: Request) -> Response:
    """`HEAD /api/blobs/{digest}`."""
    digest = Digest.parse(request.path_params["name"])
    return Response(status_code=200 if services.store.blob_path(digest).is_file() else 404)


async def take_blob(services: Services, request: Request) -> Response:
    """`POST /api/blobs/{digest}`: a file for `create`; it is verified."""
    digest = Digest.parse(request.path_params["name"])
    store = services.store
    if store.blob_path(digest).is_file():
        return Response(status_code=200)
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        blob = Descriptor(kinds.GGUF_LAYER, digest, int(length))
        await store.ensure_space(blob.size)
        async with store.claim(blob) as done:
            if done < blob.size:
                await store.write(blob, done, _from(request.stream(), done))
    else:
        await _take_unmeasured(services, digest, request.stream())
    return Response(status_code=201)


async def _take_unmeasured(services: Services, digest: Digest, pieces: AsyncIterator[bytes]) -> None:
    """Keep a file whose length was not said: first beside the blobs, then as one of them."""
    folder = services.store.blob_path(digest).parent
    handle, name = await in_thread(_temporary, folder)
    try:
        with os.fdopen(handle, "wb") as file:
            async for piece in pieces:
                await in_thread(file.write, piece)
        await services.store.adopt(Path(name), way=Way.LINK, expected=digest)
    finally:
        await in_thread(Path(name).unlink)


def _temporary(folder: Path) -> tuple[int, str]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(prefix=f"upload{TEMPORARY}", dir=folder)


async def _from(pieces: AsyncIterator[bytes], start: int) -> AsyncIterator[bytes]:
    """Leave out what an earlier try has brought already."""
    async for piece in pieces:
        if start < len(piece):
            yield piece[start:]
        start = max(0, start - len(piece))


_AFTER_PULL = ("verifying sha256 digest", "writing manifest")


async def _told(
    lines: AsyncGenerator[ProgressLine, None], before: tuple[str, ...], after: tuple[str, ...]
) -> AsyncGenerator[dict[str, object], None]:
    """Tell of a transfer in Ollama's words, with the steps that its clients show."""
    async with contextlib.aclosing(lines):
        async for line in lines:
            for status in before:
                yield {"status": status}
            before = ()
            told = pull_line(line)
            if told.get("status") == "success":
                for status in after:
                    yield {"status": status}
            yield told


async def _made(services: Services, asked: CreateRequest) -> AsyncGenerator[dict[str, object], None]:
    name = services.transfers.name(asked.name or asked.model or "")
    if asked.files:
        base = await base_of_files(services.store, asked.files)
        yield {"status": "reading model metadata"}
    else:
        text = asked.base or ""
        model = services.catalogue.look(text)
        if model is None:
            async for line in services.transfers.pull(text):
                told = pull_line(line)
                if told.get("status") != "success":
                    yield told
            model = services.catalogue.find(text)
        base = Base(model.manifest, model.config_bytes)
    async for status in create(services.store, base, asked, name):
        yield {"status": status}


def _reply(
    services: Services, lines: AsyncGenerator[dict[str, object], None], *, streams: bool
) -> LinesReply:
    return LinesReply(
        _encoded(lines) if streams else _last(lines),
        group=services.streams,
        media_type=NDJSON if streams else JSON,
        last_words=_DIALECT.late_error,
    )


async def _encoded(lines: AsyncGenerator[dict[str, object], None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield msgspec.json.encode(line) + b"\n"


async def _last(lines: AsyncGenerator[dict[str, object], None]) -> AsyncGenerator[bytes, None]:
    """Only the last line, which tells how it ended."""
    last: dict[str, object] = {}
    async with contextlib.aclosing(lines):
        async for line in lines:
            last = line
    yield msgspec.json.encode(last) + b"\n"


async def _read(request: Request) -> _Named:
    return read(await read_body(request, _SMALL_BODY), _Named)


def _running(services: Services, resident: ResidentView) -> dict[str, object]:
    key = resident.key
    model = services.store.snapshot.get(key.model)
    config = ModelConfig() if model is None else services.catalogue.description(model)
    options = services.loader.running.get(key, services.configurations.effective(key).options)
    context = context_in_force(services.engines, services.catalogue, key, options)
    return running_view(
        resident, model, config, now=datetime.now(UTC), context=None if context is None else context.tokens
    )
