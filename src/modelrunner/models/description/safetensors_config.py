"""What safetensors headers and a `config.json` say of their model, in the words that model lists show.

Source: the texts of Docker Model Runner, which are part of an artifact's configuration and so of its digest;
it looks at the first file only, which is wrong for every model of several.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from modelrunner.models.description.config import MAX_CONTEXT_SIZE, ModelConfig
from modelrunner.models.description.kinds import Format
from modelrunner.models.weights.safetensors import SafetensorsHeader
from modelrunner.oci.manifest import UNREADABLE
from modelrunner.units import format_bytes

MAX_CONFIG_BYTES = 16 << 20

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_ctx",
    "n_positions",
    "max_length",
    "max_sequence_length",
    "model_max_length",
)
# Models that read more than text keep the language model's part under one of these names.
_NESTED = ("text_config", "llm_config", "language_config")


def describe(headers: Sequence[SafetensorsHeader], *, context_size: int | None = None) -> ModelConfig:
    """Describe the model whose weights are in these files."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    metadata: dict[str, str] = {}
    for header in reversed(headers):
        metadata |= header.metadata
    dtypes = {tensor.dtype for tensor in tensors}
    return ModelConfig(
        format=Format.SAFETENSORS,
        architecture=metadata.get("architecture", ""),
        parameters=parameters_text(sum(tensor.elements for tensor in tensors)) if tensors else "",
        quantization=dtypes.pop() if len(dtypes) == 1 else "mixed" if dtypes else "unknown",
        size=size_text(sum(header.file_bytes for header in headers)),
        context_size=context_size,
        metadata={**metadata, "tensor_count": str(len(tensors))},
    )


def parameters_text(count: int) -> str:
    """Print a number of parameters: `16.78M`."""
    value = float(count)
    for unit in ("", "K", "M", "B"):
        if value < 1000:
            return f"{value:.2f}{unit}"
        value /= 1000
    return f"{value:.2f}T"


def size_text(count: int) -> str:
    """Print the bytes of all weights: `1.50kB`."""
    return format_bytes(count) if count > 0 else "n/a"


def context_size(config_json: bytes) -> int | None:
    """The context length, in tokens, that a `config.json` gives; None when it does not, or is no JSON."""
    values = (part.get(key) for part in _parts(config_json) for key in _CONTEXT_KEYS)
    return next((value for value in values if type(value) is int and 0 < value <= MAX_CONTEXT_SIZE), None)


def architecture(config_json: bytes) -> str:
    """What a `config.json` calls the kind of model, such as `llama`; empty when it does not say."""
    value = next((part.get("model_type") for part in _parts(config_json)), None)
    return value if isinstance(value, str) else ""


def cache_per_token(config_json: bytes) -> int:
    """How many bytes of cache one token of context takes; 0 when a `config.json` does not say.

    Source: transformers `PretrainedConfig`, whose names the models share: for each layer, heads that hold
    keys and values, times their length, in 16 bits.
    """
    parts = _parts(config_json)

    def number(*keys: str) -> int:
        values = (part.get(key) for part in parts for key in keys)
        return next((value for value in values if type(value) is int and 0 < value < 1 << 20), 0)

    heads = number("num_attention_heads", "n_head")
    length = number("head_dim") or (number("hidden_size", "n_embd") // heads if heads else 0)
    return number("num_hidden_layers", "n_layer") * (number("num_key_value_heads") or heads) * 2 * length * 2


def chat_template(tokenizer_config_json: bytes) -> str | None:
    """The chat template in a `tokenizer_config.json` or a `chat_template.json`; None when there is none.

    Of several with names it is the one called `default`.
    Source: transformers, "Chat templates", before templates got a file of their own.
    """
    template = next((part.get("chat_template") for part in _parts(tokenizer_config_json)), None)
    if isinstance(template, list):
        named = [each for each in template if isinstance(each, dict)]
        template = next((each.get("template") for each in named if each.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _parts(document_json: bytes) -> list[dict[str, Any]]:
    """A document, and the parts of it that speak of a language model; nothing when it is no JSON object."""
    try:
        document = msgspec.json.decode(document_json, type=dict[str, Any])
    except UNREADABLE:
        return []
    return [document, *(part for key in _NESTED if isinstance(part := document.get(key), dict))]
