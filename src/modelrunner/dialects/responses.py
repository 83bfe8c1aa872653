"""The Responses API: its requests, and what they are as a chat.

Source: OpenAI API reference, "Responses" and "Streaming events".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelrunner.dialects import reading
from modelrunner.dialects.responses_items import messages_of
from modelrunner.errors import InvalidRequest

JSON = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOGPROBS = "message.output_text.logprobs"
_INCLUDED = frozenset({_LOGPROBS, "reasoning.encrypted_content"})
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_TRUNCATIONS = frozenset({"", "auto", "disabled"})
_TIERS = frozenset({"", "auto", "default"})
_MOST_METADATA = 16  # entries


class Format(msgspec.Struct):
    """The form of the answer's text."""

    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: Any = None
    strict: bool | None = None


class Text(msgspec.Struct):
    """What is wanted of the answer's text."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    """How much the model is to think."""

    effort: str | None = None
    summary: str | None = None


class Asked(msgspec.Struct):
    """The body of `POST /v1/responses`."""

    model: str | None = None
    input: str | list[JSON] | None = None
    instructions: str | list[JSON] | None = None
    previous_response_id: str | None = None
    tools: list[JSON] | None = None
    tool_choice: str | JSON | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    user: str | None = None
    max_output_tokens: int | None = None
    text: Text | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: JSON | None = None
    metadata: dict[str, str] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    include: list[str] | None = None
    truncation: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    keep_alive: str | float | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the response is to be kept."""
        return self.store is not False

    @property
    def effort(self) -> str | None:
        """How much the model is to think, by whichever name."""
        return (self.reasoning and self.reasoning.effort) or self.reasoning_effort

    @property
    def items(self) -> list[JSON]:
        """The input as items."""
        if isinstance(self.input, str):
            return [_user(self.input)]
        return self.input or []


def read(body: bytes) -> Asked:
    """Read a request.

    Raises:
        InvalidRequest: it is no JSON, or asks for something that is not to be had; the message names it.
    """
    asked = reading.read(body, Asked)
    if not (asked.model or "").strip():
        raise InvalidRequest("model is required", hint='name one, as in `"model": "ai/smollm2"`')
    _check(asked)
    return asked


def _check(asked: Asked) -> None:
    """Refuse what is not to be had; each row is what may not be so, what to say of it, and the way out."""
    choices = (
        ("truncation", asked.truncation, _TRUNCATIONS),
        ("service_tier", asked.service_tier, _TIERS),
        ("reasoning.effort", asked.effort, _EFFORTS),
        *(("include", name, _INCLUDED) for name in asked.include or ()),
    )
    for field, value, known in choices:
        if value is not None and value not in known:
            raise InvalidRequest(
                f"{field}: `{value[:80]}` is not supported here",
                hint=f"one of {', '.join(f'`{each}`' for each in sorted(known) if each)}",
            )
    rows = (
        (asked.conversation is not None, "conversation is not supported here", "use `previous_response_id`"),
        (asked.prompt is not None, "prompt is not supported here", "send `instructions` and `input`"),
        (_is_outside(asked.max_output_tokens, 1, None), "max_output_tokens: must be at least 1", None),
        (_is_outside(asked.top_logprobs, 0, 20), "top_logprobs: must be from 0 to 20", None),
        (len(asked.metadata or ()) > _MOST_METADATA, f"metadata: more than {_MOST_METADATA} entries", None),
        (bool(asked.background) and not asked.is_stored, "background needs `store`", "leave `store` out"),
        (
            asked.input is None and asked.instructions is None and asked.previous_response_id is None,
            "input is required",
            "a text, or an array of items",
        ),
    )
    for is_wrong, words, hint in rows:
        if is_wrong:
            raise InvalidRequest(words, hint=hint)


def _is_outside(number: int | None, low: int, high: int | None) -> bool:
    return number is not None and (number < low or (high is not None and number > high))


def body_of(asked: Asked, before: Sequence[Mapping[str, Any]]) -> JSON:
    """Write a request as OpenAI's chat; `before` are the items of the responses that it follows.

    Raises:
        InvalidRequest: something in it has no place in a chat.
    """
    given = asked.instructions
    instructions = given if isinstance(given, str) else None
    leading = given if isinstance(given, list) else []
    body: JSON = {
        "model": asked.model,
        "messages": messages_of(instructions, [*leading, *before, *asked.items]),
    }
    for name, value in {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "user": asked.user,
        "max_tokens": asked.max_output_tokens,
        "response_format": _response_format(asked.text),
    }.items():
        if value is not None:
            body[name] = value
    if asked.tools:
        body |= _tools(asked)
    if asked.effort is not None:
        thinks = asked.effort != "none"
        body["reasoning_effort"] = asked.effort
        body["chat_template_kwargs"] = {"enable_thinking": thinks, "reasoning_effort": asked.effort}
    if asked.top_logprobs is not None or _LOGPROBS in (asked.include or ()):
        body |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
    return body


def left_out(asked: Asked) -> list[str]:
    """The types of tools that the model does not get: OpenAI's own, where it has others to work with.

    Agents such as Codex send them along whether or not they are to be had; alone they are refused.
    """
    kinds = [str(tool.get("type"))[:50] for tool in asked.tools or ()]
    return sorted({kind for kind in kinds if kind != "function"}) if "function" in kinds else []


