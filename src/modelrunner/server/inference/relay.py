"""The data path: a request goes to its model's engine, and the answer comes back as it arises.

It serves every dialect: lease, forward, turn or pass on, end. What is OpenAI's passes byte for byte; of its
body only what routing needs is read. Raw ASGI without a framework around it: here requests per second and the
time to the first token are won, and nothing here touches a disk when the model is loaded.
"""

import contextlib
import logging
import time
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from modelrunner.dialects.base import Question, Timing, Translator
from modelrunner.dialects.forms import read_form
from modelrunner.dialects.reading import unreadable
from modelrunner.dialects.refusal import refusal
from modelrunner.dialects.stream import Stream
from modelrunner.engines.registry import Engines
from modelrunner.errors import ContextExceeded, RunnerError, UnsupportedEncoding, unforeseen
from modelrunner.runtime.channel.exchange import Upstream
from modelrunner.runtime.channel.headers import Header, as_json
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.server.connection.bodies import UNREADABLE, Held, Room, beginning, collect, read_body
from modelrunner.server.connection.cancel_scope import CONNECTION, CancelScope, Group
from modelrunner.server.connection.middleware import Guard
from modelrunner.server.inference.answer import Answer, Writer
from modelrunner.server.inference.call import Call, Endpoint, Reply, Request, Streamed
from modelrunner.server.inference.denied_fields import refuse_denied
from modelrunner.server.inference.note import Note, Taker
from modelrunner.server.inference.renaming import renamed
from modelrunner.server.inference.terms import deadline_of, terms_of
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.wire.headers import PRELOAD_HEADER

_log = logging.getLogger(__name__)

_PRELOAD = PRELOAD_HEADER.lower().encode()
_BODY_HINT = "send less, or raise DMR_BODY_LIMIT"
_OWN_WORDS: tuple[Header, ...] = ((b"content-type", b"application/json"),)  # of a question that we have put
_MOST_REFUSAL = 64 * 1024  # bytes of an engine's error
_MOST_BODIES = 256 * 1024 * 1024  # bytes of all large bodies; what is made of one takes a multiple
_MOST_ANSWER = 256 * 1024 * 1024  # bytes of an answer that is turned as a whole; vectors are large


class _Probe(msgspec.Struct):
    """All that is read of a body: whom it is for, and how long that one is to stay afterwards."""

    model: str | None = None
    keep_alive: str | float | None = None


_probe = msgspec.json.Decoder(_Probe)


class Relay:
    """Serves every inference request of every path."""

    def __init__(
        self,
        *,
        pool: Pool[Instance],
        catalogue: Catalogue,
        engines: Engines,
        guard: Guard,
        group: Group,
        taker: Taker,
        body_limit: int,
        deadline: float | None = None,
    ) -> None:
        """`group` ends with the daemon; `body_limit` is in bytes, `deadline` of each request in seconds."""
        self._pool = pool
        self._catalogue = catalogue
        self._engines = engines
        self._guard = guard
        self._group = group
        self._taker = taker
        self._limit = body_limit
        self._room = Room(max(_MOST_BODIES, body_limit))
        self._deadline = deadline

    async def serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors before the first byte have a status, later ones are an event."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        cancel_scope = CancelScope(None, self._group)
        note = self._taker.begin(scope)
        answer = Answer(send, endpoint.dialect, cancel_scope, name=headers.get(b"x-request-id"), note=note)
        try:
            host, origin = headers.get(b"host"), headers.get(b"origin")
            answer.cors = self._guard.judge(host, origin, scope["http_version"])
            if endpoint.engine is not None:
                self._engines.get(endpoint.engine)  # an unknown one is told of before all else
            with cancel_scope, Held(self._room) as held:
                cancel_scope.within(deadline_of(headers, self._deadline))
                _check_coding(headers.get(b"content-encoding"))
                announced = int(headers.get(b"content-length", 0))
                body = await read_body(receive, announced, self._limit, _BODY_HINT, held)
                if body is None:
                    return
                if note is not None:
                    note.body = body
                cancel_scope.watch(receive, scope.get("extensions", {}).get(CONNECTION))
                call = None
                if endpoint.understand is not None:
                    call = await endpoint.understand(Request(body, headers, endpoint.engine, note))
                if call is None:
                    await self._pass(endpoint, body, scope, headers, answer, note)
                else:
                    await self._turn(call, headers, answer, note)
        except RunnerError as exc:
            await _fail(answer, note, exc)
        except Exception as exc:  # noqa: BLE001 - the top of a request; it is logged and told
            _log.exception("request failed path=%s", scope["path"])
            await _fail(answer, note, unforeseen(exc))
        finally:
            if note is not None and note.body is not None:
                note.end(answer.name, answer.timing, cancel_scope.ending)
                self._taker.take(note)

    async def _pass(
        self,
        endpoint: Endpoint,
        body: bytes,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        answer: Answer,
        note: Note | None,
    ) -> None:
        """Ask as it was asked, and pass the answer on."""
        content_type = headers.get(b"content-type")
        if endpoint.unpack is not None:
            body = endpoint.unpack(body, content_type)
        form = read_form(body, content_type) if endpoint.form else None
        probe = _probed(body) if form is None else _Probe(form.text("model"))
        if endpoint.prepare is not None:
            body = endpoint.prepare(body)
        query = scope["query_string"]
        path = f"{endpoint.path}?{query.decode('latin-1')}" if query else endpoint.path
        question = (probe.model or "", endpoint.mode, endpoint.engine)
        key = self._catalogue.known_key(question) or await self._catalogue.key(question)
        is_preload = headers.get(_PRELOAD) == b"true"
        if note is not None:
            note.key, note.model = key, question[0]
            if is_preload:
                note.body = None  # nothing is asked: there is nothing to tell
        terms = terms_of(headers, probe.keep_alive)
        async with self._pool.lease(key, terms) as lease:
            answer.timing = (lease.queued, lease.loading, time.monotonic())
            if is_preload:
                await answer.whole(200, b"", ())
                return
            refuse_denied(body, lease.running.denied_fields)
            name = lease.running.model_name
            if name is not None and name != probe.model:
                body = renamed(body, name) if form is None else form.with_text("model", name)
            passed = scope["headers"] if form else as_json(scope["headers"], content_type)
            async with lease.running.request("POST", path, passed, body) as upstream:
                if upstream.status >= 400:
                    raise refusal(upstream.status, await beginning(upstream.chunks(), _MOST_REFUSAL))
                await answer.pass_on(upstream)

    async def _turn(
        self,
        call: Call | Reply | Streamed,
        headers: Mapping[bytes, bytes],
        answer: Answer,
        note: Note | None,
    ) -> None:
        """Ask in OpenAI's words what was asked in others, and turn the answer back."""
        if isinstance(call, Reply):
            if note is not None:
                note.body = None  # nor is there anything to tell
            answer.notes = call.notes
            await answer.end(call.body, call.media_type)
            return
        if isinstance(call, Streamed):
            answer.notes = call.notes
            async with contextlib.aclosing(call.pieces) as pieces:
                async for piece in pieces:
                    await answer.write(piece, call.media_type)
            await answer.end(b"", call.media_type)
            return
        key = await self._catalogue.key((call.model, call.mode, call.engine))
        is_preload = headers.get(_PRELOAD) == b"true"
        if note is not None:
            note.key, note.model = key, call.model
            if is_preload:
                note.body = None  # nothing is asked: there is nothing to tell
        answer.notes = call.notes
        terms = terms_of(headers, call.keep_alive)
        with call.attend(answer) as writer:
            async with self._pool.lease(key, terms) as lease:
                answer.timing = (lease.queued, lease.loading, time.monotonic())
                timing = Timing(*answer.timing)
                if is_preload:
                    await answer.whole(200, b"", ())
                elif isinstance(call.question, Question):
                    await ask(lease.running, call.question, timing, writer, note)
                else:
                    reply = await call.question(lease.running, timing)
                    answer.notes += reply.notes
                    await writer.end(reply.body, reply.media_type)


