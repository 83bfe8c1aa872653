"""Ollama's chat, generate and embed: what they need of the daemon's state; the rest is the dialect's work."""

from collections.abc import Mapping

import msgspec

from modelrunner.dialects import go_rendering, ollama_options
from modelrunner.dialects.base import Question, Timing
from modelrunner.dialects.ollama import (
    JSON,
    ChatRequest,
    EmbedRequest,
    GenerateRequest,
    Message,
    Ollama,
    chat_messages,
    content,
    grammar,
    recall,
    response_format,
    thinking,
    tools,
)
from modelrunner.dialects.ollama import Request as Asked
from modelrunner.dialects.ollama_answers import Chat, Embed, Generate, OldEmbed, Talk, loaded
from modelrunner.dialects.ollama_defaults import Defaults, defaults_of
from modelrunner.dialects.reading import read
from modelrunner.errors import InvalidRequest
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.channel.headers import Header
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.scheduling.request_queue import Terms
from modelrunner.server.inference.call import Call, Endpoint, Reply, Request
from modelrunner.server.inference.embedding import embed
from modelrunner.server.inference.terms import terms_of
from modelrunner.server.library.abilities import Ability, Facts
from modelrunner.server.services import Services

_CHAT, _COMPLETIONS, _INFILL, _EMBEDDINGS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/infill",
    "/v1/embeddings",
)
_MOST_REMEMBERED = 256
_FILLS_GAPS = "llama.cpp"


def endpoints(services: Services) -> Mapping[str, Endpoint]:
    """Ollama's paths that lead to a model."""
    routes, dialect = _Routes(services), Ollama()
    return {
        "/api/chat": Endpoint(Mode.COMPLETION, _CHAT, dialect=dialect, understand=routes.chat),
        "/api/generate": Endpoint(Mode.COMPLETION, _CHAT, dialect=dialect, understand=routes.generate),
        "/api/embed": Endpoint(Mode.EMBEDDING, _EMBEDDINGS, dialect=dialect, understand=routes.embed),
        "/api/embeddings": Endpoint(
            Mode.EMBEDDING, _EMBEDDINGS, dialect=dialect, understand=routes.embeddings
        ),
    }


