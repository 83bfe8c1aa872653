"""The fields of OpenAI's requests that go to an engine as they are, and of those about texts and tokens.

Source: OpenAI API reference, "Create chat completion", "Create completion", "Create embeddings" and
"Create image"; llama.cpp, tools/server/README.md, and vLLM, "OpenAI-compatible server", for what they heed.
"""

from modelrunner.dialects.fields import Fields, done, passed, refused, taken, turned

_HI = [{"role": "user", "content": "hi"}]
_TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_AS_IT_IS = (
    "The body goes to the engine as it is, fields that are not in this table too: each engine has some of its"
    " own, such as `top_k` and `min_p`."
)


def _said(kind: str, content: object) -> list[object]:
    return [{"role": "user", "content": [{"type": kind, kind: content}]}]


_SAMPLING = (
    passed("temperature", 0.5),
    passed("top_p", 0.9),
    passed("frequency_penalty", 0.5),
    passed("presence_penalty", 0.5),
    passed("logit_bias", {"42": -10}),
    passed("seed", 7),
    passed("stop", ["zzz"], "a text, or a list of texts"),
    passed("n", 2, "so many answers"),
    passed("max_tokens", 16),
)
_MODEL = passed("model", "ai/tiny", "any name of it, or its id; an engine that knows another name gets that")
_NAMED = done("model", "ai/tiny", "any name of it, or its id")
_KEEP = done("keep_alive", "10m", "our own: how long the model stays afterwards; a duration, or seconds")
_USER = taken("user", "me")

CHAT = Fields(
    "Chat completions",
    "/v1/chat/completions",
    {"model": "ai/tiny", "messages": _HI},
    (
        _MODEL,
        passed("messages", _HI, "the roles `system`, `developer`, `user`, `assistant` and `tool`"),
        passed(
            "messages[].content[].image_url",
            _said("image_url", {"url": _PIXEL}),
            "inline: PNG, JPEG, GIF, WebP or BMP; looked at before the engine sees it",
        ),
        refused(
            "messages[].content[].image_url.url",
            _said("image_url", {"url": "https://example.com/a.png"}),
            "an address is not fetched, unless `DMR_REMOTE_MEDIA` is true",
        ),
        passed(
            "messages[].content[].input_audio",
            _said("input_audio", {"data": "UklGRg==", "format": "wav"}),
            "for models that hear; the engine refuses it for others",
        ),
        passed(
            "messages[].tool_calls",
            [
                *_HI,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "7"},
            ],
            "calls, and their results by `tool_call_id`",
        ),
        *_SAMPLING,
        passed("max_completion_tokens", 16, "as `max_tokens`, which it replaces"),
        passed("stream", False, "events as the engine makes them; `data: [DONE]` at the end"),
        passed(
            "stream_options", {"include_usage": True}, "`include_usage`: the last event counts", stream=True
        ),
        passed("logprobs", True),
        passed("top_logprobs", 2, "", logprobs=True),
        passed("tools", [_TOOL], "functions; the model's template has to know them"),
        passed("tool_choice", "auto", "`auto`, `none`, `required`", tools=[_TOOL]),
        turned(
            "tool_choice.function",
            {"type": "function", "function": {"name": "add"}},
            {"tool_choice": "required", "tools": [_TOOL]},
            "a named function is the only one that the engine gets, and has to be called",
            tools=[_TOOL, {"type": "function", "function": {"name": "subtract"}}],
        ),
        passed("parallel_tool_calls", False, "", tools=[_TOOL]),
        passed(
            "response_format", {"type": "json_object"}, "`text`, `json_object`, `json_schema` with `strict`"
        ),
        passed("reasoning_effort", "low", "for templates that know it; thoughts come as `reasoning_content`"),
        _KEEP,
        _USER,
        taken("metadata", {"a": "b"}),
        taken("store", True, "nothing of a chat is kept; the Responses API keeps"),
        taken("service_tier", "auto"),
        taken("safety_identifier", "me"),
        taken("prompt_cache_key", "k", "the engine finds by itself what it knows of a prompt"),
        taken("prompt_cache_options", {"mode": "implicit"}, "as `prompt_cache_key`"),
        taken("prompt_cache_retention", "24h", "as `prompt_cache_key`"),
        taken("prediction", {"type": "content", "content": "hi"}, "configure a draft model to be faster"),
        taken("verbosity", "low"),
        taken("modalities", ["text"], "answers are text"),
        taken("audio", {"voice": "alloy", "format": "wav"}, "answers are text"),
        taken("web_search_options", {}, "nothing is searched; give a tool that does"),
        taken("moderation", {"model": "omni-moderation-latest"}, "nothing is judged"),
        taken(
            "functions",
            [{"name": "add", "parameters": {}}],
            "the older form of `tools`, which engines dropped",
        ),
        taken("function_call", "none", "the older form of `tool_choice`"),
    ),
    _AS_IT_IS,
)

COMPLETIONS = Fields(
    "Completions",
    "/v1/completions",
    {"model": "ai/tiny", "prompt": "hi"},
    (
        _MODEL,
        passed("prompt", ["one", "two"], "a text, tokens, or a list of either"),
        *_SAMPLING,
        passed("stream", False),
        passed("stream_options", {"include_usage": True}, "", stream=True),
        passed("logprobs", 2),
        passed("echo", True, "vLLM repeats the prompt; llama.cpp does not"),
        passed("suffix", "end", "vLLM; for llama.cpp, Ollama's `/api/generate` fills gaps"),
        _KEEP,
        taken("best_of", 1),
        _USER,
    ),
    _AS_IT_IS,
)

