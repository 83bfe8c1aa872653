"""`/models`: list, look, pull, load, tag, push, export, repackage, delete; and OpenAI's list of them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from modelrunner.dialects.openai import model_list
from modelrunner.errors import (
    Conflict,
    InvalidReference,
    InvalidRequest,
    ModelNotFound,
    RunnerError,
    StoreError,
)
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.names import as_id
from modelrunner.oci.digest import Digest
from modelrunner.oci.image_layout import Selection, image_layout
from modelrunner.oci.index import NamedModel
from modelrunner.oci.layout import archive, archive_size
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.reference import DOCKER_HUB, Reference
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.server.connection.progress import (
    Direction,
    encode_escaped,
    encode_plain,
    error_line,
    status_line,
    success_line,
)
from modelrunner.server.connection.replies import (
    JSON,
    LinesReply,
    accepts,
    encode_json,
    json_reply,
    parse,
    query_flag,
    read,
    text_reply,
)
from modelrunner.server.library.repackage import store_variant, variant
from modelrunner.server.library.views import brief_view, model_view, openai_view, remote_view
from modelrunner.server.routes import anthropic
from modelrunner.server.services import Services
from modelrunner.store.removal import Step
from modelrunner.store.snapshot import StoredModel
from modelrunner.wire.headers import NDJSON
from modelrunner.wire.models import ModelView, OpenAIModel, Removal, RepackageRequest, TagReply
from modelrunner.wire.transfers import ExportRequest, ProgressLine, PullRequest, PushRequest

_log = logging.getLogger(__name__)
_SMALL_BODY = 1 << 20  # bytes; requests of a few fields
_LONG_LIST = 16 << 20  # bytes; a digest has 71, and a store may have many
_TAR = "application/x-tar"
_ANTHROPIC = "anthropic-version"


async def list_models(services: Services, request: Request) -> Response:
    """`GET /models`; with `?brief` without the headers of the weights."""
    if query_flag(request, "brief"):
        return Response(await services.catalogue.rendered("brief", _brief), media_type=JSON)
    return Response(await services.catalogue.rendered("whole", _whole), media_type=JSON)


async def look(services: Services, request: Request) -> Response:
    """`GET /models/{name}`, with `?remote` at the registry."""
    name = _name(request)
    if not query_flag(request, "remote"):
        return json_reply(_view(services, await services.catalogue.require(name)))
    try:
        manifest, config, found = await services.transfers.look_remotely(name)
    except ModelNotFound as exc:
        raise ModelNotFound(f"failed to pull model `{name}`: {exc.message}", hint=exc.hint) from exc
    if found is None:
        return json_reply(model_view(manifest.digest, None, config))
    return json_reply(remote_view(manifest, found, services.memory.total))


async def pull(services: Services, request: Request) -> LinesReply:
    """`POST /models/create`."""
    wanted = parse(await read(request, _SMALL_BODY), PullRequest)
    lines = services.transfers.pull(wanted["from"], wanted.get("bearer-token"))
    return progress(services, request, then_preload(services, lines, wanted["from"]), "pull")


async def push(services: Services, request: Request) -> LinesReply:
    """`POST /models/{name}/push`; the body may be empty."""
    body = (await read(request, _SMALL_BODY)).strip()
    wanted = parse(body, PushRequest) if body else PushRequest()
    lines = services.transfers.push(_name(request), wanted.get("bearer-token"))
    return progress(services, request, lines, "push")


async def load(services: Services, request: Request) -> Response:
    """`POST /models/load`: a tar; says for each model which names it has got."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    models = await services.transfers.load(request.stream(), size)
    lines = [status_line(_loaded(model), "pull") for model in models]
    lines.append(success_line("Model loaded successfully", "pull"))
    return Response(b"".join(map(encode_plain, lines)), media_type=NDJSON)


async def tag(services: Services, request: Request) -> Response:
    """`POST /models/{name}/tag?repo=&tag=`."""
    repository, name = request.query_params.get("repo"), request.query_params.get("tag")
    if not repository or not name:
        raise InvalidRequest("missing repo or tag query parameter")
    target = f"{repository}:{name}"
    model = await services.catalogue.require(_name(request))
    await services.store.tag(model.id, services.transfers.name(target))
    reply: TagReply = {"message": f'Model tagged successfully with "{target}"', "target": target}
    return json_reply(reply, 201)


async def export(services: Services, request: Request) -> Response:
    """`GET /models/{name}/export`."""
    name = _name(request)
    model = await services.catalogue.require(name)
    file_name = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    await _look_at(services, model.manifest.blobs)
    return _Tar(archive(services.store, model.manifest), archive_size(model.manifest), file_name)


