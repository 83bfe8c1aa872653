"""Ollama's `options`: how to generate, and how to load; each named, typed, and put in OpenAI's words.

Source: Ollama, api/types.go, `Options` and `Runner`, v0.12.
"""

from collections.abc import Mapping
from typing import Any

from modelrunner.errors import InvalidRequest

_NUMBER, _WHOLE, _WORDS = "a number", "a whole number", "a text, or a list of texts"

# What goes into the body, under which names: llama.cpp's and vLLM's own where OpenAI has none.
_GENERATION: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "temperature": (_NUMBER, ("temperature",)),
    "top_p": (_NUMBER, ("top_p",)),
    "top_k": (_WHOLE, ("top_k",)),
    "min_p": (_NUMBER, ("min_p",)),
    "typical_p": (_NUMBER, ("typical_p",)),
    "seed": (_WHOLE, ("seed",)),
    "stop": (_WORDS, ("stop",)),
    "repeat_last_n": (_WHOLE, ("repeat_last_n",)),
    "repeat_penalty": (_NUMBER, ("repeat_penalty", "repetition_penalty")),
    "presence_penalty": (_NUMBER, ("presence_penalty",)),
    "frequency_penalty": (_NUMBER, ("frequency_penalty",)),
    "num_keep": (_WHOLE, ("n_keep",)),
    "mirostat": (_WHOLE, ("mirostat",)),
    "mirostat_tau": (_NUMBER, ("mirostat_tau",)),
    "mirostat_eta": (_NUMBER, ("mirostat_eta",)),
}

# How a model is loaded, which is the operator's affair; they are let pass.
LOADING = (
    "embedding_only",
    "f16_kv",
    "logits_all",
    "low_vram",
    "main_gpu",
    "num_batch",
    "num_gpu",
    "num_thread",
    "numa",
    "use_mlock",
    "use_mmap",
    "vocab_only",
)


def check(options: Mapping[str, Any]) -> None:
    """Refuse options of a wrong type. Unknown ones pass, as with Ollama, and so do those of `LOADING`.

    Raises:
        InvalidRequest: the option is named.
    """
    for name, value in options.items():
        known = _GENERATION.get(name) or ((_WHOLE,) if name in {"num_ctx", "num_predict"} else None)
        if known is not None and value is not None and not _fits(known[0], value):
            raise InvalidRequest(f"option `{name}` must be {known[0]}: `{str(value)[:100]}`")


def generation(options: Mapping[str, Any]) -> dict[str, Any]:
    """Write what concerns the generation as fields of OpenAI's body; `options` were checked."""
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name == "num_predict":
            if value > 0:  # less than that is for ever, or as much as fits, which are the defaults
                fields["max_tokens"] = int(value)
        elif name in _GENERATION:
            wanted, places = _GENERATION[name]
            fields |= dict.fromkeys(places, int(value) if wanted is _WHOLE else value)
    return fields


def context_size(options: Mapping[str, Any]) -> int | None:
    """The context that is asked for, in tokens."""
    size = options.get("num_ctx")
    return int(size) if size is not None and size > 0 else None


def _fits(wanted: str, value: object) -> bool:
    if wanted is _WORDS:
        return isinstance(value, str) or (
            isinstance(value, list) and all(isinstance(word, str) for word in value)
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return wanted is _NUMBER or value == int(value)
