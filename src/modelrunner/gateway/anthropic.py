"""OpenAI's chat as Anthropic's messages: the way back of what `dialects.anthropic` does, in the same shapes.

Source: OpenAI API reference, "Chat completions"; Anthropic's API reference, "Messages", version 2023-06-01.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from modelrunner.dialects.anthropic import (
    CHOICES,
    Block,
    Format,
    Message,
    MessagesRequest,
    Metadata,
    OutputConfig,
    Source,
    Tool,
    ToolChoice,
)
from modelrunner.dialects.completion import UNREADABLE, ToolCall
from modelrunner.dialects.reading import unreadable
from modelrunner.errors import InvalidRequest

JSON = dict[str, Any]
_MOST_TOKENS = 4096  # Anthropic wants a limit, OpenAI does not
_CHOICES = {theirs: ours for ours, theirs in CHOICES.items()}
_NO_PARAMETERS: JSON = {"type": "object", "properties": {}}
_SHOWN = 60  # characters


class _Address(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str = ""
    filename: str | None = None


class _Part(msgspec.Struct):
    """A part of a message's content; which fields it has depends on its type."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: _Address | str | None = None
    file: _File | None = None


class _Said(msgspec.Struct):
    """A message of any role."""

    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: JSON | None = None


class _Tool(msgspec.Struct):
    """A tool, or the choice of one."""

    type: str
    function: _Function | None = None


class _Allowed(msgspec.Struct):
    tools: list[_Tool]
    mode: str = "auto"


class _Choice(_Tool):
    """A choice that is more than a word."""

    allowed_tools: _Allowed | None = None


class _Schema(msgspec.Struct):
    schema: JSON | None = None


class _Form(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Chat(msgspec.Struct):
    """What is read of a chat request; other fields have no counterpart."""

    messages: list[_Said]
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    response_format: _Form | None = None


def request(body: Mapping[str, Any], model: str) -> JSON:
    """Translate a question.

    Raises:
        InvalidRequest: it cannot be read, or has something for which there is no place; the message names it.
    """
    try:
        asked = msgspec.convert(body, _Chat)
    except UNREADABLE as exc:
        raise unreadable(exc) from exc
    system, turns = _conversation(asked.messages)
    tools, choice = _tools(asked)
    form = asked.response_format
    schema = form.json_schema.schema if form is not None and form.json_schema is not None else None
    translated = MessagesRequest(
        model=model,
        messages=turns,
        system=system or None,
        tools=tools or None,
        tool_choice=choice if tools else None,
        max_tokens=asked.max_completion_tokens or asked.max_tokens or _MOST_TOKENS,
        stop_sequences=[asked.stop] if isinstance(asked.stop, str) else asked.stop,
        stream=asked.stream,
        temperature=asked.temperature,
        top_p=asked.top_p,
        metadata=Metadata(asked.user) if asked.user else None,
        output_config=OutputConfig(Format("json_schema", schema)) if schema else None,
    )
    written: JSON = msgspec.to_builtins(translated)
    return written


def _conversation(messages: Sequence[_Said]) -> tuple[str, list[Message]]:
    """The system's words, which stand apart, and the turns; what follows in the same role is one turn.

    The results of tools have to be in one turn, at its beginning, and that is where they come to stand.
    """
    system: list[str] = []
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        match message.role:
            case "system" | "developer":
                system += [block.text or "" for block in _blocks(message.content)]
                continue
            case "user":
                role, blocks = "user", _blocks(message.content)
            case "assistant":
                calls = message.tool_calls or ()
                role, blocks = "assistant", [*_blocks(message.content), *map(_use, calls)]
            case "tool":
                role, blocks = "user", [_result(message)]
            case _:
                raise InvalidRequest(
                    f"messages: unexpected role `{message.role[:_SHOWN]}`",
                    hint="system, developer, user, assistant or tool",
                )
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    return "\n\n".join(system), [Message(role, blocks) for role, blocks in turns]


def _blocks(content: str | Sequence[_Part] | None) -> list[Block]:
    """Blocks of a content; empty texts, which are refused there, are left out."""
    if isinstance(content, str):
        return [Block("text", content)] if content else []
    return list(_parts(content or ()))


def _parts(parts: Sequence[_Part]) -> Iterator[Block]:
    for part in parts:
        match part.type:
            case "text" | "refusal":
                if text := part.text or part.refusal:
                    yield Block("text", text)
            case "image_url" if part.image_url is not None:
                given = part.image_url
                yield Block("image", source=_source(given if isinstance(given, str) else given.url))
            case "file" if part.file is not None and part.file.file_data.startswith("data:"):
                source = _source(part.file.file_data)
                yield Block("document", source=source, title=part.file.filename or None)
            case _:
                raise InvalidRequest(
                    f"messages: a part of type `{part.type[:_SHOWN]}` cannot be sent to this provider",
                    hint="send texts, images, and files as `data:application/pdf;base64,…`",
                )


def _source(url: str) -> Source:
    if not url.startswith("data:"):
        return Source("url", url=url)
    kind, comma, data = url.removeprefix("data:").partition(";base64,")
    if not comma:
        raise InvalidRequest(
            f"messages: `{url[:_SHOWN]}` is no data in base64", hint="write `data:image/png;base64,…`"
        )
    return Source("base64", kind, data)


def _use(call: ToolCall) -> Block:
    name = call.function.name or ""
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}", type=JSON)
    except UNREADABLE as exc:
        raise InvalidRequest(
            f"messages: the arguments of the call of `{name[:_SHOWN]}` are no JSON object"
        ) from exc
    return Block("tool_use", id=call.id or "", name=name, input=arguments)


def _result(message: _Said) -> Block:
    blocks = _blocks(message.content)
    texts = [block.text or "" for block in blocks if block.type == "text"]
    content: str | list[Block] | None = texts[0] if len(texts) == len(blocks) == 1 else blocks or None
    return Block("tool_result", tool_use_id=message.tool_call_id or "", content=content)


def _tools(asked: _Chat) -> tuple[list[Tool], ToolChoice | None]:
    """The tools that may be used, and whether they have to be."""
    tools = [_tool(tool) for tool in asked.tools or ()]
    alone = True if asked.parallel_tool_calls is False else None
    given = asked.tool_choice
    if isinstance(given, _Choice) and given.allowed_tools is not None:
        names = {tool.function.name for tool in given.allowed_tools.tools if tool.function}
        tools, given = [tool for tool in tools if tool.name in names], given.allowed_tools.mode
    if isinstance(given, _Choice):
        if given.function is None:
            raise InvalidRequest(f"tool_choice: `{given.type[:_SHOWN]}` is not supported by this provider")
        return tools, ToolChoice("tool", given.function.name, alone)
    if given is None and alone is None:
        return tools, None
    kind = _CHOICES.get(given or "auto")
    if kind is None:
        raise InvalidRequest(f"tool_choice: `{(given or '')[:_SHOWN]}` is not supported by this provider")
    return tools, ToolChoice(kind, disable_parallel_tool_use=None if kind == "none" else alone)


def _tool(tool: _Tool) -> Tool:
    if tool.function is None:
        raise InvalidRequest(f"tools: `{tool.type[:_SHOWN]}` is not supported by this provider")
    function = tool.function
    return Tool(function.name, function.description or None, function.parameters or _NO_PARAMETERS)