async def export_several(services: Services, request: Request) -> Response:
    """`POST /models/export`: an OCI image layout as one tar, with the names that were asked for."""
    wanted = parse(await read(request, _LONG_LIST), ExportRequest)
    if not wanted["models"]:
        raise InvalidRequest("no model named", hint='say which, as in `{"models": ["ai/smollm2"]}`')
    selection = Selection(
        await _selected(services, wanted["models"]),
        left_out=frozenset(map(Digest.parse, wanted.get("except", ()))),
        strict=wanted.get("oci", False),
    )
    await _look_at(services, selection.blobs)
    return _Tar(image_layout(services.store, selection), selection.size, "models")


async def list_blobs(services: Services, _request: Request) -> Response:
    """`GET /blobs`: the digests of everything that the models here are made of."""
    digests = {str(blob.digest) for model in services.catalogue.models for blob in model.manifest.blobs}
    return json_reply(sorted(digests))


async def repackage(services: Services, request: Request) -> Response:
    """`POST /models/{name}/repackage`."""
    name = _name(request)
    wanted = parse(await read(request, _SMALL_BODY), RepackageRequest)
    if not wanted["target"]:
        raise InvalidRequest("target is required")
    target = services.transfers.name(wanted["target"])
    model = await services.catalogue.require(name)
    size = wanted.get("context_size")
    if size is None:
        await services.store.tag(model.id, target)
    else:
        manifest, config = variant(model, size)
        await store_variant(services.store, manifest, config, target)
    return json_reply(
        {
            "message": f'Model repackaged successfully as "{wanted["target"]}"',
            "source": name,
            "target": wanted["target"],
        },
        201,
    )


async def unknown_action(_services: Services, request: Request) -> Response:
    """`POST /models/{name}/{anything else}`."""
    return text_reply(f'unknown action "{_name(request).rpartition("/")[2]}"', 404)


async def delete(services: Services, request: Request) -> Response:
    """`DELETE /models/{name}`: a model that is loaded is unloaded first; one in use only goes by force."""
    steps = await remove(services, _name(request), force=query_flag(request, "force"))
    return json_reply([_removal(step, subject) for step, subject in steps])


async def remove(services: Services, name: str, *, force: bool) -> list[Step]:
    """Take a name or a model away, after it was unloaded; says what was done.

    Raises:
        Conflict: it is in use, or an id of a model with several names, and `force` is not set.
        InvalidReference, ModelNotFound: no such model here.
    """
    model = services.store.snapshot.find(name)
    by_id = as_id(name) is not None or "@" in name
    if model is not None and (len(model.tags) <= 1 or (by_id and force)):
        await _unload(services, model, force=force)
    steps = await services.store.remove(name, force=force)
    if model is not None and services.store.snapshot.get(model.id) is None:
        await asyncio.to_thread(services.states.forget, model.id.hex)
    for step, subject in steps:
        _log.info("model %s subject=%s", step, subject)
    if model is not None:
        await _let_go(services, model)
    return steps


async def purge(services: Services, request: Request) -> Response:
    """`DELETE /models/purge`: everything goes, unless something is in use and `force` is not given."""
    force = query_flag(request, "force")
    await services.preloading.unload(lambda _: True)
    if services.pool.residents() and not force:
        raise Conflict("cannot purge: a model is in use", hint="wait for its requests to end, or use force")
    if services.store.is_receiving and not force:
        raise Conflict(
            "cannot purge: a model is on its way in", hint="wait for it or cancel it, or use force"
        )
    await services.store.purge()
    await services.configurations.save(services.configurations.forget_all())
    await asyncio.to_thread(services.states.clear)
    return Response()


async def openai_list(services: Services, request: Request) -> Response:
    """`GET /v1/models`; Anthropic's clients, who name a version, get the list in their form."""
    if _ANTHROPIC in request.headers:
        return await anthropic.list_models(services, request)
    return json_reply(model_list(_openai(services, model) for model in services.catalogue.models))


async def openai_look(services: Services, request: Request) -> Response:
    """`GET /v1/models/{name}`; as above."""
    if _ANTHROPIC in request.headers:
        return await anthropic.look(services, request)
    return json_reply(_openai(services, await services.catalogue.require(_name(request))))


async def then_preload(
    services: Services, lines: AsyncGenerator[ProgressLine, None], name: str
) -> AsyncGenerator[ProgressLine, None]:
    """Load what a name leads to now, if it is pinned by that name; what it led to before no longer is."""
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield line
    services.pool.settle()
    model = services.catalogue.look(name)
    for key in () if model is None else services.configurations.of_model(model.id):
        if services.configurations.pinned(key):
            services.preloading.begin(key, Reason.PRELOADED)


