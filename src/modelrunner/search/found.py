"""What a search finds, which engines would run it, and in which order it is shown. Pure values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelrunner.models.description import kinds
from modelrunner.models.description.kinds import FileKind, classify
from modelrunner.oci.manifest import Manifest

UNKNOWN = "unknown"


class Source(StrEnum):
    """Where a model was found; the value is how people read it."""

    DOCKER_HUB = "Docker Hub"
    HUGGING_FACE = "HuggingFace"


# Which engine runs which files, in the order in which several are named.
_BACKENDS = {FileKind.GGUF: "llama.cpp", FileKind.SAFETENSORS: "vllm", FileKind.DDUF: "diffusers"}
_LAYERS = {
    kinds.GGUF_LAYER: FileKind.GGUF,
    kinds.CNCF_WEIGHT_GGUF: FileKind.GGUF,
    kinds.SAFETENSORS_LAYER: FileKind.SAFETENSORS,
    kinds.CNCF_WEIGHT_SAFETENSORS: FileKind.SAFETENSORS,
    kinds.DDUF_LAYER: FileKind.DDUF,
}


@dataclass(frozen=True, slots=True)
class Found:
    """One model. `size` is in bytes, None when unknown; `updated` is a time as its source writes it."""

    name: str
    source: Source
    description: str = ""
    downloads: int = 0
    stars: int = 0
    official: bool = False
    updated: str = ""
    backend: str = UNKNOWN
    size: int | None = None

    @property
    def reference(self) -> str:
        """The name by which it is pulled."""
        return f"hf.co/{self.name}" if self.source is Source.HUGGING_FACE else self.name


def backend_of(files: Iterable[FileKind]) -> str:
    """Name the engines that could run files of these kinds; `unknown` when there is none."""
    present = set(files)
    return ", ".join(name for kind, name in _BACKENDS.items() if kind in present) or UNKNOWN


def layer_kinds(manifest: Manifest) -> list[FileKind]:
    """Tell of each layer what kind of file it is, by its type, and else by the name that it brings."""
    return [
        _LAYERS.get(layer.media_type) or classify((layer.annotations or {}).get(kinds.FILEPATH, ""))
        for layer in manifest.layers
    ]


def ordered(found: Iterable[Found], limit: int) -> Sequence[Found]:
    """Put Docker Hub's first, then what is downloaded most; at most `limit`."""
    rows = sorted(found, key=lambda row: (row.source is not Source.DOCKER_HUB, -row.downloads, row.name))
    return rows[:limit]
