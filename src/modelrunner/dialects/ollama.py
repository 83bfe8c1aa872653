"""Ollama's API: its errors, its requests, and what they are in OpenAI's words.

Source: Ollama, docs/api.md and api/types.go, v0.12.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.pictures import data_url
from modelrunner.errors import InvalidRequest, RunnerError

# What of Ollama's API is here; clients ask for it before they use what came with a version.
API_VERSION = "0.12.6"
ROLES = ("system", "user", "assistant", "tool")
EFFORTS = ("low", "medium", "high")
_FORMAT_HINT = 'either "json" or a JSON schema'
MOST_REMEMBERED = 1 << 20  # bytes of a conversation that comes back as `context`

KeepAlive = str | float | None
Think = bool | str | None
JSON = dict[str, Any]


class Ollama:
    """The dialect of `/api`: errors are `{"error": "…"}`, in a stream too, as a line of their own."""

    name_header: bytes | None = None

    def error(self, exc: RunnerError) -> bytes:
        """Write the sentence, with the way out in brackets, for there is no other place for it."""
        words = f"{exc.message} ({exc.hint})" if exc.hint else exc.message
        return msgspec.json.encode({"error": words, "code": exc.code})

    def late_error(self, exc: RunnerError) -> bytes:
        """Write it as the last line of a stream."""
        return self.error(exc) + b"\n"


class CalledFunction(msgspec.Struct):
    """The function of a call; its arguments are an object, or as OpenAI has them, JSON in a text."""

    name: str = ""
    arguments: JSON | str | None = None


class Called(msgspec.Struct):
    """A call that an assistant made earlier."""

    function: CalledFunction
    id: str | None = None


class Message(msgspec.Struct):
    """A message of a chat; `images` are base64."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Called] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct):
    """A function that may be called; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: JSON | None = None


class Tool(msgspec.Struct):
    """A tool, which is a function."""

    function: Function
    type: str | None = None


class _Named(msgspec.Struct):
    """What every request has: which model. `name` is the older word, and wins."""

    model: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str:
        """The model that is meant."""
        return self.name or self.model or ""


class Request(_Named):
    """What every request to a model has."""

    stream: bool | None = None
    keep_alive: KeepAlive = None
    options: JSON | None = None
    think: Think = None
    format: Any = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer comes in lines, which it does unless that is refused."""
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """Whether a request that asks nothing means that the model is to go."""
        keep = self.keep_alive
        return keep in {0, "0"} or (isinstance(keep, str) and keep.rstrip("smh") == "0")


class ChatRequest(Request):
    """`POST /api/chat`."""

    messages: list[Message] | None = None
    tools: list[Tool] | None = None


class GenerateRequest(Request):
    """`POST /api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class EmbedRequest(_Named):
    """`POST /api/embed`, and the older `/api/embeddings` with `prompt`."""

    input: str | list[str] | None = None
    prompt: str | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: KeepAlive = None
    options: JSON | None = None


def chat_messages(messages: Sequence[Message]) -> list[JSON]:
    """Write the messages of a chat in OpenAI's form; calls without a name get one, and so do their results.

    Raises:
        InvalidRequest: an unknown role, or an image that is none.
    """
    turned: list[JSON] = []
    unanswered: list[tuple[str, str]] = []  # (id, function) of calls, in their order
    count = 0
    for message in messages:
        if message.role not in ROLES:
            allowed = ", ".join(f'"{role}"' for role in ROLES)
            raise InvalidRequest(f"invalid role: `{message.role[:50]}`, must be one of [{allowed}]")
        if message.role == "tool":
            turned.append(_result(message, unanswered))
            continue
        one: JSON = {"role": message.role, "content": content(message.content or "", message.images)}
        if message.thinking:
            one["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [_call(call, f"call_{count + place}") for place, call in enumerate(message.tool_calls)]
            count += len(calls)
            unanswered += [(call["id"], call["function"]["name"]) for call in calls]
            one["tool_calls"] = calls
        turned.append(one)
    return turned


def content(text: str, images: Sequence[str] | None) -> str | list[JSON]:
    """Write a text with images as the parts of a message; without images it stays a text.

    Raises:
        InvalidRequest: an image is none, or too large.
    """
    if not images:
        return text
    parts: list[JSON] = [{"type": "text", "text": text}] if text else []
    return parts + [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]


def _call(call: Called, name: str) -> JSON:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or name, "type": "function", "function": function}


def _result(message: Message, unanswered: list[tuple[str, str]]) -> JSON:
    """Write a tool's result, for the call that it names, or else the first that has none yet."""
    wanted = message.tool_call_id
    fitting = [
        entry
        for entry in unanswered
        if (wanted in {None, entry[0]}) and message.tool_name in {None, "", entry[1]}
    ]
    found = next(iter(fitting if wanted is not None else fitting or unanswered), None)
    if found is not None:
        unanswered.remove(found)
    call_id = wanted or (found[0] if found else "call_0")
    result: JSON = {"role": "tool", "content": message.content or "", "tool_call_id": call_id}
    name = message.tool_name or (found[1] if found else None)
    return result | ({"name": name} if name else {})


