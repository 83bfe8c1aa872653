"""Anthropic's Messages API: its errors, its requests, and what they are in OpenAI's words.

Source: Anthropic's API reference, "Messages" and "Errors", version 2023-06-01.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from modelrunner.dialects import reading
from modelrunner.dialects.pictures import data_url
from modelrunner.dialects.sse import event
from modelrunner.errors import InvalidRequest, RunnerError

JSON = dict[str, Any]
VERSION = "2023-06-01"
CHOICES = {"auto": "auto", "any": "required", "none": "none"}  # of tools, and what OpenAI calls them
_OWN_TOOLS = "web_search, bash, text_editor and the like are tools of Anthropic's own"


class Anthropic:
    """The dialect of `/v1/messages`."""

    name_header: bytes | None = b"request-id"

    def error(self, exc: RunnerError) -> bytes:
        """Write `{"type": "error", "error": {…}}`, with the way out behind the sentence."""
        words = f"{exc.message} ({exc.hint})" if exc.hint else exc.message
        return msgspec.json.encode({"type": "error", "error": {"type": exc.anthropic_type, "message": words}})

    def late_error(self, exc: RunnerError) -> bytes:
        """Write it as an event."""
        return event(self.error(exc), b"error")


class Source(msgspec.Struct, omit_defaults=True):
    """Where the content of an image or a document is."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: Any = None


class Block(msgspec.Struct, omit_defaults=True):
    """A block of content, of any type; which fields it has depends on that."""

    type: str = ""
    text: str | None = None
    source: Source | None = None
    title: str | None = None
    id: str | None = None
    name: str | None = None
    input: JSON | None = None
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None
    thinking: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """A turn of the conversation."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct, omit_defaults=True):
    """A tool; one without a type, or of the type `custom`, is the client's own."""

    name: str
    description: str | None = None
    input_schema: JSON | None = None
    type: str | None = None


class ToolChoice(msgspec.Struct, omit_defaults=True):
    """Whether and which tools are to be used."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, omit_defaults=True):
    """Whether the model is to think first; the budget is in tokens."""

    type: str
    budget_tokens: int | None = None


class Format(msgspec.Struct, omit_defaults=True):
    """The form of the answer."""

    type: str
    schema: JSON | None = None


class OutputConfig(msgspec.Struct, omit_defaults=True):
    """What is wanted of the answer."""

    format: Format | None = None
    effort: str | None = None


class Metadata(msgspec.Struct, omit_defaults=True):
    """On whose behalf is asked."""

    user_id: str | None = None


class CountRequest(msgspec.Struct, omit_defaults=True):
    """`POST /v1/messages/count_tokens`, and what `messages` has, too."""

    model: str
    messages: list[Message]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    @property
    def thinks(self) -> bool:
        """Whether the answer may have thoughts in it: in all of the ways that there are but one."""
        return self.thinking is not None and self.thinking.type != "disabled"


class MessagesRequest(CountRequest, kw_only=True, omit_defaults=True):
    """`POST /v1/messages`."""

    max_tokens: int
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Metadata | None = None
    output_format: Format | None = None


def read(body: bytes) -> MessagesRequest:
    """Read a request for an answer.

    Raises:
        InvalidRequest: it is no JSON, lacks a field, or has one of another type.
    """
    asked = reading.read(body, MessagesRequest)
    if asked.max_tokens < 1:
        raise InvalidRequest(f"max_tokens: must be at least 1, not `{asked.max_tokens}`")
    return asked


def read_count(body: bytes) -> CountRequest:
    """Read a request for a count; raises as `read` does."""
    return reading.read(body, CountRequest)


def body_of(asked: CountRequest) -> JSON:
    """Write what both requests have as OpenAI's body.

    Raises:
        InvalidRequest: something that has no place here; the message names it.
    """
    if not asked.messages:
        raise InvalidRequest("messages: at least one message is required")
    messages = [*_system(asked.system), *(each for message in asked.messages for each in _turned(message))]
    body: JSON = {"model": asked.model, "messages": messages}
    if asked.tools:
        body |= _tools(asked.tools, asked.tool_choice)
    # An answer that has been begun goes on; thoughts would come too late.
    begun = asked.messages[-1].role == "assistant"
    body["chat_template_kwargs"] = {"enable_thinking": asked.thinks and not begun}
    if asked.output_config is not None and asked.output_config.effort:
        body["chat_template_kwargs"]["reasoning_effort"] = asked.output_config.effort
    if asked.thinks and asked.thinking is not None and asked.thinking.budget_tokens is not None:
        body["reasoning_budget_tokens"] = asked.thinking.budget_tokens
    return body


def has_pictures(body: JSON) -> bool:
    """Whether any message of OpenAI's body has an image in it."""
    contents = (message["content"] for message in body["messages"])
    return any(part["type"] == "image_url" for parts in contents if isinstance(parts, list) for part in parts)


