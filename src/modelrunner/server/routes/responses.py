"""The Responses API: making responses, and what can be done with those that are kept."""

import re
import secrets
import time
from collections.abc import Mapping

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from modelrunner.dialects import reading
from modelrunner.dialects.anthropic import has_pictures
from modelrunner.dialects.base import EVENT_STREAM, Question, Timing
from modelrunner.dialects.compaction import CompactRequest, reply, summary_chat
from modelrunner.dialects.completion import Completion, read_completion
from modelrunner.dialects.openai import OpenAI
from modelrunner.dialects.responses import Asked, beginning_of, body_of, left_out, read, shortened
from modelrunner.dialects.responses_answers import JSON, Answering
from modelrunner.dialects.responses_items import items_of, named
from modelrunner.errors import ContextExceeded, InvalidRequest
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.instance import Instance
from modelrunner.server.connection.replies import LinesReply, json_reply, query_flag
from modelrunner.server.inference.asking import ask_bytes, count_tokens
from modelrunner.server.inference.call import Call, Endpoint, Reply, Request, Streamed
from modelrunner.server.inference.event_log import EventLog
from modelrunner.server.inference.responding import Making, Responding
from modelrunner.server.inference.terms import deadline_of, terms_of
from modelrunner.server.library.abilities import Ability
from modelrunner.server.services import Services

PREFIXES = ("", "/v1", "/engines", "/engines/v1", "/engines/{engine}", "/engines/{engine}/v1")
_CHAT = "/v1/chat/completions"
_MOST_LISTED = 100
_NO_WORD = re.compile(r"[^A-Za-z0-9_.-]")
_KEEP = "the operator has set DMR_RESPONSES to 0"


def endpoints(services: Services, deadline: float | None = None) -> Mapping[str, Endpoint]:
    """The paths that may name an engine; `deadline` is in seconds, of each request."""
    routes = _Routes(services, deadline)
    create = Endpoint(Mode.COMPLETION, _CHAT, understand=routes.create)
    count = Endpoint(Mode.COMPLETION, _CHAT, understand=routes.count)
    compact = Endpoint(Mode.COMPLETION, _CHAT, understand=routes.compact)
    return {
        **dict.fromkeys(("/v1/responses", "/responses"), create),
        **dict.fromkeys(("/v1/responses/input_tokens", "/responses/input_tokens"), count),
        **dict.fromkeys(("/v1/responses/compact", "/responses/compact"), compact),
    }


async def retrieve(services: Services, request: HttpRequest) -> Response | LinesReply:
    """`GET /v1/responses/{name}`; its events with `?stream=true`, and `&starting_after=` a number."""
    name = request.path_params["name"]
    if query_flag(request, "stream"):
        after = _number_after(request.query_params.get("starting_after"))
        return LinesReply(
            await services.responding.events(name, after),
            group=services.streams,
            media_type=EVENT_STREAM.decode(),
            last_words=OpenAI().late_error,
        )
    return json_reply((await services.responding.find(name)).response)


async def input_items(services: Services, request: HttpRequest) -> Response:
    """`GET /v1/responses/{name}/input_items`: a page of them, the last one first unless `order` is `asc`."""
    kept = await services.responding.find(request.path_params["name"])
    return json_reply(_page(kept.input, request.query_params))


async def delete(services: Services, request: HttpRequest) -> Response:
    """`DELETE /v1/responses/{name}`."""
    name = request.path_params["name"]
    await services.responding.delete(name)
    return json_reply({"id": name, "object": "response.deleted", "deleted": True})


async def cancel(services: Services, request: HttpRequest) -> Response:
    """`POST /v1/responses/{name}/cancel`."""
    return json_reply(await services.responding.cancel(request.path_params["name"]))


ACTIONS = (
    ("GET", "/input_items", input_items),
    ("POST", "/cancel", cancel),
    ("GET", "", retrieve),
    ("DELETE", "", delete),
)


