"""A variant of an artifact: another context size, more layers, another form; everything else stays as it was.

The documents are edited as they are, so that what we do not know of them stays, and their types with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

import msgspec

from modelrunner.errors import UnsupportedModel
from modelrunner.models import kinds
from modelrunner.models.config import (
    check_context_size,
    config_cncf,
    config_v01,
    go_json,
    parse_config,
)
from modelrunner.models.kinds import CONFIG_CNCF, CONFIG_V02, FileKind, classify
from modelrunner.models.packages import Extras
from modelrunner.models.packaging import (
    PACK_TYPES,
    Described,
    Draft,
    Tell,
    hash_files,
    ignore,
    layer_of,
    newest,
)
from modelrunner.models.safetensors_config import size_text
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import UNREADABLE, Descriptor, Manifest, parse_manifest

_JSON = dict[str, Any]

# Of these there is at most one that is used, so a new one takes the place of the old.
_SINGLE = {
    kinds.TEMPLATE_LAYER: {kinds.TEMPLATE_LAYER},
    kinds.PROJECTOR_LAYER: {kinds.PROJECTOR_LAYER, kinds.PROJECTOR_LAYER_PUBLIC},
}
_DOCKER_TYPES = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
}


class Form(StrEnum):
    """Whose kind of artifact it is."""

    DOCKER = "docker"
    CNCF = "cncf"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different. Layers are in Docker's types; `form` None keeps the one it has."""

    context_size: int | None = None
    layers: Sequence[Descriptor] = ()
    form: Form | None = None


def edited(manifest: Manifest, config: bytes, changes: Changes) -> tuple[Manifest, bytes]:
    """Make the manifest and the configuration of a variant.

    Raises:
        InvalidRequest: the context size is out of range.
        UnsupportedModel: the form has no place for a context size, or the documents cannot be read.
    """
    try:
        document: _JSON = msgspec.json.decode(manifest.raw)
        description: _JSON = msgspec.json.decode(config, type=dict[str, Any])
    except UNREADABLE as exc:
        raise UnsupportedModel(f"unreadable model configuration: {exc}") from exc
    layers = [
        _Layer(raw, diff)
        for raw, diff in zip(document.get("layers") or [], _diff_ids(description, manifest), strict=True)
    ]
    kind = manifest.config.media_type
    if changes.form is Form.CNCF and kind != CONFIG_CNCF:
        description = msgspec.json.decode(config_cncf(parse_config(config, kind), ()))
        layers, kind = [_packed(layer) for layer in layers], CONFIG_CNCF
    elif changes.form is Form.DOCKER and kind == CONFIG_CNCF:
        description = _unpacked_config(manifest, config)
        layers, kind = [_unpacked(layer) for layer in layers], CONFIG_V02
    layers = _with_added(layers, changes.layers, kind)
    if changes.layers or kind != manifest.config.media_type:
        _set_diff_ids(description, layers, kind)
    if changes.context_size is not None:
        _set_context_size(description, changes.context_size, kind)
    config_bytes = go_json(description)
    document = _headed(document, kind, manifest)
    document["config"] = {
        **document["config"],
        "mediaType": kind,
        "size": len(config_bytes),
        "digest": str(Digest.of(config_bytes)),
    }
    document["layers"] = [layer.raw for layer in layers]
    return parse_manifest(go_json(document), manifest.media_type), config_bytes


