"""Names for the layers of older artifacts, which have none: what their files are usually called. Pure."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from modelrunner.models.description import kinds

_WEIGHTS = {
    kinds.GGUF_LAYER: "gguf",
    kinds.SAFETENSORS_LAYER: "safetensors",
    kinds.DDUF_LAYER: "dduf",
    kinds.ONNX_LAYER: "onnx",
}
_OTHERS = {
    kinds.PROJECTOR_LAYER: "mmproj.gguf",
    kinds.PROJECTOR_LAYER_PUBLIC: "mmproj.gguf",
    kinds.LICENSE_LAYER: "LICENSE",
    kinds.TEMPLATE_LAYER: "chat_template.jinja",
    kinds.LORA_LAYER: "adapter.gguf",
}


def usual_names(media_types: Sequence[str]) -> list[str]:
    """Name layers of Docker's types, in order; several files of weights are shards, others are numbered."""
    counts = Counter(media_types)
    seen: Counter[str] = Counter()
    names: list[str] = []
    for media_type in media_types:
        seen[media_type] += 1
        number = seen[media_type]
        suffix = _WEIGHTS.get(media_type)
        if suffix and counts[media_type] > 1:
            names.append(f"model-{number:05d}-of-{counts[media_type]:05d}.{suffix}")
        elif suffix:
            names.append(f"model.{suffix}")
        else:
            names.append(_numbered(_OTHERS.get(media_type, "file"), number))
    return names


def _numbered(name: str, number: int) -> str:
    """`mmproj-2.gguf`, and the first one as it is."""
    path = PurePosixPath(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"