def _tools(asked: Asked) -> JSON:
    """Write tools and their choice. A named one is the only one: engines do not heed names."""
    extra = left_out(asked)
    tools = [_tool(tool) for tool in asked.tools or () if str(tool.get("type"))[:50] not in extra]
    choice = asked.tool_choice
    fields: JSON = {}
    if isinstance(choice, str):
        if choice not in {"auto", "none", "required"}:
            raise InvalidRequest(f"tool_choice: `{choice[:50]}` is none of `auto`, `none` and `required`")
        fields["tool_choice"] = choice
    elif choice is not None:
        mode, names = _chosen(choice)
        tools = [tool for tool in tools if tool["function"]["name"] in names]
        if not tools:
            raise InvalidRequest(f"tool_choice: no tool is called `{', '.join(names)[:100]}`")
        fields["tool_choice"] = mode
    if asked.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = asked.parallel_tool_calls
    return {"tools": tools, **fields}


def _chosen(choice: JSON) -> tuple[str, list[str]]:
    match choice:
        case {"type": "function", "name": str(name)} | {"type": "function", "function": {"name": str(name)}}:
            return "required", [name]
        case {"type": "allowed_tools", "tools": list(tools)}:
            mode = "required" if choice.get("mode") == "required" else "auto"
            return mode, [str(tool.get("name")) for tool in tools if isinstance(tool, dict)]
    raise InvalidRequest(f"tool_choice: `{str(choice.get('type'))[:50]}` is not supported here")


def _tool(tool: JSON) -> JSON:
    if tool.get("type") != "function":
        raise InvalidRequest(
            f"tool type `{str(tool.get('type'))[:50]}` is not supported here",
            hint="only `function`: the others are run by OpenAI itself",
        )
    nested = tool.get("function")
    given: JSON = nested if isinstance(nested, dict) else tool
    name, parameters = given.get("name"), given.get("parameters")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("tools: a function has no name")
    if parameters is not None and (
        not isinstance(parameters, dict) or parameters.get("type", "object") != "object"
    ):
        raise InvalidRequest(
            f"tools: the parameters of `{name[:100]}` are no schema of an object",
            hint='write it like `{"type": "object", "properties": {…}}`',
        )
    function: JSON = {"name": name, "parameters": parameters or {"type": "object", "properties": {}}}
    if isinstance(given.get("description"), str):
        function["description"] = given["description"]
    return {"type": "function", "function": function}


def _response_format(text: Text | None) -> JSON | None:
    form = text.format if text is not None else None
    if form is None or form.type in {"", "text"}:
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    if form.type != "json_schema":
        raise InvalidRequest(f"unsupported text.format.type: `{form.type[:50]}`")
    if not form.name:
        raise InvalidRequest("text.format.name is required when text.format.type is json_schema")
    if not _NAME.fullmatch(form.name):
        raise InvalidRequest(
            "text.format.name must contain only letters, numbers, underscores, and dashes,"
            " with a maximum length of 64"
        )
    if form.schema is None:
        raise InvalidRequest("text.format.schema is required when text.format.type is json_schema")
    if not isinstance(form.schema, dict):
        raise InvalidRequest("text.format.schema must be a JSON object")
    schema: JSON = {"name": form.name, "schema": form.schema}
    if form.description is not None:
        schema["description"] = form.description
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}


def beginning_of(asked: Asked, name: str, created: float) -> JSON:
    """Write the response object as it is before anything is answered; `created` is in Unix seconds."""
    form: JSON = {"type": "text"}
    if asked.text is not None and asked.text.format is not None:
        given = msgspec.to_builtins(asked.text.format)
        form = {key: value for key, value in given.items() if value is not None}
    verbosity = asked.text.verbosity if asked.text is not None else None
    return {
        "id": name,
        "object": "response",
        "created_at": int(created),
        "status": "queued" if asked.background else "in_progress",
        "background": bool(asked.background),
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "model": asked.model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": asked.effort, "summary": asked.reasoning and asked.reasoning.summary},
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": asked.is_stored,
        "temperature": asked.temperature,
        "text": {"format": form, **({"verbosity": verbosity} if verbosity else {})},
        "tool_choice": asked.tool_choice if asked.tool_choice is not None else "auto",
        "tools": asked.tools or [],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": asked.top_p,
        "truncation": asked.truncation or "disabled",
        "usage": None,
        "user": asked.user,
        "metadata": asked.metadata or {},
    }


def shortened(messages: list[JSON], *, asked: int, most: int) -> list[JSON] | None:
    """Leave out the oldest turns of a chat of `asked` tokens where `most` fit; None when there are none.

    Instructions and the last turn stay; a turn begins with a message of the user, so that no result of a call
    loses its call. How many tokens a message has is judged by its length; who asks again finds out.
    """
    heads = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    turns = [i for i, message in enumerate(messages) if i > heads and message["role"] == "user"]
    if not turns:
        return None
    sizes = [len(msgspec.json.encode(message)) for message in messages]
    too_many = sum(sizes) * max(0.0, 1 - most / max(asked, 1))
    first = next((i for i in turns if sum(sizes[heads:i]) >= too_many), turns[-1])
    return messages[:heads] + messages[first:]


def _user(text: str) -> JSON:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