def draft_variant(
    manifest: Manifest, config: bytes, extras: Extras, form: Form | None, *, tell: Tell = ignore
) -> Draft:
    """Make a variant with files of this machine added; the layers that it keeps are not in the draft.

    Raises:
        InvalidRequest: a file cannot be read, or the context size is out of range.
        UnsupportedModel: see `edited`; a projector or an adapter is none.
    """
    kind = CONFIG_CNCF if form is Form.CNCF else manifest.config.media_type
    packed = kind == CONFIG_CNCF and form is not Form.DOCKER
    replace(extras, packed=packed).check()
    hashed = hash_files([file.path for file in extras.files], tell)
    created = extras.created or newest(extras.files)
    added = [
        layer_of(Described(file.name, file.media_type, *hashed[file.path]), created, kinds.CONFIG_V01)
        for file in extras.files
    ]
    variant, config_bytes = edited(manifest, config, Changes(extras.context_size, added, form))
    return Draft(
        manifest_value=variant,
        config=parse_config(config_bytes, variant.config.media_type),
        config_bytes=config_bytes,
        paths={digest: path for path, (digest, _) in hashed.items()},
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    raw: _JSON
    diff_id: str

    @property
    def type(self) -> str:
        return str(self.raw.get("mediaType", ""))

    @property
    def name(self) -> str:
        annotations: Mapping[str, str] = self.raw.get("annotations") or {}
        return PurePosixPath(annotations.get(kinds.FILEPATH, "")).name

    def typed(self, media_type: str) -> "_Layer":
        return _Layer({**self.raw, "mediaType": media_type}, self.diff_id)


def _packed(layer: _Layer) -> _Layer:
    """A Docker layer in CNCF's types. Source: what Docker Model Runner writes with `--format cncf`."""
    known = {
        **PACK_TYPES,
        kinds.VLLM_CONFIG_ARCHIVE: kinds.CNCF_WEIGHT_CONFIG,
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


def _unpacked(layer: _Layer) -> _Layer:
    """A CNCF layer in Docker's types, by what its file is called."""
    if layer.type in {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_GGUF} and "mmproj" in layer.name.lower():
        return layer.typed(kinds.PROJECTOR_LAYER)
    fixed = {
        kinds.CNCF_WEIGHT_GGUF: kinds.GGUF_LAYER,
        kinds.CNCF_WEIGHT_SAFETENSORS: kinds.SAFETENSORS_LAYER,
    }
    if layer.type.endswith((".tar", ".tar+gzip", ".tar+zstd")):
        raise UnsupportedModel(f"cannot convert a model with a layer of type `{layer.type}`")
    return layer.typed(fixed.get(layer.type) or _DOCKER_TYPES.get(classify(layer.name), kinds.FILE_LAYER))


def _unpacked_config(manifest: Manifest, config: bytes) -> _JSON:
    own = parse_config(config, CONFIG_CNCF)
    weights = {kinds.CNCF_WEIGHT, kinds.CNCF_WEIGHT_GGUF, kinds.CNCF_WEIGHT_SAFETENSORS}
    size = sum(layer.size for layer in manifest.layers if layer.media_type in weights)
    document: _JSON = msgspec.json.decode(config_v01(replace(own, size=size_text(size)), ()))
    return document


def _with_added(layers: list[_Layer], added: Sequence[Descriptor], kind: str) -> list[_Layer]:
    for blob in added:
        layer = _Layer(
            {
                "mediaType": blob.media_type,
                "size": blob.size,
                "digest": str(blob.digest),
                "annotations": dict(sorted(blob.annotations.items())),
            },
            str(blob.digest),
        )
        if blob.media_type in _SINGLE:
            layers = [old for old in layers if not _replaces(blob.media_type, old)]
        layers = [old for old in layers if old.raw["digest"] != layer.raw["digest"]]
        layers.append(_packed(layer) if kind == CONFIG_CNCF else layer)
    return layers


def _replaces(media_type: str, old: _Layer) -> bool:
    if old.type in _SINGLE[media_type]:
        return True
    if media_type == kinds.TEMPLATE_LAYER:
        return old.type == kinds.CNCF_WEIGHT_CONFIG and classify(old.name) is FileKind.TEMPLATE
    return old.type == kinds.CNCF_WEIGHT and "mmproj" in old.name.lower()


def _diff_ids(description: _JSON, manifest: Manifest) -> list[str]:
    """The diff ids that there are; a layer without one has that of its digest."""
    listed = (description.get("rootfs") or {}).get("diff_ids") or (description.get("modelfs") or {}).get(
        "diffIds"
    )
    known = listed if isinstance(listed, list) and len(listed) == len(manifest.layers) else None
    return [str(each) for each in known] if known else [str(layer.digest) for layer in manifest.layers]


def _set_diff_ids(description: _JSON, layers: Sequence[_Layer], kind: str) -> None:
    diff_ids = [layer.diff_id for layer in layers]
    if kind == CONFIG_CNCF:
        description["modelfs"] = {"type": "layers", **(description.get("modelfs") or {}), "diffIds": diff_ids}
    else:
        description["rootfs"] = {"type": "rootfs", **(description.get("rootfs") or {}), "diff_ids": diff_ids}


def _set_context_size(description: _JSON, tokens: int, kind: str) -> None:
    check_context_size(tokens)
    if kind == CONFIG_CNCF:
        raise UnsupportedModel(
            f"a model with configuration `{kind}` cannot carry a context size",
            hint="convert it with `--format docker`",
        )
    description["config"] = {**(description.get("config") or {}), "context_size": tokens}


def _headed(document: _JSON, kind: str, manifest: Manifest) -> _JSON:
    """The manifest with the artifact type that goes with its configuration, in the usual order of fields."""
    if kind == manifest.config.media_type:
        return dict(document)
    rest = {
        key: value
        for key, value in document.items()
        if key not in {"schemaVersion", "mediaType", "artifactType"}
    }
    artifact = {"artifactType": kinds.CNCF_MANIFEST} if kind == CONFIG_CNCF else {}
    head: _JSON = {key: document[key] for key in ("schemaVersion", "mediaType") if key in document}
    return {**head, **artifact, **rest}