EMBEDDINGS = Fields(
    "Embeddings",
    "/v1/embeddings",
    {"model": "ai/tiny", "input": "hi"},
    (
        _MODEL,
        passed("input", ["one", "two"], "a text, tokens of this very model, or a list of either"),
        passed("encoding_format", "base64", "`float` or `base64`"),
        done(
            "dimensions",
            2,
            "the first so many numbers, as long as one again; vLLM refuses it for other models",
        ),
        _KEEP,
        _USER,
    ),
    _AS_IT_IS,
)

RERANK = Fields(
    "Rerank",
    "/v1/rerank",
    {"model": "ai/tiny", "query": "a", "documents": ["a", "b"]},
    (
        _MODEL,
        passed("query", "a"),
        passed("documents", ["a", "b"]),
        passed("top_n", 1, "only so many, the best first"),
        _KEEP,
    ),
    f"{_AS_IT_IS} `/rerank` is the same.",
)

SCORE = Fields(
    "Score",
    "/v1/score",
    {"model": "ai/tiny", "text_1": "a", "text_2": ["a", "b"]},
    (
        _NAMED,
        done("text_1", "a", "a text, or as many as `text_2` has"),
        done("text_2", ["a", "b"], "at most 1,024; an engine that only ranks is asked for a ranking"),
    ),
    "`/score` is the same. Other fields are ignored.",
)

TOKENIZE = Fields(
    "Tokenize",
    "/v1/tokenize",
    {"model": "ai/tiny", "prompt": "hi"},
    (
        _NAMED,
        passed("prompt", "hi"),
        turned("content", "hi", {"prompt": "hi"}, "llama.cpp's name for `prompt`"),
        done("messages", _HI, "a chat, written as the model's template does", prompt=None),
        turned(
            "add_special_tokens",
            False,
            {"add_special": False},
            "whether the tokens that begin a text are there",
        ),
    ),
    "`/tokenize` is the same. Other fields are ignored.",
)

DETOKENIZE = Fields(
    "Detokenize",
    "/v1/detokenize",
    {"model": "ai/tiny", "tokens": [1, 2]},
    (_NAMED, passed("tokens", [1, 2])),
    "`/detokenize` is the same. Other fields are ignored.",
)

_PAINTED = (
    passed("n", 2, "1 to 10"),
    passed("response_format", "b64_json"),
    refused("response_format", "url", "an image is given whole, as `b64_json`"),
    passed("output_format", "jpeg", "`png`, `jpeg` or `webp`"),
    passed("output_compression", 40, "0 to 100, for JPEG and WebP"),
    refused("background", "transparent", "images are opaque"),
    taken("background", "opaque"),
    passed("negative_prompt", "dogs", "our own"),
    passed("num_inference_steps", 2, "our own: 1 to 150"),
    passed("guidance_scale", 2.0, "our own: 1 to 20"),
    passed("seed", 7, "our own: image number i has the seed `seed + i`"),
    taken("quality", "standard"),
    taken("user", "me"),
    taken("safety_identifier", "me"),
    taken("partial_images", 0),
    taken("complexity", "low", "no drawings are made"),
    taken("svg", {"model": "m"}, "no drawings are made"),
    taken("frame_count", 2, "no moving images are made"),
    taken("frame_duration_ms", 40, "no moving images are made"),
    refused("stream", True, "images come when they are whole"),
)

IMAGES = Fields(
    "Images",
    "/v1/images/generations",
    {"model": "ai/painter", "prompt": "a cat"},
    (
        passed("model", "ai/painter", "a model in DDUF"),
        passed("prompt", "a dog"),
        passed("size", "256x256", "multiples of 8, up to 4096 pixels either way; `auto` is 512x512"),
        *_PAINTED,
        taken("style", "vivid"),
        taken("moderation", "low"),
    ),
    "Fields that are not in this table are ignored.",
)

EDITS = Fields(
    "Changed images",
    "/v1/images/edits",
    {"model": "ai/painter", "prompt": "a hat", "image": _PIXEL},
    (
        passed("model", "ai/painter", "a model in DDUF, of a kind that changes pictures"),
        passed("prompt", "a dog"),
        turned("image", [_PIXEL], {}, "a file of a form, also as `image[]`, or a data URL; one at a time"),
        turned("images", [{"image_url": _PIXEL}], {}, "OpenAI's JSON for `image`", image=None),
        refused("images", [{"file_id": "file-1"}], "no files are kept here", image=None),
        turned(
            "mask",
            _PIXEL,
            {},
            "a file or a data URL, as large as the picture; where it is transparent, or white if it has no"
            " transparency, the picture changes",
        ),
        passed("size", "256x256", "that of the picture, unless another one is given"),
        passed("strength", 0.5, "our own: how much changes, 0 to 1"),
        *_PAINTED,
        taken("input_fidelity", "high", "`strength` says it"),
        refused("markup", _PIXEL, "only a mask says where"),
    ),
    "A form or JSON; either becomes JSON for the engine. Fields that are not in this table are ignored.",
)

ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RERANK, SCORE, TOKENIZE, DETOKENIZE, IMAGES, EDITS)