def tools(given: Sequence[Tool]) -> list[JSON]:
    """Write tools in OpenAI's form.

    Raises:
        InvalidRequest: one has no name, or its parameters are no schema of an object.
    """
    return [{"type": "function", "function": _function(tool.function)} for tool in given]


def _function(function: Function) -> JSON:
    if not function.name:
        raise InvalidRequest("invalid tool: it has no name")
    parameters = function.parameters or {"type": "object", "properties": {}}
    if parameters.get("type", "object") != "object":
        raise InvalidRequest(
            f"invalid tool `{function.name}`: its parameters are no schema of an object",
            hint='write them like `{"type": "object", "properties": {…}}`',
        )
    return {"name": function.name, "description": function.description or "", "parameters": parameters}


def response_format(asked: Any) -> JSON:
    """Write `format` as the fields of OpenAI's body; nothing when it asks for nothing.

    Raises:
        InvalidRequest: it is neither the word nor a schema.
    """
    if asked is None or asked == "":
        return {}
    if asked == "json":
        return {"response_format": {"type": "json_object"}}
    if not isinstance(asked, Mapping) or not asked:
        raise InvalidRequest(f"invalid format: `{str(asked)[:100]}`", hint=_FORMAT_HINT)
    schema = {"name": "answer", "schema": asked, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def grammar(asked: Any) -> JSON:
    """Write `format` as llama.cpp has it where no chat is; `response_format` says nothing there.

    Raises:
        InvalidRequest: as `response_format` does.
    """
    fields = response_format(asked)
    if not fields:
        return {}
    return {"json_schema": {"type": "object"} if asked == "json" else asked, **fields}


def thinking(think: Think) -> JSON:
    """Write `think` as the fields of OpenAI's body; nothing when it is left to the model.

    Raises:
        InvalidRequest: a word that is no effort.
    Source: llama.cpp and vLLM hand `chat_template_kwargs` to the model's own template.
    """
    if think is None:
        return {}
    if isinstance(think, str):
        if think not in EFFORTS:
            raise InvalidRequest(
                f"invalid think value: `{think[:50]}`", hint='true, false, "low", "medium" or "high"'
            )
        return {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": think}}
    return {"chat_template_kwargs": {"enable_thinking": think}}


def remember(messages: Sequence[JSON]) -> list[int] | None:
    """Write a conversation as the numbers of `context`, which clients send back and do not look into.

    None when it is too long to be sent back and forth.
    """
    written = msgspec.json.encode(messages)
    return list(written) if len(written) <= MOST_REMEMBERED else None


def recall(context: Sequence[int] | None) -> list[JSON]:
    """Read the conversation of `context` back.

    Raises:
        InvalidRequest: it is none of ours.
    """
    if not context:
        return []
    try:
        messages: list[JSON] = msgspec.json.decode(bytes(context), type=list[dict[str, Any]])
    except (*UNREADABLE, ValueError) as exc:
        raise InvalidRequest(
            "invalid context: it does not come from this server", hint="leave it out, or use `/api/chat`"
        ) from exc
    return messages
