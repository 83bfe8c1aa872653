"""The fields of the Responses API.

Source: OpenAI API reference, "Create a model response".
"""

from modelrunner.dialects.fields import Fields, done, refused, taken, turned
from modelrunner.dialects.responses_items import sealed

_HI = [{"role": "user", "content": "hi"}]
_TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
_CHAT_TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def _part(kind: str, **fields: object) -> list[object]:
    return [{"role": "user", "content": [{"type": kind, **fields}]}]


_ASKED = (
    turned("model", "ai/tiny", {"model": "ai/tiny"}, "any name of it, or its id"),
    turned("input", "hi", {"messages": _HI}, "a text, or items"),
    turned(
        "input[].content[].input_image",
        _part("input_image", image_url=_PIXEL),
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PIXEL}}]}]},
        "inline, looked at before the engine sees it",
    ),
    turned(
        "input[].content[].input_audio",
        _part("input_audio", input_audio={"data": "UklGRg==", "format": "wav"}),
        {"messages": [{"content": [{"type": "input_audio", "input_audio": {"format": "wav"}}]}]},
        "for models that hear",
    ),
    refused(
        "input[].content[].input_image.image_url",
        _part("input_image", image_url="https://example.com/a.png"),
        "an address is not fetched",
    ),
    refused(
        "input[].content[].input_file", _part("input_file", file_id="f"), "files are not kept or read here"
    ),
    turned(
        "input[].function_call",
        [
            {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
        ],
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "add"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "7"},
            ]
        },
        "and `function_call_output`: a call and its result",
    ),
    turned(
        "input[].reasoning",
        [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"role": "assistant", "content": "hi"},
        ],
        {"messages": [{"role": "assistant", "reasoning_content": "hm", "content": "hi"}]},
        "thoughts go back to the template",
    ),
    refused(
        "input[].item_reference", [{"type": "item_reference", "id": "x"}], "send the item, or use chains"
    ),
    turned(
        "instructions",
        "be brief",
        {"messages": [{"role": "system", "content": "be brief"}, *_HI]},
        "of this request alone, not of the chain",
    ),
    done("previous_response_id", "resp_0", "the whole chain is sent before the input, users' turns too"),
    turned("tools", [_TOOL], {"tools": [_CHAT_TOOL]}, "functions"),
    refused(
        "tools[].type",
        [{"type": "web_search"}],
        "tools that OpenAI runs itself; beside functions they are left out, and a header says so",
    ),
    turned("tool_choice", "required", {"tool_choice": "required"}, "", tools=[_TOOL]),
    turned(
        "tool_choice.name",
        {"type": "function", "name": "add"},
        {"tool_choice": "required", "tools": [_CHAT_TOOL]},
        "a named function, or `allowed_tools`, leaves the model only those",
        tools=[_TOOL, {**_TOOL, "name": "subtract"}],
    ),
    turned("parallel_tool_calls", False, {"parallel_tool_calls": False}, "", tools=[_TOOL]),
    turned(
        "text.format",
        {"format": {"type": "json_schema", "name": "n", "schema": _SCHEMA, "strict": True}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True},
            }
        },
        "`text`, `json_object`, `json_schema`",
    ),
    taken("text.verbosity", {"verbosity": "low"}, "given back"),
    turned(
        "reasoning.effort",
        {"effort": "low"},
        {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}},
        "for templates that know it; `none` turns thinking off",
    ),
    taken("reasoning.summary", {"summary": "auto"}, "thoughts come whole"),
    refused("conversation", "conv_1", "use `previous_response_id`"),
)