class _Routes:
    """`Understand` for each path."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._defaults: dict[Digest, Defaults] = {}

    async def chat(self, request: Request) -> Call | Reply:
        """`POST /api/chat`."""
        asked = read(request.body, ChatRequest)
        key = await self._key(asked.wanted, Mode.COMPLETION)
        if not asked.messages:
            return await self._without_words(asked, key, request, Chat)
        facts, defaults = await self._facts(key), self._defaults_of(key)
        options = defaults.with_options(asked.options)
        ollama_options.check(options)
        _demand(facts, asked, [message.images for message in asked.messages])
        if asked.tools:
            facts.demand(Ability.TOOLS, asked.wanted)
        body = {
            "messages": chat_messages(defaults.with_messages(asked.messages)),
            **({"tools": tools(asked.tools)} if asked.tools else {}),
            **_wishes(asked, options),
        }
        translator = Chat(asked.wanted, streams=asked.streams)
        return await self._call(asked, key, options, _question(_CHAT, body, asked, translator))

    async def generate(self, request: Request) -> Call | Reply:
        """`POST /api/generate`."""
        asked = read(request.body, GenerateRequest)
        key = await self._key(asked.wanted, Mode.COMPLETION)
        if not asked.prompt and not asked.images and not asked.suffix:
            return await self._without_words(asked, key, request, Generate)
        facts, defaults = await self._facts(key), self._defaults_of(key)
        options = defaults.with_options(asked.options)
        ollama_options.check(options)
        _demand(facts, asked, [asked.images])
        if asked.suffix:
            if key.engine != _FILLS_GAPS:
                raise InvalidRequest(f"`{key.engine}` does not support insert")
            facts.demand(Ability.INSERT, asked.wanted)
            question = _filling(asked, options)
        elif asked.raw or asked.template:
            question = _continuing(asked, options, defaults.system)
        else:
            question = _talking(asked, options, defaults)
        return await self._call(asked, key, options, question)

    async def embed(self, request: Request) -> Call | Reply:
        """`POST /api/embed`."""
        asked = read(request.body, EmbedRequest)
        if asked.dimensions is not None and asked.dimensions < 1:
            raise InvalidRequest(f"invalid dimensions: `{asked.dimensions}`")
        texts = [asked.input] if isinstance(asked.input, str) else asked.input or []
        translator = Embed(asked.wanted, asked.dimensions)
        return await self._embed(asked, texts, translator, request, {"model": asked.wanted, "embeddings": []})

    async def embeddings(self, request: Request) -> Call | Reply:
        """`POST /api/embeddings`, the older one."""
        asked = read(request.body, EmbedRequest)
        texts = [asked.prompt] if asked.prompt else []
        return await self._embed(asked, texts, OldEmbed(asked.wanted), request, {"embedding": []})

    async def _embed(
        self, asked: EmbedRequest, texts: list[str], translator: Embed, request: Request, nothing: JSON
    ) -> Call | Reply:
        key = await self._key(asked.wanted, Mode.EMBEDDING)
        options = self._defaults_of(key).with_options(asked.options)
        ollama_options.check(options)
        if not texts or texts == [""]:
            await self._services.pool.preload(key, terms_of(request.headers, asked.keep_alive))
            return Reply(msgspec.json.encode(nothing) + b"\n")
        notes, size = await self._context(asked.wanted, key, options)
        if size is not None:
            translator.notes["num_ctx"] = size

        async def work(instance: Instance, timing: Timing) -> Reply:
            translator.begin(timing)
            truncate = asked.truncate is not False
            answer, cut = await embed(instance, asked.wanted, texts, truncate=truncate)
            if not cut:
                return Reply(translator.whole(answer))
            translator.notes["truncated"] = cut
            told = ", ".join(f"input {place}" for place in cut).encode()
            return Reply(translator.whole(answer), notes=((b"x-truncated", told),))

        return Call(asked.wanted, key.mode, work, keep_alive=asked.keep_alive, notes=notes)

    async def _call(self, asked: Asked, key: Key, options: JSON, question: Question) -> Call:
        notes, size = await self._context(asked.wanted, key, options)
        if size is not None and isinstance(question.translator, Talk):
            question.translator.notes = {"num_ctx": size}
        return Call(asked.wanted, key.mode, question, keep_alive=asked.keep_alive, notes=notes)

    async def _context(self, text: str, key: Key, options: JSON) -> tuple[tuple[Header, ...], int | None]:
        """See to the context that is asked for; what the answer says if it is smaller, in tokens."""
        wanted = ollama_options.context_size(options)
        size = None if wanted is None else await self._services.contexts.grow(text, key, wanted)
        if size is None:
            return (), None
        return ((b"x-context-shrunk", b"requested=%d; effective=%d" % (wanted or 0, size)),), size

    async def _without_words(
        self, asked: Asked, key: Key, request: Request, kind: type[Chat | Generate]
    ) -> Reply:
        """Load a model, or have it go as soon as it is idle."""
        pool = self._services.pool
        if not asked.unloads:
            await pool.preload(key, terms_of(request.headers, asked.keep_alive))
            return Reply(loaded(asked.wanted, kind, unloads=False))
        for resident in pool.residents():
            if resident.key.model == key.model:
                lease = pool.try_lease(resident.key, Terms(stay=Stay(0.0)))
                if lease is not None:
                    lease.release()
        await pool.unload(lambda other: other.model == key.model)
        return Reply(loaded(asked.wanted, kind, unloads=True))

    async def _key(self, text: str, mode: Mode) -> Key:
        return await self._services.catalogue.key((text, mode, None))

    async def _facts(self, key: Key) -> Facts:
        return await self._services.abilities.of(self._services.catalogue.by_id(key.model))

    def _defaults_of(self, key: Key) -> Defaults:
        known = self._defaults.get(key.model)
        if known is None:
            if len(self._defaults) >= _MOST_REMEMBERED:
                self._defaults.clear()
            known = defaults_of(self._services.catalogue.by_id(key.model).config_bytes)
            self._defaults[key.model] = known
        return known


def _demand(facts: Facts, asked: Asked, images: list[list[str] | None]) -> None:
    """Refuse what a model is known not to do."""
    if asked.think:
        facts.demand(Ability.THINKING, asked.wanted)
    if any(images):
        facts.demand(Ability.VISION, asked.wanted)


def _wishes(asked: Asked, options: JSON) -> JSON:
    """The fields of a chat completion that are no messages."""
    fields = {
        **ollama_options.generation(options),
        **response_format(asked.format),
        **thinking(asked.think),
    }
    if asked.logprobs:
        fields |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
    return fields


def _question(path: str, body: JSON, asked: Asked, translator: Talk) -> Question:
    stream: JSON = {"stream": asked.streams}
    if asked.streams:
        stream["stream_options"] = {"include_usage": True}
    encoded = msgspec.json.encode({"model": asked.wanted, **body, **stream})
    return Question(path, encoded, stream=asked.streams, translator=translator)


def _talking(asked: GenerateRequest, options: JSON, defaults: Defaults) -> Question:
    """A prompt as a chat, behind the conversation that its `context` stands for."""
    before = recall(asked.context)
    system = asked.system if before or asked.system is not None else defaults.system
    opening = [Message("system", system)] if system else []
    if not before:
        opening += defaults.messages
    said = {"role": "user", "content": content(asked.prompt or "", asked.images)}
    messages = [*before, *chat_messages(opening), said]
    translator = Generate(asked.wanted, streams=asked.streams, asked=messages)
    return _question(_CHAT, {"messages": messages, **_wishes(asked, options)}, asked, translator)


def _continuing(asked: GenerateRequest, options: JSON, system: str) -> Question:
    """A prompt that is continued as it is, or as a template of the request has it."""
    prompt = asked.prompt or ""
    if asked.raw and (asked.template or asked.system or asked.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    if asked.images:
        raise InvalidRequest("raw prompts and templates of a request have no place for images")
    if asked.template:
        told = system if asked.system is None else asked.system
        prompt = go_rendering.render(asked.template, {"System": told, "Prompt": prompt, "Response": ""})
    fields = {"prompt": prompt, **_wishes(asked, options), **grammar(asked.format)}
    return _question(_COMPLETIONS, fields, asked, Generate(asked.wanted, streams=asked.streams))


def _filling(asked: GenerateRequest, options: JSON) -> Question:
    """A gap between prompt and suffix, in llama.cpp's own form."""
    fields = {
        "input_prefix": asked.prompt or "",
        "input_suffix": asked.suffix or "",
        **ollama_options.generation(options),
        **grammar(asked.format),
    }
    if "max_tokens" in fields:
        fields["n_predict"] = fields.pop("max_tokens")
    return _question(_INFILL, fields, asked, Generate(asked.wanted, streams=asked.streams))