class _Routes:
    """`Understand` for `POST /v1/responses`."""

    def __init__(self, services: Services, deadline: float | None) -> None:
        self._responding: Responding = services.responding
        self._catalogue = services.catalogue
        self._abilities = services.abilities
        self._deadline = deadline

    async def create(self, request: Request) -> Call | Reply | Streamed:
        """Make a response; one in the background is answered for at once."""
        asked = read(request.body)
        body = body_of(asked, await self._before(asked.previous_response_id))
        await self._check(asked, body, request.engine)
        name = f"resp_{secrets.token_hex(24)}"
        beginning = beginning_of(asked, name, time.time())
        store = None if self._responding.store.is_off or not asked.is_stored else self._responding.store
        if asked.background and store is None:
            raise InvalidRequest("nothing is kept here, so nothing is made in the background", hint=_KEEP)
        answering = Answering(beginning | {"store": store is not None}, streams=bool(asked.stream))
        making = Making(answering, named(asked.items), store)
        # What is made in the background is taken from a stream, so that what there is of it can be kept.
        streams = bool(asked.stream or asked.background)
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        question = _question(asked, body, making, streams=streams)
        model = asked.model or ""
        extra = ", ".join(_NO_WORD.sub("", kind) for kind in left_out(asked))
        notes = ((b"x-tools-left-out", extra.encode()),) if extra else ()
        if not asked.background:
            return Call(
                model,
                Mode.COMPLETION,
                question,
                engine=request.engine,
                keep_alive=asked.keep_alive,
                notes=notes,
                attend=making.attend,
            )
        key = await self._catalogue.key((model, Mode.COMPLETION, request.engine))
        terms = terms_of(request.headers, asked.keep_alive)
        deadline = deadline_of(request.headers, self._deadline)
        if asked.stream:
            making.log = EventLog()
        note = None if request.note is None else request.note.later(key, model)
        response = await self._responding.begin(making, key, question, terms, deadline=deadline, note=note)
        if making.log is not None:
            return Streamed(making.log.read(-1), EVENT_STREAM, notes)
        return Reply(msgspec.json.encode(response), notes=notes)

    async def count(self, request: Request) -> Call:
        """`POST /v1/responses/input_tokens`."""
        asked = read(request.body)
        body = body_of(asked, await self._before(asked.previous_response_id))
        await self._check(asked, body, request.engine)

        async def work(instance: Instance, _timing: Timing) -> Reply:
            count = await count_tokens(instance, body)
            return Reply(msgspec.json.encode({"object": "response.input_tokens", "input_tokens": count}))

        return Call(asked.model or "", Mode.COMPLETION, work, engine=request.engine)

    async def compact(self, request: Request) -> Call:
        """`POST /v1/responses/compact`; what is oldest is left out where all of it is too long to be read."""
        asked = reading.read(request.body, CompactRequest)
        items = [*await self._before(asked.previous_response_id), *asked.items]
        chat = summary_chat(asked, items)

        async def work(instance: Instance, _timing: Timing) -> Reply:
            answer = await self._summary(instance, chat)
            return Reply(reply(answer, items, time.time()))

        return Call(asked.model or "", Mode.COMPLETION, work, request.engine, asked.keep_alive)

    async def _summary(self, instance: Instance, chat: JSON) -> Completion:
        while True:
            try:
                return read_completion(await ask_bytes(instance, _CHAT, chat))
            except ContextExceeded as exc:
                *messages, wish = chat["messages"]
                left = _shorter(messages, exc)
                if left is None:
                    raise
                chat = {**chat, "messages": [*left, wish]}

    async def _check(self, asked: Asked, body: JSON, engine: str | None) -> None:
        """Refuse what the model is known not to do."""
        model = asked.model or ""
        key = await self._catalogue.key((model, Mode.COMPLETION, engine))
        facts = await self._abilities.of(self._catalogue.by_id(key.model))
        if body.get("tools") and body.get("tool_choice") != "none":
            facts.demand(Ability.TOOLS, model)
        if has_pictures(body):
            facts.demand(Ability.VISION, model)

    async def _before(self, previous: str | None) -> list[JSON]:
        """The conversation that a request goes on with."""
        if not previous:
            return []
        chain = await self._responding.store.chain(previous)
        if chain[-1].response["status"] in {"queued", "in_progress"}:
            raise InvalidRequest(
                f"the previous response is not complete: `{previous[:100]}`",
                hint="retrieve it until its status is `completed`",
            )
        return items_of((kept.input, kept.response) for kept in chain)


def _question(asked: Asked, body: JSON, making: Making, *, streams: bool) -> Question:
    def shorter(exc: ContextExceeded) -> Question | None:
        messages = body["messages"]
        left = _shorter(messages, exc)
        if left is None:
            return None
        making.drop(len(messages) - len(left))
        return _question(asked, {**body, "messages": left}, making, streams=streams)

    return Question(
        _CHAT,
        msgspec.json.encode(body),
        stream=streams,
        translator=making.answering,
        shorter=shorter if asked.truncation == "auto" else None,
    )


def _shorter(messages: list[JSON], exc: ContextExceeded) -> list[JSON] | None:
    """Leave out what is oldest; how much of it, the engine's own counts say if it gives any."""
    tokens, most = exc.detail.get("prompt_tokens"), exc.detail.get("context_size")
    if not isinstance(tokens, int) or not isinstance(most, int):
        tokens, most = 2, 1  # half of it, then
    return shortened(messages, asked=tokens, most=most)


def _number_after(text: str | None) -> int:
    if text is None:
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidRequest(f"starting_after: `{text[:50]}` is no number of an event")
    return int(text)


def _page(items: list[JSON], query: Mapping[str, str]) -> JSON:
    order, after, limit = query.get("order", "desc"), query.get("after"), query.get("limit", "20")
    if order not in {"asc", "desc"}:
        raise InvalidRequest(f"order: `{order[:50]}` is neither `asc` nor `desc`")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= _MOST_LISTED):
        raise InvalidRequest(f"limit: `{limit[:50]}` is no number from 1 to {_MOST_LISTED}")
    ordered = items if order == "asc" else items[::-1]
    names = [item["id"] for item in ordered]
    if after is not None and after not in names:
        raise InvalidRequest(f"after: no item is called `{after[:100]}`")
    start = 0 if after is None else names.index(after) + 1
    page = ordered[start : start + int(limit)]
    ends = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    has_more = start + len(page) < len(ordered)
    return {"object": "list", "data": page, "first_id": ends[0], "last_id": ends[1], "has_more": has_more}
