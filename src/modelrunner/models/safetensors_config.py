"""What safetensors headers and a `config.json` say of their model, in the words that model lists show.

Source: the texts of Docker Model Runner, which are part of an artifact's configuration and so of its digest;
it looks at the first file only, which is wrong for every model of several.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from modelrunner.models.config import MAX_CONTEXT_SIZE, ModelConfig
from modelrunner.models.kinds import Format
from modelrunner.models.safetensors import SafetensorsHeader
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
    try:
        document = msgspec.json.decode(config_json, type=dict[str, Any])
    except UNREADABLE:
        return None
    parts = [document, *(part for key in _NESTED if isinstance(part := document.get(key), dict))]
    values = (part.get(key) for part in parts for key in _CONTEXT_KEYS)
    return next((value for value in values if type(value) is int and 0 < value <= MAX_CONTEXT_SIZE), None)
