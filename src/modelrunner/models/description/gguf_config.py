"""What GGUF headers say of their model, in the words and units that model lists show.

Source: gguf-parser-go 0.24, which the reference takes its display texts from; they are part of an artifact's
configuration and so of its digest.
"""

from collections.abc import Mapping, Sequence

from modelrunner.models.description.config import MAX_CONTEXT_SIZE, ModelConfig
from modelrunner.models.description.kinds import Format
from modelrunner.models.weights import ggml
from modelrunner.models.weights.gguf import KEPT_ITEMS, GGUFHeader, LongArray, Value

DEFAULT_ARCHITECTURE = "llama"

_PARAMETER_UNITS = ((1e15, "Q"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_SIZE_UNITS = tuple(
    (float(base**power), f"{prefix}{mark}")
    for power, prefix in ((5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "K"))
    for base, mark in ((1024, "i"), (1000, ""))
)
_IMAGE_ARCHITECTURES = frozenset({"flux", "sd", "sd2.5", "sd3", "stable-diffusion"})
_DIFFUSION_TENSORS = (
    "model.diffusion_model.",
    "double_blocks.",
    "joint_blocks.",
    "decoder.",
    "encoder.",
    "text_model.",
)


def describe(headers: Sequence[GGUFHeader]) -> ModelConfig:
    """Describe the model whose weights are in these files, the first shard first."""
    metadata = _merged(headers)
    return ModelConfig(
        format=Format.GGUF,
        architecture=architecture(headers),
        parameters=parameters(headers),
        quantization=quantization(headers),
        size=size(headers),
        context_size=context_size(headers),
        metadata={
            key: text
            for key, value in metadata.items()
            if key != "split.no" and (text := as_text(value)) is not None
        },
    )


def architecture(headers: Sequence[GGUFHeader]) -> str:
    """Name the architecture; files that do not say are taken for `llama`, as llama.cpp's first ones were."""
    metadata = _merged(headers)
    stated = metadata.get("general.architecture")
    hint = metadata.get("controlvector.model_hint")
    if isinstance(hint, str):
        return hint
    if isinstance(stated, str) and stated not in _IMAGE_ARCHITECTURES:
        return stated
    if metadata.get("general.type") == "imatrix":
        return "imatrix"
    return "diffusion" if _is_diffusion(headers) else DEFAULT_ARCHITECTURE


def parameters(headers: Sequence[GGUFHeader]) -> str:
    """Count the numbers in all tensors, as `361.82M` or `8B`."""
    count = sum(tensor.elements for header in headers for tensor in header.tensors)
    return _scaled(count, _PARAMETER_UNITS)


def quantization(headers: Sequence[GGUFHeader]) -> str:
    """Name the quantisation, as `MOSTLY_Q4_K_M`; `Unknown` when nothing tells."""
    tensors = [(tensor.name, tensor.type) for header in headers for tensor in header.tensors]
    file_type = _merged(headers).get("general.file_type")
    return ggml.quantization(file_type, tensors, diffusion=_is_diffusion(headers))


def size(headers: Sequence[GGUFHeader]) -> str:
    """Give the size of the tensors' data without the headers, as `256.35MiB`."""
    return f"{_scaled(sum(map(_data_bytes, headers)), _SIZE_UNITS)}B"


def context_size(headers: Sequence[GGUFHeader]) -> int | None:
    """Give the context that the model was trained for, in tokens; None for files that have none."""
    metadata = _merged(headers)
    stated = metadata.get("general.architecture", DEFAULT_ARCHITECTURE)
    kind = metadata.get("general.type")
    if stated == "clip" or kind in {"adapter", "imatrix"} or _is_diffusion(headers):
        return None
    value = metadata.get(f"{stated}.context_length")
    if isinstance(value, int) and 0 < value <= MAX_CONTEXT_SIZE:
        return int(value)
    return None


def as_text(value: Value) -> str | None:
    """Write a value of the header as text; None for an array that is too long for a configuration."""
    if isinstance(value, tuple) and len(value) > KEPT_ITEMS:
        return None
    match value:
        case LongArray():
            return None
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:f}"
        case int():
            return str(value)
        case str():
            return value.strip()
        case _:
            return ", ".join(text for item in value if (text := as_text(item)) is not None)


def _merged(headers: Sequence[GGUFHeader]) -> Mapping[str, Value]:
    """The metadata of all shards; later ones override."""
    return {key: value for header in headers for key, value in header.metadata.items()}


def _is_diffusion(headers: Sequence[GGUFHeader]) -> bool:
    return any(tensor.name.startswith(_DIFFUSION_TENSORS) for header in headers for tensor in header.tensors)


def _data_bytes(header: GGUFHeader) -> int:
    """The reference pads by a whole `alignment` where nothing is to be padded; its sizes show it."""
    padding = header.alignment - header.header_bytes % header.alignment
    return max(0, header.file_bytes - header.header_bytes - padding)


def _scaled(count: int, units: Sequence[tuple[float, str]]) -> str:
    for base, unit in units:
        if count >= base:
            return f"{count / base:.2f}".removesuffix(".00") + unit
    return str(count)
