"""The two forms of an artifact, Docker's and CNCF ModelPack's: layers and descriptions in the other form.

Whole artifacts are the job of `edit.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import msgspec

from modelrunner.errors import UnsupportedModel
from modelrunner.models.artifacts.packaging import PACK_TYPES
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, config_v01, parse_config
from modelrunner.models.description.kinds import CONFIG_CNCF, FileKind, classify
from modelrunner.models.description.safetensors_config import size_text
from modelrunner.models.description.usual_names import usual_names
from modelrunner.oci.manifest import Manifest

JSON = dict[str, Any]

_DOCKER_TYPES = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as its manifest has it, with all that we do not know of it, and its diff id."""

    raw: JSON
    diff_id: str

    @property
    def type(self) -> str:
        """Its media type."""
        return str(self.raw.get("mediaType", ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        """What is said of it, by key."""
        return self.raw.get("annotations") or {}

    @property
    def path(self) -> str:
        """Where its file is within the model; empty when that is not said."""
        return self.annotations.get(kinds.FILEPATH, "")

    @property
    def name(self) -> str:
        """What its file is called."""
        return PurePosixPath(self.path).name

    @property
    def stated(self) -> str | None:
        """Docker's type for it, where CNCF's form has to say it."""
        return kinds.unpacked_type(self.annotations.get(kinds.ROLE))

    def typed(self, media_type: str) -> "Layer":
        """The same layer under another type."""
        return replace(self, raw={**self.raw, "mediaType": media_type})

    def annotated(self, annotations: Mapping[str, str]) -> "Layer":
        """The same layer with other annotations."""
        return replace(self, raw={**self.raw, "annotations": dict(sorted(annotations.items()))})


def all_packed(layers: Sequence[Layer]) -> list[Layer]:
    """Docker layers in CNCF's types; each gets a name, as CNCF's form has files only by name."""
    names = usual_names([layer.type for layer in layers])
    return [
        packed(layer if layer.path else layer.annotated({**layer.annotations, kinds.FILEPATH: name}))
        for layer, name in zip(layers, names, strict=True)
    ]


def packed(layer: Layer) -> Layer:
    """A Docker layer in CNCF's types. Source: what Docker Model Runner writes with `--format cncf`."""
    role = kinds.packed_role(layer.type, layer.name)
    if role:
        layer = layer.annotated({**layer.annotations, kinds.ROLE: role})
    known = {
        **PACK_TYPES,
        # The reference writes a raw file, which nobody unpacks: the files in it would be lost.
        kinds.VLLM_CONFIG_ARCHIVE: kinds.CNCF_WEIGHT_CONFIG_TAR,
        kinds.DIRECTORY_ARCHIVE: kinds.CNCF_WEIGHT_CONFIG_TAR,
        kinds.PROJECTOR_LAYER_PUBLIC: kinds.CNCF_WEIGHT,
    }
    if layer.type in known:
        return layer.typed(known[layer.type])
    by_name = {
        FileKind.GGUF: kinds.CNCF_WEIGHT,
        FileKind.SAFETENSORS: kinds.CNCF_WEIGHT,
        FileKind.DDUF: kinds.CNCF_WEIGHT,
        FileKind.LICENSE: kinds.CNCF_DOC,
    }
    is_document = layer.name.lower().endswith(".md")
    fallback = kinds.CNCF_DOC if is_document else kinds.CNCF_WEIGHT_CONFIG
    return layer.typed(
        by_name.get(classify(layer.name), fallback) if layer.name else kinds.CNCF_WEIGHT_CONFIG
    )


def unpacked(layer: Layer) -> Layer:
    """A CNCF layer in Docker's types, by what its file is called."""
    if layer.stated:
        kept = {key: text for key, text in layer.annotations.items() if key != kinds.ROLE}
        return layer.typed(layer.stated).annotated(kept)
    if layer.type in {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_GGUF} and "mmproj" in layer.name.lower():
        return layer.typed(kinds.PROJECTOR_LAYER)
    fixed = {
        kinds.CNCF_WEIGHT_GGUF: kinds.GGUF_LAYER,
        kinds.CNCF_WEIGHT_SAFETENSORS: kinds.SAFETENSORS_LAYER,
    }
    if layer.type.endswith((".tar", ".tar+gzip", ".tar+zstd")):
        raise UnsupportedModel(f"cannot convert a model with a layer of type `{layer.type}`")
    return layer.typed(fixed.get(layer.type) or _DOCKER_TYPES.get(classify(layer.name), kinds.FILE_LAYER))


def unpacked_config(manifest: Manifest, config: bytes, described: ModelConfig | None) -> JSON:
    """Docker's form of a description: CNCF's own words, filled up from the weights."""
    own = parse_config(config, CONFIG_CNCF)
    found = described or ModelConfig()
    weights = {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_GGUF, kinds.CNCF_WEIGHT_SAFETENSORS}
    size = sum(layer.size for layer in manifest.layers if layer.media_type in weights)
    whole = ModelConfig(
        format=own.format or found.format,
        architecture=own.architecture or found.architecture,
        parameters=own.parameters or found.parameters,
        quantization=own.quantization or found.quantization,
        size=found.size or size_text(size),
        context_size=found.context_size,
        created=own.created,
        metadata=found.metadata,
    )
    document: JSON = msgspec.json.decode(config_v01(whole, ()))
    return document
