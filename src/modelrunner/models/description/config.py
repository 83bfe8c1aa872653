"""ModelConfig: what an artifact says of its model, from and to Docker's layouts and CNCF ModelPack."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_TYPES, CONFIG_V01, CONFIG_V02, Format
from modelrunner.oci.digest import Digest

MAX_CONTEXT_SIZE = 2**31 - 1  # tokens; the field is a 32-bit integer for other readers

_NOTHING: Mapping[str, str] = MappingProxyType({})
# A model of Docker keeps its header under the name of its format; diffusers is what DDUF was called first.
METADATA_KEYS = {**{form: form.value for form in Format}, Format.DDUF: "diffusers"}
_FORMATS = {**{str(member): member for member in Format}, "diffusers": Format.DDUF}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# What Go's encoding/json writes for characters that mean something in HTML or JavaScript.
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's own description. Texts are for display and empty when unknown.

    `context_size` is in tokens. `metadata` holds the header of the weights, stringified; which header it is
    follows from `format`.
    """

    format: Format | None = None
    architecture: str = ""
    parameters: str = ""
    quantization: str = ""
    size: str = ""
    context_size: int | None = None
    created: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


class _DockerInner(msgspec.Struct):
    format: str | None = None
    quantization: str | None = None
    parameters: str | None = None
    architecture: str | None = None
    size: str | None = None
    gguf: dict[str, object] | None = None
    safetensors: dict[str, object] | None = None
    diffusers: dict[str, object] | None = None
    ctranslate2: dict[str, object] | None = None
    onnx: dict[str, object] | None = None
    context_size: int | None = None


class _DockerDescriptor(msgspec.Struct):
    created: str | None = None
    createdAt: str | None = None  # noqa: N815 - the name in docker/model-spec, which differs from Docker's own


class _Docker(msgspec.Struct):
    config: _DockerInner | None = None
    descriptor: _DockerDescriptor | None = None


class _PackInner(msgspec.Struct, rename="camel"):
    architecture: str | None = None
    format: str | None = None
    param_size: str | None = None
    quantization: str | None = None


class _PackDescriptor(msgspec.Struct, rename="camel"):
    created_at: str | None = None


class _Pack(msgspec.Struct):
    config: _PackInner | None = None
    descriptor: _PackDescriptor | None = None


class _Shape(msgspec.Struct):
    """As much of an unknown configuration as tells whose it is."""

    modelfs: msgspec.Raw = msgspec.Raw()
    config: dict[str, msgspec.Raw] | None = None
    descriptor: dict[str, msgspec.Raw] | None = None


def check_context_size(tokens: int) -> None:
    """Refuse a context size that a configuration cannot carry.

    Raises:
        InvalidRequest: it is not from 1 to `MAX_CONTEXT_SIZE`.
    """
    if not 0 < tokens <= MAX_CONTEXT_SIZE:
        raise InvalidRequest(
            f"context size out of range: `{tokens}`", hint=f"give 1 to {MAX_CONTEXT_SIZE} tokens"
        )


def check_config_type(media_type: str) -> None:
    """Refuse an artifact whose configuration nothing here can read; asked before its layers are fetched.

    Raises:
        UnsupportedModel: the type is none of Docker's two and not CNCF's.
    """
    if media_type not in CONFIG_TYPES:
        raise UnsupportedModel(
            f"unsupported model config media type: `{media_type[:200]}`",
            hint=f"this is no model, or needs a newer version; supported are {', '.join(CONFIG_TYPES)}",
        )


def parse_config(raw: bytes, media_type: str) -> ModelConfig:
    """Read a configuration by its media type; its content decides only when the type is unknown.

    Raises:
        UnsupportedModel: it is not a JSON object of the right shape.
    Source: docker/model-spec describes `descriptor.createdAt` for Docker's own form, so content alone would
        take such a one for ModelPack.
    """
    try:
        if media_type == CONFIG_CNCF or (media_type not in {CONFIG_V01, CONFIG_V02} and _is_pack(raw)):
            return _from_pack(msgspec.json.decode(raw, type=_Pack))
        return _from_docker(msgspec.json.decode(raw, type=_Docker))
    except _UNREADABLE as exc:
        raise UnsupportedModel(f"unreadable model configuration: {exc}") from exc


