"""A variant of an artifact: another context size, more layers, another form; everything else stays as it was.

The documents are edited as they are, so that what we do not know of them stays, and their types with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgspec

from modelrunner.errors import UnsupportedModel
from modelrunner.models.artifacts.forms import JSON, Layer, all_packed, packed, unpacked, unpacked_config
from modelrunner.models.artifacts.packages import Extras
from modelrunner.models.artifacts.packaging import (
    Described,
    Draft,
    Tell,
    hash_files,
    ignore,
    layer_of,
    newest,
)
from modelrunner.models.description import kinds
from modelrunner.models.description.config import (
    ModelConfig,
    check_context_size,
    config_cncf,
    go_json,
    parse_config,
)
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_V02, FileKind, classify
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import UNREADABLE, Descriptor, Manifest, parse_manifest

# Of these there is at most one that is used, so a new one takes the place of the old.
_SINGLE = {
    kinds.TEMPLATE_LAYER: {kinds.TEMPLATE_LAYER},
    kinds.PROJECTOR_LAYER: {kinds.PROJECTOR_LAYER, kinds.PROJECTOR_LAYER_PUBLIC},
}


class Form(StrEnum):
    """Whose kind of artifact it is."""

    DOCKER = "docker"
    CNCF = "cncf"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different. Layers are in Docker's types; `form` None keeps the one it has.

    `described` is what the weights say of themselves: Docker's form keeps more of that than CNCF's. `fields`
    stand in the configuration beside those that every program reads.
    """

    context_size: int | None = None
    layers: Sequence[Descriptor] = ()
    form: Form | None = None
    described: ModelConfig | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def edited(manifest: Manifest, config: bytes, changes: Changes) -> tuple[Manifest, bytes]:
    """Make the manifest and the configuration of a variant.

    Raises:
        InvalidRequest: the context size is out of range.
        UnsupportedModel: the form has no place for a context size, or the documents cannot be read.
    """
    try:
        document: JSON = msgspec.json.decode(manifest.raw)
        description: JSON = msgspec.json.decode(config, type=dict[str, Any])
        msgspec.convert(description, _Edited)
    except UNREADABLE as exc:
        raise UnsupportedModel(f"unreadable model configuration: {exc}") from exc
    layers = [
        Layer(raw, diff)
        for raw, diff in zip(document.get("layers") or [], _diff_ids(description, manifest), strict=True)
    ]
    kind = manifest.config.media_type
    if changes.form is Form.CNCF and kind != CONFIG_CNCF:
        description = msgspec.json.decode(config_cncf(parse_config(config, kind), ()))
        layers, kind = all_packed(layers), CONFIG_CNCF
    elif changes.form is Form.DOCKER and kind == CONFIG_CNCF:
        description = unpacked_config(manifest, config, changes.described)
        layers, kind = [unpacked(layer) for layer in layers], CONFIG_V02
    layers = _with_added(layers, changes.layers, kind)
    if changes.layers or kind != manifest.config.media_type:
        _set_diff_ids(description, layers, kind)
    if changes.context_size is not None:
        _set_context_size(description, changes.context_size, kind)
    config_bytes = _written({**description, **changes.fields})
    document = _headed(document, kind, manifest)
    document["config"] = {
        **document["config"],
        "mediaType": kind,
        "size": len(config_bytes),
        "digest": str(Digest.of(config_bytes)),
    }
    document["layers"] = [layer.raw for layer in layers]
    return parse_manifest(_written(document), manifest.media_type), config_bytes


def draft_variant(
    manifest: Manifest,
    config: bytes,
    extras: Extras,
    form: Form | None,
    *,
    described: ModelConfig | None = None,
    tell: Tell = ignore,
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
    variant, config_bytes = edited(manifest, config, Changes(extras.context_size, added, form, described))
    return Draft(
        manifest_value=variant,
        config=parse_config(config_bytes, variant.config.media_type),
        config_bytes=config_bytes,
        paths={digest: path for path, (digest, _) in hashed.items()},
    )


def _written(document: JSON) -> bytes:
    try:
        return go_json(document)
    except RecursionError as exc:
        raise UnsupportedModel("a document of the model is nested too deeply") from exc


class _DockerDiffs(msgspec.Struct):
    diff_ids: list[str] | None = None


class _PackDiffs(msgspec.Struct, rename="camel"):
    diff_ids: list[str] | None = None


class _Edited(msgspec.Struct):
    """The parts of a configuration that are edited have the shape that they should have."""

    config: dict[str, Any] | None = None
    rootfs: _DockerDiffs | None = None
    modelfs: _PackDiffs | None = None


def _with_added(layers: list[Layer], added: Sequence[Descriptor], kind: str) -> list[Layer]:
    for blob in added:
        layer = Layer(
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
        layer = packed(layer) if kind == CONFIG_CNCF else layer
        layers = [old for old in layers if not _is_same(old, layer)]
        layers.append(layer)
    return layers


def _is_same(one: Layer, other: Layer) -> bool:
    """Whether two layers are the same file for the same purpose: a licence may have a template's bytes."""
    return (one.raw["digest"], one.type, one.path) == (other.raw["digest"], other.type, other.path)


def _replaces(media_type: str, old: Layer) -> bool:
    """Whether a new layer of a type takes an old one's place; templates in folders have uses of their own."""
    if "/" in old.path:
        return False
    if old.type in _SINGLE[media_type] or old.stated == media_type:
        return True
    if media_type == kinds.TEMPLATE_LAYER:
        return old.type == kinds.CNCF_WEIGHT_CONFIG and classify(old.name) is FileKind.TEMPLATE
    return old.type in {kinds.CNCF_WEIGHT, kinds.GGUF_LAYER} and "mmproj" in old.name.lower()


def _diff_ids(description: JSON, manifest: Manifest) -> list[str]:
    """The diff ids that there are; a layer without one has that of its digest."""
    listed = (description.get("rootfs") or {}).get("diff_ids") or (description.get("modelfs") or {}).get(
        "diffIds"
    )
    known = listed if isinstance(listed, list) and len(listed) == len(manifest.layers) else None
    return [str(each) for each in known] if known else [str(layer.digest) for layer in manifest.layers]


def _set_diff_ids(description: JSON, layers: Sequence[Layer], kind: str) -> None:
    diff_ids = [layer.diff_id for layer in layers]
    if kind == CONFIG_CNCF:
        description["modelfs"] = {"type": "layers", **(description.get("modelfs") or {}), "diffIds": diff_ids}
    else:
        description["rootfs"] = {"type": "rootfs", **(description.get("rootfs") or {}), "diff_ids": diff_ids}


def _set_context_size(description: JSON, tokens: int, kind: str) -> None:
    check_context_size(tokens)
    if kind == CONFIG_CNCF:
        raise UnsupportedModel(
            f"a model with configuration `{kind}` cannot carry a context size",
            hint="convert it with `--format docker`",
        )
    description["config"] = {**(description.get("config") or {}), "context_size": tokens}


def _headed(document: JSON, kind: str, manifest: Manifest) -> JSON:
    """The manifest with the artifact type that goes with its configuration, in the usual order of fields."""
    if kind == manifest.config.media_type:
        return dict(document)
    rest = {
        key: value
        for key, value in document.items()
        if key not in {"schemaVersion", "mediaType", "artifactType"}
    }
    artifact = {"artifactType": kinds.CNCF_MANIFEST} if kind == CONFIG_CNCF else {}
    head: JSON = {key: document[key] for key in ("schemaVersion", "mediaType") if key in document}
    return {**head, **artifact, **rest}
