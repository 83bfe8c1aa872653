"""The fields of Ollama's requests that lead to a model, and of `create`.

Source: Ollama, docs/api.md and api/types.go, v0.12.
"""

from typing import Any

from modelrunner.dialects.fields import Field, Fields, done, refused, taken, turned
from modelrunner.dialects.ollama_options import LOADING, generation

_HI = [{"role": "user", "content": "hi"}]
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
_TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}},
}
_GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{_GIF}"}}
_OPTIONS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "typical_p": 0.9,
    "seed": 7,
    "stop": ["zzz"],
    "num_predict": 4000,
    "repeat_last_n": 32,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "num_keep": 4,
    "mirostat": 1,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
}
_OPTION_WORDS = {"num_predict": "0 and less are as much as fits"}


def _options() -> tuple[Field, ...]:
    rows = [
        turned(f"options.{name}", {name: value}, generation({name: value}), _OPTION_WORDS.get(name, ""))
        for name, value in _OPTIONS.items()
    ]
    rows.append(
        done(
            "options.num_ctx", {"num_ctx": 1024}, "a larger context, if nobody is in the way; the answer says"
        )
    )
    rows += [
        taken(f"options.{name}", {name: 1}, "how a model is loaded is the operator's affair")
        for name in LOADING
    ]
    rows += [taken(f"options.{name}", {name: 1}) for name in ("tfs_z", "penalize_newline")]
    return tuple(rows)


_MODEL = done("model", "ai/tiny", "any name of it, or its id")
_NAME = done("name", "ai/tiny", "the older word for `model`")
_KEEP = done("keep_alive", "10m", "how long the model stays afterwards: a duration, or seconds; 0 unloads it")
_ASKED = (
    _MODEL,
    _NAME,
    done("stream", False, "lines of JSON unless it is false"),
    turned(
        "format", _SCHEMA, {"response_format": {"json_schema": {"schema": _SCHEMA}}}, '`"json"`, or a schema'
    ),
    turned(
        "think",
        False,
        {"chat_template_kwargs": {"enable_thinking": False}},
        "true, false, or an effort; true is refused for a model that cannot",
    ),
    turned("logprobs", True, {"logprobs": True}),
    turned("top_logprobs", 2, {"top_logprobs": 2}, "", logprobs=True),
    _KEEP,
    *_options(),
)