def wishes_of(asked: MessagesRequest) -> JSON:
    """Write what concerns the answer as fields of OpenAI's body; its stop sequences are looked for by us.

    Raises:
        InvalidRequest: a form of the answer that is none.
    """
    given = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
    fields: JSON = {name: value for name, value in given.items() if value is not None}
    fields["max_tokens"] = asked.max_tokens
    if asked.metadata is not None and asked.metadata.user_id:
        fields["user"] = asked.metadata.user_id
    form = (asked.output_config.format if asked.output_config else None) or asked.output_format
    if form is not None:
        if form.type != "json_schema" or not form.schema:
            raise InvalidRequest(f"output_config.format: `{form.type[:50]}` is not supported")
        schema = {"name": "answer", "schema": form.schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


def _system(system: str | list[Block] | None) -> list[JSON]:
    text = system if isinstance(system, str) else "\n".join(_text(block) for block in system or [])
    return [{"role": "system", "content": text}] if text else []


def _turned(message: Message) -> Iterator[JSON]:
    """Write a turn; the results of tools are messages of their own, and stand first."""
    blocks = [Block("text", message.content)] if isinstance(message.content, str) else message.content
    match message.role:
        case "user":
            yield from _user(blocks)
        case "assistant":
            yield _assistant(blocks)
        case "system":
            yield from _system(blocks)
        case _:
            raise InvalidRequest(f"messages: unexpected role `{message.role[:50]}`", hint="user or assistant")


def _user(blocks: Sequence[Block]) -> Iterator[JSON]:
    parts: list[JSON] = []
    for block in blocks:
        if block.type == "tool_result":
            text, pictures = _result(block)
            yield {"role": "tool", "tool_call_id": block.tool_use_id or "", "content": text}
            parts += pictures
        else:
            parts.append(_part(block))
    if parts and all(part["type"] == "text" for part in parts):
        yield {"role": "user", "content": "\n".join(part["text"] for part in parts)}
    elif parts:
        yield {"role": "user", "content": parts}


def _result(block: Block) -> tuple[str, list[JSON]]:
    """The text of a tool's result, and its pictures, for which a tool's message has no place."""
    given = block.content
    parts = [{"type": "text", "text": given or ""}] if not isinstance(given, list) else map(_part, given)
    texts: list[str] = []
    pictures: list[JSON] = []
    for part in parts:
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            pictures.append(part)
    text = "\n".join(texts)
    return (f"Error: {text}" if block.is_error else text), pictures


def _part(block: Block) -> JSON:
    source = block.source or Source()
    match block.type:
        case "text":
            return {"type": "text", "text": _text(block)}
        case "image" if source.type == "base64":
            return {"type": "image_url", "image_url": {"url": data_url(source.data or "")}}
        case "document" if source.type == "text":
            return {"type": "text", "text": _titled(block, source.data or "")}
        case "document" if source.type == "content" and isinstance(source.content, str):
            return {"type": "text", "text": _titled(block, source.content)}
        case "image" | "document":
            raise InvalidRequest(
                f"messages: `{block.type}` from `{source.type[:50]}` is not supported",
                hint="send an image as base64, and a document as text",
            )
    raise InvalidRequest(f"messages: a block of type `{block.type[:50]}` is not supported here")


def _titled(block: Block, text: str) -> str:
    return f"{block.title}\n{text}" if block.title else text


def _assistant(blocks: Sequence[Block]) -> JSON:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[JSON] = []
    for block in blocks:
        match block.type:
            case "text":
                texts.append(_text(block))
            case "thinking":
                thoughts.append(block.thinking or "")
            case "redacted_thinking":
                pass  # only Anthropic can read it
            case "tool_use":
                arguments = msgspec.json.encode(block.input or {}).decode()
                function = {"name": block.name or "", "arguments": arguments}
                calls.append({"id": block.id or "", "type": "function", "function": function})
            case _:
                raise InvalidRequest(f"messages: a block of type `{block.type[:50]}` is not supported here")
    message: JSON = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _text(block: Block) -> str:
    if block.text is None:
        raise InvalidRequest(f"a block of type `{block.type[:50]}` has no text")
    return block.text


def _tools(tools: Sequence[Tool], choice: ToolChoice | None) -> JSON:
    """Write tools and their choice. A named one is the only one: engines do not heed names."""
    written = [_tool(tool) for tool in tools]
    if choice is None:
        return {"tools": written}
    kind = "required" if choice.type == "tool" else CHOICES.get(choice.type)
    if kind is None:
        raise InvalidRequest(f"tool_choice: `{choice.type[:50]}` is not supported")
    if choice.type == "tool":
        written = [tool for tool in written if tool["function"]["name"] == choice.name]
        if not written:
            raise InvalidRequest(f"tool_choice: no tool is called `{(choice.name or '')[:50]}`")
    fields: JSON = {"tools": written, "tool_choice": kind}
    if choice.disable_parallel_tool_use is not None:
        fields["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    return fields


def _tool(tool: Tool) -> JSON:
    if tool.type not in {None, "custom"}:
        raise InvalidRequest(f"tools: `{(tool.type or '')[:50]}` is not supported here", hint=_OWN_TOOLS)
    schema = tool.input_schema
    if schema is None or schema.get("type", "object") != "object":
        raise InvalidRequest(
            f"tools: the input_schema of `{tool.name[:100]}` is no schema of an object",
            hint='write it like `{"type": "object", "properties": {…}}`',
        )
    function = {"name": tool.name, "description": tool.description or "", "parameters": schema}
    return {"type": "function", "function": function}