def config_v01(config: ModelConfig, diff_ids: Sequence[Digest]) -> bytes:
    """Write Docker's form, versions 0.1 and 0.2 alike, byte for byte as the reference does."""
    inner: dict[str, object] = {
        "format": config.format,
        "quantization": config.quantization,
        "parameters": config.parameters,
        "architecture": config.architecture,
        "size": config.size,
    }
    if config.format is not None:
        inner[METADATA_KEYS[config.format]] = dict(sorted(config.metadata.items()))
    inner["context_size"] = config.context_size
    return go_json(
        {
            "config": _present(inner),
            "descriptor": _present({"created": config.created and rfc3339(config.created)}),
            "rootfs": {"type": "rootfs", "diff_ids": [str(digest) for digest in diff_ids]},
        }
    )


def config_cncf(config: ModelConfig, diff_ids: Sequence[Digest]) -> bytes:
    """Write CNCF ModelPack's form; it has no place for size, context size and the weights' header."""
    return go_json(
        {
            "descriptor": _present(
                {
                    "createdAt": config.created and rfc3339(config.created),
                    "family": config.architecture,
                }
            ),
            "modelfs": {"type": "layers", "diffIds": [str(digest) for digest in diff_ids]},
            "config": _present(
                {
                    "architecture": config.architecture,
                    "format": config.format,
                    "paramSize": _one_decimal(config.parameters),
                    "quantization": config.quantization,
                }
            ),
        }
    )


def go_json(value: object) -> bytes:
    """Write JSON as Go's encoding/json does: compact, in the order given, with its HTML escapes.

    Digests are of these bytes, so that the same files give the same id with either tool.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
    return text.encode("utf-8", "replace")  # file names of other encodings cannot be said in JSON


def rfc3339(moment: datetime) -> str:
    """Write a moment in UTC as Go does: `2025-06-15T12:00:00Z`, with a fraction only where there is one."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if moment.microsecond else text) + "Z"


def _one_decimal(parameters: str) -> str:
    """Shorten `361.82M` to `361.8M`. Source: CNCF model-spec, config.md, `paramSize`."""
    match = re.fullmatch(r"(\d+\.\d+)(\D*)", parameters, re.ASCII)
    return f"{float(match[1]):.1f}".removesuffix(".0") + match[2] if match else parameters


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    """Without what is empty: Go's `omitempty`."""
    return {key: value for key, value in fields.items() if value}


def _is_pack(raw: bytes) -> bool:
    try:
        shape = msgspec.json.decode(raw, type=_Shape)
    except _UNREADABLE:
        return False
    return (
        bool(bytes(shape.modelfs))
        or "paramSize" in (shape.config or {})
        or "createdAt" in (shape.descriptor or {})
    )


def _from_docker(document: _Docker) -> ModelConfig:
    inner, descriptor = document.config or _DockerInner(), document.descriptor or _DockerDescriptor()
    headers = (inner.gguf, inner.safetensors, inner.diffusers, inner.ctranslate2, inner.onnx)
    metadata = next(filter(None, headers), {})
    tokens = inner.context_size or 0
    return ModelConfig(
        format=_format(inner.format),
        architecture=inner.architecture or "",
        parameters=_compact(inner.parameters or ""),
        quantization=inner.quantization or "",
        size=_compact(inner.size or ""),
        context_size=tokens if 0 < tokens <= MAX_CONTEXT_SIZE else None,
        created=_moment(descriptor.created or descriptor.createdAt),
        metadata=MappingProxyType({key: _text(value) for key, value in metadata.items()}),
    )


def _from_pack(document: _Pack) -> ModelConfig:
    inner, descriptor = document.config or _PackInner(), document.descriptor or _PackDescriptor()
    return ModelConfig(
        format=_format(inner.format),
        architecture=inner.architecture or "",
        parameters=_compact(inner.param_size or ""),
        quantization=inner.quantization or "",
        size=_compact(inner.param_size or ""),
        created=_moment(descriptor.created_at),
    )


def _format(text: str | None) -> Format | None:
    return _FORMATS.get((text or "").lower())


def _compact(text: str) -> str:
    """Write `361.82 M`, as older artifacts have it, like newer ones: `361.82M`."""
    return re.sub(r"(?<=[0-9])\s+(?=[A-Za-z]+$)", "", text.strip())


def _moment(text: str | None) -> datetime | None:
    """Read RFC 3339; what is no date is no reason to refuse a model."""
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else go_json(value).decode()