CHAT = Fields(
    "Ollama: chat",
    "/api/chat",
    {"model": "ai/tiny", "messages": _HI, "stream": False},
    (
        *_ASKED,
        turned(
            "messages",
            _HI,
            {"messages": _HI},
            "without any, the model is loaded, or with `keep_alive: 0` unloaded",
        ),
        turned(
            "messages[].images",
            [{"role": "user", "content": "hi", "images": [_GIF]}],
            {"messages": [{"content": [{"type": "text", "text": "hi"}, _PICTURE]}]},
            "base64; refused for a model that is known not to see",
        ),
        refused(
            "messages[].images[]",
            [{"role": "user", "content": "hi", "images": ["https://example.com/a.png"]}],
            "an address is not fetched",
        ),
        turned(
            "messages[].tool_calls",
            [
                *_HI,
                {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
                {"role": "tool", "tool_name": "add", "content": "7"},
            ],
            {
                "messages": [
                    {},
                    {"tool_calls": [{"id": "call_0", "function": {"arguments": '{"a":1}'}}]},
                    {"role": "tool", "tool_call_id": "call_0", "content": "7"},
                ]
            },
            "calls get ids, and results with `tool_name` find theirs",
        ),
        turned(
            "messages[].thinking",
            [*_HI, {"role": "assistant", "content": "hi", "thinking": "hm"}, *_HI],
            {"messages": [{}, {"reasoning_content": "hm"}, {}]},
        ),
        turned("tools", [_TOOL], {"tools": [_TOOL]}),
    ),
    "Fields that are not in this table are ignored.",
)

GENERATE = Fields(
    "Ollama: generate",
    "/api/generate",
    {"model": "ai/tiny", "prompt": "hi", "stream": False},
    (
        *_ASKED,
        turned("prompt", "hi", {"messages": _HI}, "a chat of one message"),
        turned("system", "be brief", {"messages": [{"role": "system", "content": "be brief"}, *_HI]}),
        turned("images", [_GIF], {"messages": [{"content": [{"type": "text"}, _PICTURE]}]}, "as in messages"),
        turned("raw", True, {"prompt": "hi"}, "the prompt is continued as it is"),
        turned("template", "<{{ .Prompt }}>", {"prompt": "<hi>"}, "Go's; what is not known of it is refused"),
        turned(
            "suffix",
            "end",
            {"input_prefix": "hi", "input_suffix": "end"},
            "for models that fill gaps, in llama.cpp",
        ),
        done("context", [], "the conversation so far, as an earlier answer gave it"),
        taken("width", 512, "no images are made here; see `/v1/images/generations`"),
        taken("height", 512, "as `width`"),
        taken("steps", 4, "as `width`"),
    ),
    "Fields that are not in this table are ignored.",
)

EMBED = Fields(
    "Ollama: embed",
    "/api/embed",
    {"model": "ai/tiny", "input": "hi"},
    (
        _MODEL,
        _NAME,
        turned("input", ["one", "two"], {"input": ["one", "two"]}),
        done("dimensions", 2, "the vectors are cut off, and scaled to a length of one"),
        done(
            "truncate", False, "whether a text that is too long is cut off, which it is; the answer says so"
        ),
        _KEEP,
        taken("options.temperature", {"temperature": 0.5}, "only `num_ctx` means something here"),
        done("options.num_ctx", {"num_ctx": 1024}, "as in a chat"),
    ),
    "Fields that are not in this table are ignored.",
)

EMBEDDINGS = Fields(
    "Ollama: embeddings",
    "/api/embeddings",
    {"model": "ai/tiny", "prompt": "hi"},
    (
        _MODEL,
        _NAME,
        turned("prompt", "hi", {"input": ["hi"]}, "one text"),
        _KEEP,
        taken("options.temperature", {"temperature": 0.5}, "only `num_ctx` means something here"),
        done("options.num_ctx", {"num_ctx": 1024}, "as in a chat"),
    ),
    "The older form of embed. Fields that are not in this table are ignored.",
)

CREATE = Fields(
    "Ollama: create",
    "/api/create",
    {"model": "mine", "from": "ai/tiny", "stream": False},
    (
        done("model", "mine", "what it is to be called"),
        done("name", "mine", "the older word for `model`"),
        done("from", "ai/tiny", "a model that is here, or is pulled"),
        done("files", {}, "files that were sent to `/api/blobs`, by name and digest; instead of `from`"),
        done("adapters", {}, "LoRA adapters in GGUF, by name and digest"),
        done("template", "<{{ .Prompt }}>", "Go's, turned into Jinja; or Jinja"),
        done("system", "be brief", "the instruction of chats that have none"),
        done("parameters", {"temperature": 0.5}, "the options of requests that have none"),
        done("messages", _HI, "what every chat begins with"),
        done("license", "MIT", "a text, or several"),
        done("stream", False, "lines of JSON unless it is false"),
        refused("quantize", "q4_K_M", "nothing is quantized here; pull the model as you want it"),
        refused("quantization", "q4_K_M", "older word for `quantize`"),
        refused("modelfile", "FROM x", "a Modelfile as text is not read; send its lines as fields"),
        refused("path", "Modelfile", "as `modelfile`"),
    ),
)

_STREAM = done("stream", False, "lines of JSON unless it is false")
_PASSWORD = done("password", "token", "sent to the registry as its token")
_INSECURE = taken("insecure", True, "the operator says which registries are reached without TLS")

PULL = Fields(
    "Ollama: pull",
    "/api/pull",
    {"model": "ai/tiny", "stream": False},
    (_MODEL, _NAME, _STREAM, _PASSWORD, _INSECURE),
)

PUSH = Fields(
    "Ollama: push",
    "/api/push",
    {"model": "ai/tiny", "stream": False},
    (_MODEL, _NAME, _STREAM, _PASSWORD, _INSECURE),
)

SHOW = Fields(
    "Ollama: show",
    "/api/show",
    {"model": "ai/tiny"},
    (_MODEL, _NAME, done("verbose", True, "long values of the header too, such as the vocabulary")),
)

COPY = Fields(
    "Ollama: copy",
    "/api/copy",
    {"source": "ai/tiny", "destination": "mine"},
    (done("source", "ai/tiny", "any name of it, or its id"), done("destination", "mine", "the new name")),
)

DELETE = Fields("Ollama: delete", "/api/delete", {"model": "ai/tiny"}, (_MODEL, _NAME), method="DELETE")

ENDPOINTS = (CHAT, GENERATE, EMBED, EMBEDDINGS, CREATE, PULL, PUSH, SHOW, COPY, DELETE)