async def _let_go(services: Services, model: StoredModel) -> None:
    """Forget how a model that is gone was to be run; pass that on to the name it has left, if it has one."""
    left, configurations = services.store.snapshot.get(model.id), services.configurations
    try:
        if left is None:
            await configurations.save(configurations.forget_model(model.id, model.tags))
            return
        successor = left.tags[0] if left.tags else None
        for gone in set(model.tags) - set(left.tags):
            await configurations.save(configurations.pass_on(gone, model.id, successor))
    except StoreError as exc:  # the model is gone all the same
        _log.warning("configuration not forgotten model=%s reason=%s", model.name, exc)


async def _unload(services: Services, model: StoredModel, *, force: bool) -> None:
    def is_it(key: Key) -> bool:
        return key.model == model.id

    await services.preloading.unload(is_it)
    if not force and any(is_it(resident.key) for resident in services.pool.residents()):
        raise Conflict(
            f"model is in use: `{_called(model)}`", hint="wait for its requests to end, or use force"
        )


async def _selected(services: Services, names: list[str]) -> tuple[NamedModel, ...]:
    """Find models, each once; one that was asked for by its id comes without a name."""
    chosen: dict[Digest, tuple[StoredModel, dict[Reference, None]]] = {}
    for text in names:
        model = await services.catalogue.require(text)
        _, own = chosen.setdefault(model.id, (model, {}))
        own |= dict.fromkeys(_names_in(services, model, text))
    return tuple(NamedModel(model.manifest, tuple(own)) for model, own in chosen.values())


def _names_in(services: Services, model: StoredModel, text: str) -> tuple[Reference, ...]:
    if as_id(text) is not None:
        return ()
    try:
        name = services.transfers.name(text)
    except InvalidReference:  # a piece of the id
        return ()
    return (name.without_digest,) if name.without_digest in model.tags else model.tags[:1]


def _loaded(model: NamedModel) -> str:
    names = ", ".join(name.familiar for name in model.names)
    return f"Loaded {model.manifest.digest} {f'as {names}' if names else 'without a name'}"


async def _look_at(services: Services, blobs: Iterable[Descriptor]) -> None:
    """Make sure that all of an archive is here, while the answer can still be an error."""
    for blob in blobs:
        async with services.store.open(blob):
            pass


class _Tar(StreamingResponse):
    """An archive of a known size, in bytes; one that breaks off has no other end than the connection's."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], size: int, file_name: str) -> None:
        headers = {
            "content-length": str(size),
            "content-disposition": f'attachment; filename="{file_name}.tar"',
        }
        super().__init__(pieces, media_type=_TAR, headers=headers)

    async def stream_response(self, send: Send) -> None:
        """Send it; what is removed meanwhile is said in the log only."""
        try:
            await super().stream_response(send)
        except RunnerError as exc:
            _log.warning("archive broke off reason=%s", exc)


def _called(model: StoredModel) -> str:
    return model.tags[0].familiar if model.tags else model.id.short


def _whole(models: Iterable[tuple[StoredModel, ModelConfig]]) -> bytes:
    return encode_json([model_view(model.id, model.tags, config) for model, config in models])


def _brief(models: Iterable[tuple[StoredModel, ModelConfig]]) -> bytes:
    return encode_json([brief_view(model.id, model.tags, config) for model, config in models])


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _view(services: Services, model: StoredModel) -> ModelView:
    return model_view(model.id, model.tags, services.catalogue.description(model))


def _openai(services: Services, model: StoredModel) -> OpenAIModel:
    return openai_view(model, services.catalogue.description(model))


def _removal(step: str, subject: str) -> Removal:
    if step == "untagged":
        return {"Untagged": subject.removeprefix(f"{DOCKER_HUB}/")}
    return {"Deleted": subject}


def progress(
    services: Services, request: Request, lines: AsyncGenerator[ProgressLine, None], direction: Direction
) -> LinesReply:
    """Answer with lines of progress as they come, in the form that the client reads."""
    as_json = accepts(request.headers, JSON, NDJSON)
    encode = encode_plain if as_json else encode_escaped
    return LinesReply(
        _encoded(lines, encode),
        group=services.streams,
        media_type=JSON if as_json else "text/plain",
        last_words=lambda exc: encode(error_line(exc, direction)),
    )


async def _encoded(
    lines: AsyncGenerator[ProgressLine, None], encode: Callable[[ProgressLine], bytes]
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield encode(line)
