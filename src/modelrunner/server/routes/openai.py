"""OpenAI's routes that are more than a body passed on: chats, tokens, scores, and what no engine serves."""

import re
from collections.abc import Mapping
from functools import partial

import msgspec

from modelrunner.dialects.base import Timing
from modelrunner.dialects.openai_chat import prepared
from modelrunner.dialects.openai_images import unpacked_edit
from modelrunner.dialects.openai_texts import (
    DetokenizeRequest,
    ScoreRequest,
    TokenizeRequest,
    ranked,
    scores_reply,
    text_reply,
    tokens_reply,
)
from modelrunner.dialects.reading import read
from modelrunner.dialects.vectors import VectorsRequest, may_shorten, shortened_reply, whole_vectors
from modelrunner.errors import EngineRefused, InvalidRequest, UnsupportedModel
from modelrunner.models.description.kinds import Mode
from modelrunner.runtime.instance import Instance
from modelrunner.server.connection.bodies import UNREADABLE
from modelrunner.server.inference.asking import ask_bytes, ask_json
from modelrunner.server.inference.call import Call, Endpoint, Reply, Request
from modelrunner.server.services import Services

_CHAT, _SCORE, _EDITS = "/v1/chat/completions", "/v1/score", "/v1/images/edits"
_VECTORS, _GIVES_WHOLE_VECTORS = "/v1/embeddings", "llama.cpp"
# A form has its fields one after the other; the name of a model is short and has no line end.
_MODEL_FIELD = re.compile(rb'name="?model"?[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,1000})\r\n')
_UNSERVED = {
    "/v1/images/variations": "varies images",
}


def endpoints(services: Services, *, remote_media: bool) -> Mapping[str, Endpoint]:
    """The paths that may name an engine."""
    routes = _Routes(services)
    prepare = partial(prepared, remote_media=remote_media)
    tokenize = Endpoint(Mode.COMPLETION, "/tokenize", understand=routes.tokenize)
    detokenize = Endpoint(Mode.COMPLETION, "/detokenize", understand=routes.detokenize)
    score = Endpoint(Mode.RERANKING, _SCORE, understand=routes.score)
    return {
        _CHAT: Endpoint(Mode.COMPLETION, _CHAT, prepare=prepare),
        _VECTORS: Endpoint(Mode.EMBEDDING, _VECTORS, understand=routes.vectors),
        "/tokenize": tokenize,
        "/v1/tokenize": tokenize,
        "/detokenize": detokenize,
        "/v1/detokenize": detokenize,
        "/score": score,
        _SCORE: score,
        _EDITS: Endpoint(Mode.IMAGE, _EDITS, unpack=unpacked_edit),
        **{
            path: Endpoint(Mode.COMPLETION, path, understand=partial(routes.unserved, does=does))
            for path, does in _UNSERVED.items()
        },
    }


class _Routes:
    """`Understand` for each path."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def vectors(self, request: Request) -> Call | None:
        """`POST /v1/embeddings`, which passes as it is unless vectors are to be shorter than llama.cpp's."""
        if not may_shorten(request.body):
            return None
        asked = read(request.body, VectorsRequest)
        asked.check()
        if asked.dimensions is None:
            return None
        key = await self._services.catalogue.key((asked.model, Mode.EMBEDDING, request.engine))
        if key.engine != _GIVES_WHOLE_VECTORS:
            return None
        body = whole_vectors(request.body)

        async def work(instance: Instance, _: Timing) -> Reply:
            return Reply(shortened_reply(await ask_bytes(instance, _VECTORS, body), asked))

        return Call(asked.model, key.mode, work, request.engine, asked.keep_alive)

    async def tokenize(self, request: Request) -> Call:
        """`POST /tokenize`."""
        asked = read(request.body, TokenizeRequest)
        if asked.text is None and asked.messages is None:
            raise InvalidRequest("nothing to tokenize", hint="give a `prompt`, or `messages`")

        async def work(instance: Instance, _: Timing) -> Reply:
            text, special = asked.text, asked.add_special_tokens
            if text is None:
                chat = {"messages": asked.messages}
                written = await ask_json(instance, "/apply-template", chat)
                if written is None:  # vLLM takes the messages themselves
                    return Reply(tokens_reply(await _asked(instance, "/tokenize", chat)))
                text = written.get("prompt")
            # Each engine minds its own names.
            body = {"content": text, "prompt": text, "add_special": special, "parse_special": True}
            body["add_special_tokens"] = special
            return Reply(tokens_reply(await _asked(instance, "/tokenize", body)))

        return Call(asked.model, await self._mode(asked.model, request.engine), work, request.engine)

    async def detokenize(self, request: Request) -> Call:
        """`POST /detokenize`."""
        asked = read(request.body, DetokenizeRequest)

        async def work(instance: Instance, _: Timing) -> Reply:
            return Reply(text_reply(await _asked(instance, "/detokenize", {"tokens": asked.tokens})))

        return Call(asked.model, await self._mode(asked.model, request.engine), work, request.engine)

    async def score(self, request: Request) -> Call:
        """`POST /v1/score`; an engine that only ranks is asked for a ranking."""
        asked = read(request.body, ScoreRequest)
        groups = asked.groups()

        async def work(instance: Instance, _: Timing) -> Reply:
            whole = {"text_1": asked.text_1, "text_2": asked.text_2}
            answer = await ask_json(instance, _SCORE, whole)
            if answer is not None:
                return Reply(msgspec.json.encode(answer))
            scores: list[float] = []
            for query, documents in groups:
                body = {"query": query, "documents": documents}
                scores += ranked(await _asked(instance, "/v1/rerank", body), len(documents))
            return Reply(scores_reply(asked.model, scores))

        return Call(asked.model, Mode.RERANKING, work, request.engine)

    async def unserved(self, request: Request, *, does: str) -> Call:
        """Say that no engine does this, once it is clear that the model is here."""
        name = _model_of(request.body)
        if not name:
            raise InvalidRequest("model is required", hint="say which one, in the form's field `model`")
        self._services.catalogue.find(name)
        raise UnsupportedModel(f"no backend {does}: `{name[:300]}`", hint="`dmr status` lists the engines")

    async def _mode(self, model: str, engine: str | None) -> Mode:
        return (await self._services.catalogue.usual_key(model, engine)).mode


async def _asked(instance: Instance, path: str, body: Mapping[str, object]) -> dict[str, object]:
    """Ask an engine that has to know the answer.

    Raises:
        EngineRefused: it has no such route.
    """
    answer = await ask_json(instance, path, dict(body))
    if answer is None:
        raise EngineRefused(f"the engine cannot do `{path}`", 501)
    return answer


def _model_of(body: bytes) -> str:
    """Find the model in a form or in JSON."""
    if match := _MODEL_FIELD.search(body):
        return match[1].decode(errors="replace")
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return ""
    model = found.get("model") if isinstance(found, dict) else None
    return model if isinstance(model, str) else ""