def _check_coding(coding: bytes | None) -> None:
    """Refuse a compressed body; source: RFC 9110, 15.5.16."""
    if coding is not None and coding.lower() != b"identity":
        told = coding[:60].decode("latin-1")
        raise UnsupportedEncoding(f"compressed bodies are not read: `{told}`", hint="send it as it is")


async def _fail(answer: Answer, note: Note | None, exc: RunnerError) -> None:
    if note is not None:
        note.failed(exc)
    await answer.fail(exc)


async def ask(
    instance: Instance, question: Question, timing: Timing, answer: Writer, note: Note | None = None
) -> None:
    """Ask an instance a question, or a shorter one as long as it does not fit into the context.

    The answer, turned, is for whoever writes it down; the note gets the engine's last words.

    Raises:
        RunnerError: what the engine refuses the question with, or how it failed.
    """
    asked: Question | None = question
    while asked is not None:
        try:
            await _ask(instance, asked, timing, answer, note)
        except ContextExceeded as exc:
            asked = asked.shorter(exc) if asked.shorter is not None else None
            if asked is None:
                raise
        else:
            return


async def _ask(
    instance: Instance, question: Question, timing: Timing, answer: Writer, note: Note | None
) -> None:
    body = question.body
    refuse_denied(body, instance.denied_fields)
    if instance.model_name is not None:
        body = renamed(body, instance.model_name)
    translator = question.translator
    translator.begin(timing)
    async with instance.request("POST", question.path, _OWN_WORDS, body) as upstream:
        if upstream.status != 200:
            raise refusal(upstream.status, await beginning(upstream.chunks(), _MOST_REFUSAL))
        if question.stream:
            last = await _turned(upstream, translator, answer, note)
        else:
            whole = await collect(upstream.chunks(), _MOST_ANSWER)
            if note is not None:
                note.engine_said(whole)
            last = translator.whole(whole)
        await answer.end(last, translator.media_type)


async def _turned(upstream: Upstream, translator: Translator, answer: Writer, note: Note | None) -> bytes:
    """Give all of a stream but its last words, which are returned."""
    stream = Stream(translator)
    async for piece in upstream.chunks():
        if note is not None:
            note.engine_said(piece)
        turned = stream.feed(piece)
        if turned:
            await answer.write(turned, translator.media_type)
        if translator.finished or stream.failure is not None:
            break
    return stream.end()


def _probed(body: bytes) -> _Probe:
    try:
        return _probe.decode(body)
    except UNREADABLE as exc:
        raise unreadable(exc) from exc
