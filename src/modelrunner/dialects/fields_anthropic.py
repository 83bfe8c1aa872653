"""The fields of Anthropic's requests.

Source: Anthropic's API reference, "Create a message" and "Count tokens in a message".
"""

from modelrunner.dialects.fields import Fields, done, refused, taken, turned

_HI = [{"role": "user", "content": "hi"}]
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
_TOOL = {"name": "add", "description": "adds", "input_schema": {"type": "object", "properties": {}}}
_CHAT_TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}},
}
_GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_CALL = [
    *_HI,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "7"}]},
]


def _block(kind: str, **fields: object) -> list[object]:
    return [{"role": "user", "content": [{"type": kind, **fields}]}]


_ASKED = (
    turned("model", "ai/tiny", {"model": "ai/tiny"}, "any name of it, or its id"),
    turned("messages", _HI, {"messages": _HI}, "texts, or blocks"),
    turned(
        "messages[].content[].image",
        _block("image", source={"type": "base64", "media_type": "image/gif", "data": _GIF}),
        {"messages": [{"content": [{"image_url": {"url": f"data:image/gif;base64,{_GIF}"}}]}]},
        "base64; its kind is read from its bytes",
    ),
    refused(
        "messages[].content[].image.source.url",
        _block("image", source={"type": "url", "url": "https://example.com/a.png"}),
        "an address is not fetched",
    ),
    turned(
        "messages[].content[].document",
        _block("document", title="T", source={"type": "text", "media_type": "text/plain", "data": "hello"}),
        {"messages": [{"role": "user", "content": "T\nhello"}]},
        "a text becomes part of the message",
    ),
    refused(
        "messages[].content[].document.source.base64",
        _block("document", source={"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}),
        "PDF files are not read; send their text",
    ),
    turned(
        "messages[].content[].tool_use",
        _CALL,
        {
            "messages": [
                {},
                {"tool_calls": [{"id": "c", "function": {"arguments": '{"a":1}'}}]},
                {"role": "tool"},
            ]
        },
        "a call that the model made",
    ),
    turned(
        "messages[].content[].tool_result",
        _CALL,
        {"messages": [{}, {}, {"role": "tool", "tool_call_id": "c", "content": "7"}]},
        "its result; an image in it follows in a message of the user",
    ),
    turned(
        "messages[].content[].thinking",
        [
            *_HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "hi"},
                ],
            },
            *_HI,
        ],
        {"messages": [{}, {"content": "hi", "reasoning_content": "hm"}, {}]},
        "thoughts go back to the template; redacted ones are left out",
    ),
    refused("messages[].content[].search_result", _block("search_result"), "send it as text"),
    turned("system", "be brief", {"messages": [{"role": "system", "content": "be brief"}, *_HI]}),
    turned("tools", [_TOOL], {"tools": [_CHAT_TOOL]}, "the client's own"),
    refused(
        "tools[].type",
        [{"type": "web_search_20250305", "name": "web_search"}],
        "tools of Anthropic's own, such as `web_search`, `bash` and `text_editor`",
    ),
    turned(
        "tool_choice", {"type": "any"}, {"tool_choice": "required"}, "`auto`, `any`, `none`", tools=[_TOOL]
    ),
    turned(
        "tool_choice.name",
        {"type": "tool", "name": "add"},
        {"tool_choice": "required", "tools": [_CHAT_TOOL]},
        "a named tool is the only one that the engine gets",
        tools=[_TOOL, {**_TOOL, "name": "subtract"}],
    ),
    turned(
        "tool_choice.disable_parallel_tool_use",
        {"type": "auto", "disable_parallel_tool_use": True},
        {"parallel_tool_calls": False},
        "",
        tools=[_TOOL],
    ),
    turned(
        "thinking",
        {"type": "enabled", "budget_tokens": 2000},
        {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_budget_tokens": 2000},
        "off unless it is turned on; a budget is passed on",
    ),
    turned(
        "output_config.effort",
        {"effort": "low"},
        {"chat_template_kwargs": {"reasoning_effort": "low"}},
        "for templates that know it",
    ),
    taken(
        "cache_control",
        {"type": "ephemeral"},
        "the engine finds by itself what it knows of a prompt; also in blocks",
    ),
    taken("speed", "standard"),
    taken("user_profile_id", "me"),
    taken("workspace_id", "mine"),
)

MESSAGES = Fields(
    "Messages",
    "/v1/messages",
    {"model": "ai/tiny", "max_tokens": 4000, "messages": _HI},
    (
        *_ASKED,
        turned("max_tokens", 4000, {"max_tokens": 4000}),
        turned("temperature", 0.5, {"temperature": 0.5}),
        turned("top_p", 0.9, {"top_p": 0.9}),
        turned("top_k", 40, {"top_k": 40}),
        done("stop_sequences", ["zzz"], "end the generation when they occur; the answer says which it was"),
        done("stream", True, "Anthropic's events"),
        turned("metadata.user_id", {"user_id": "me"}, {"user": "me"}),
        turned(
            "output_config.format",
            {"format": {"type": "json_schema", "schema": _SCHEMA}},
            {"response_format": {"json_schema": {"schema": _SCHEMA, "strict": True}}},
        ),
        turned(
            "output_format",
            {"type": "json_schema", "schema": _SCHEMA},
            {"response_format": {"json_schema": {"schema": _SCHEMA}}},
            "older name of `output_config.format`",
        ),
        taken("service_tier", "auto"),
        taken("container", "container_1", "containers are for Anthropic's own tools"),
        taken("inference_geo", "us"),
        taken("diagnostics", {}),
    ),
    "Also `/anthropic/v1/messages`. Fields that are not in this table are ignored.",
)

COUNT = Fields(
    "Counting tokens",
    "/v1/messages/count_tokens",
    {"model": "ai/tiny", "messages": _HI},
    _ASKED,
    "Also `/anthropic/v1/messages/count_tokens`. The engine counts the chat as it would read it.",
)

ENDPOINTS = (MESSAGES, COUNT)