CREATE = Fields(
    "Responses",
    "/v1/responses",
    {"model": "ai/tiny", "input": "hi"},
    (
        *_ASKED,
        done(
            "truncation",
            "auto",
            "leaves out the oldest turns when the context is too small; the answer says how many",
        ),
        turned("reasoning_effort", "high", {"reasoning_effort": "high"}, "older form of `reasoning.effort`"),
        turned("max_output_tokens", 16, {"max_tokens": 16}),
        turned("temperature", 0.5, {"temperature": 0.5}),
        turned("top_p", 0.9, {"top_p": 0.9}),
        turned("top_logprobs", 2, {"logprobs": True, "top_logprobs": 2}),
        turned("user", "me", {"user": "me"}),
        turned(
            "include",
            ["message.output_text.logprobs"],
            {"logprobs": True},
            "`message.output_text.logprobs`; `reasoning.encrypted_content` is without effect",
        ),
        refused("include[]", ["file_search_call.results"], "of tools that are not here"),
        done("stream", True, "the public events, in order"),
        taken("stream_options", {"include_obfuscation": False}, "nothing is obfuscated"),
        done("store", False, "nothing of this response is kept"),
        done(
            "background",
            True,
            "answered at once, made on; needs `store`. With `stream`, events come, and can be had again",
        ),
        taken("metadata", {"a": "b"}, "given back; at most 16 entries"),
        taken("max_tool_calls", 3, "given back; it is about tools that OpenAI runs"),
        taken("service_tier", "auto", "`auto` and `default`"),
        refused("service_tier", "flex", "there are no tiers"),
        taken("prompt_cache_key", "k", "given back"),
        taken(
            "prompt_cache_options",
            {"mode": "implicit"},
            "the engine finds by itself what it knows of a prompt",
        ),
        taken("prompt_cache_retention", "24h", "as `prompt_cache_options`"),
        taken("safety_identifier", "me", "given back"),
        refused("prompt", {"id": "pmpt_1"}, "no prompts are kept here; send `instructions` and `input`"),
        taken("moderation", {"model": "omni-moderation-latest"}, "nothing is judged"),
        taken("context_management", [{"type": "compaction"}], "use `truncation`"),
        taken("background_options", {"completion_window": "2h"}),
        taken("access_programs", {}),
        taken("image", {}, "no images are made here"),
        done("keep_alive", "10m", "our own: how long the model stays afterwards"),
    ),
    "Also `/responses`. Fields that are not in this table are ignored.",
)

COUNT = Fields(
    "Counting the tokens of a response",
    "/v1/responses/input_tokens",
    {"model": "ai/tiny", "input": "hi"},
    (*_ASKED, taken("truncation", "auto", "all of it is counted"), taken("personality", "friendly")),
    "Also `/responses/input_tokens`. The engine counts the chat as it would read it.",
)

COMPACT = Fields(
    "Making a conversation short",
    "/v1/responses/compact",
    {"model": "ai/tiny", "input": "hi"},
    (
        turned("model", "ai/tiny", {"model": "ai/tiny"}, "any name of it, or its id"),
        turned("input", "hi", {"messages": [{"content": "hi"}, {}]}, "a text, or items, as for a response"),
        turned("instructions", "be brief", {"messages": [{"role": "system", "content": "be brief"}, {}, {}]}),
        turned(
            "input[].compaction",
            [{"type": "compaction", "encrypted_content": sealed("a summary")}],
            {"messages": [{"content": "Summary of the conversation so far:\na summary"}, {}]},
            "what was made short before; also in the input of a response",
        ),
        done("previous_response_id", "resp_0", "the whole chain is made short, and the input"),
        taken("prompt_cache_key", "k"),
        taken("prompt_cache_options", {"mode": "implicit"}),
        taken("prompt_cache_retention", "24h"),
        taken("service_tier", "auto"),
        taken("image", {}),
        done("keep_alive", "10m", "our own: how long the model stays afterwards"),
    ),
    "Also `/responses/compact`. The answer has the user's messages as they were, and a summary of the rest,"
    " which the model writes; it is one item, to be sent along with what comes next.",
)

ENDPOINTS = (CREATE, COUNT, COMPACT)
