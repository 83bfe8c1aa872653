"""A look at a model that is somewhere else: the headers of its weights, by range, without the weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

from modelrunner.errors import DigestMismatch, UnsupportedModel
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.description.kinds import FileKind, Format
from modelrunner.models.description.safetensors_config import (
    MAX_CONFIG_BYTES,
    architecture,
    cache_per_token,
    chat_template,
    context_size,
)
from modelrunner.models.description.safetensors_config import describe as describe_safetensors
from modelrunner.models.weights import ctranslate2, gguf, safetensors
from modelrunner.models.weights.ctranslate2 import CTranslate2Header
from modelrunner.models.weights.gguf import GGUFHeader
from modelrunner.models.weights.headers import FIRST_PIECE, HeaderIncomplete, grown
from modelrunner.models.weights.safetensors import SafetensorsHeader
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.transfer import Source, read_blob

MAX_TEMPLATE_BYTES = 4 << 20  # also of a `tokenizer_config.json`, which lists all special tokens besides
_MOST = 128 << 20  # bytes of one header, as the readers of files have it
_WEIGHTS = {
    kinds.GGUF_LAYER: Format.GGUF,
    kinds.CNCF_WEIGHT_GGUF: Format.GGUF,
    kinds.SAFETENSORS_LAYER: Format.SAFETENSORS,
    kinds.CNCF_WEIGHT_SAFETENSORS: Format.SAFETENSORS,
}
_LOADED = {  # what an engine has in memory
    *_WEIGHTS,
    kinds.CNCF_WEIGHT,
    kinds.DDUF_LAYER,
    kinds.CTRANSLATE2_LAYER,
    kinds.ONNX_LAYER,
    kinds.PROJECTOR_LAYER,
    kinds.PROJECTOR_LAYER_PUBLIC,
    kinds.LORA_LAYER,
}
_TEMPLATE_KEY = "tokenizer.chat_template"
_TOKENIZER = "tokenizer_config.json"
_MOST_TEMPLATES = 3  # files that are looked into

_Header = TypeVar("_Header")


@dataclass(frozen=True, slots=True)
class Peek:
    """What the headers say, in bytes and tokens.

    `config` is the artifact's own description where it has one, filled up from what the weights say, which is
    `found`. `size` is that of all layers; `weights` that of what an engine loads. What a context takes
    follows from `headers`, which are those of GGUF files; of other formats a token takes `per_token`, 0 when
    nothing says.
    """

    config: ModelConfig
    found: ModelConfig
    template: str | None
    size: int
    weights: int
    tensors: int
    per_token: int = 0
    headers: tuple[GGUFHeader, ...] = ()


async def gguf_header(source: Source, blob: Descriptor, name: str) -> GGUFHeader:
    """Read the header of GGUF weights.

    Raises:
        UnsupportedModel: it is no GGUF file, or its header makes no sense.
        RunnerError: what the source has against it.
    """
    return await _header(source, blob, name, gguf.parse_header)


async def safetensors_header(source: Source, blob: Descriptor, name: str) -> SafetensorsHeader:
    """Read the header of safetensors weights; raises as `gguf_header` does."""
    return await _header(source, blob, name, safetensors.parse_header)


async def ctranslate2_spec(source: Source, blob: Descriptor, name: str) -> CTranslate2Header:
    """Read what kind of model a file of CTranslate2 is; raises as `gguf_header` does."""
    return await _header(source, blob, name, ctranslate2.parse_spec)


async def peek(source: Source, manifest: Manifest, config: ModelConfig) -> Peek:
    """Look at a model's weights; one of a format without such headers is described by its configuration.

    Raises:
        UnsupportedModel: a header makes no sense.
        RunnerError: what the source has against it.
    """
    weights = [(layer, kind) for layer in manifest.layers if (kind := weight_format(layer, config))]
    packed = [
        await gguf_header(source, layer, _name(layer)) for layer, kind in weights if kind is Format.GGUF
    ]
    loose = [
        await safetensors_header(source, layer, _name(layer))
        for layer, kind in weights
        if kind is Format.SAFETENSORS
    ]
    beside = await _beside(source, manifest) if loose else b""
    found = describe(packed) if packed else _described(loose, beside) if loose else ModelConfig()
    if manifest.config.media_type == kinds.CONFIG_CNCF:
        config = replace(config, size="")  # whose form has none: the number of parameters stands in for it
    return Peek(
        config=_filled(config, found),
        found=found,
        template=await _template(source, manifest, packed),
        size=sum(layer.size for layer in manifest.layers),
        weights=sum(layer.size for layer in manifest.layers if layer.media_type in _LOADED),
        tensors=sum(len(each.tensors) for each in packed) + sum(len(each.tensors) for each in loose),
        per_token=cache_per_token(beside),
        headers=tuple(packed),
    )


def weight_format(layer: Descriptor, config: ModelConfig) -> Format | None:
    """The format of a layer of weights; None for any other layer, a projector among them."""
    known = _WEIGHTS.get(layer.media_type)
    if known is None and layer.media_type == kinds.CNCF_WEIGHT:
        kind = kinds.classify(_name(layer))
        of_name = {FileKind.GGUF: Format.GGUF, FileKind.SAFETENSORS: Format.SAFETENSORS}.get(kind)
        known = of_name or (config.format if config.format is not Format.DDUF else None)
    aside = "mmproj" in _name(layer).lower() or kinds.ROLE in layer.annotations
    return None if aside else known


def _described(headers: Sequence[SafetensorsHeader], config_json: bytes) -> ModelConfig:
    described = describe_safetensors(headers, context_size=context_size(config_json))
    return replace(described, architecture=described.architecture or architecture(config_json))


async def _beside(source: Source, manifest: Manifest) -> bytes:
    """The model's `config.json`, which says what the weights do not; empty when there is none."""
    found = [layer for layer in manifest.layers if _path(layer) == "config.json"]
    if not found or found[0].size > MAX_CONFIG_BYTES:
        return b""
    return await read_blob(source, found[0], limit=MAX_CONFIG_BYTES)


async def _header(
    source: Source, blob: Descriptor, name: str, parse: Callable[[bytes, int, str], _Header]
) -> _Header:
    wanted = min(FIRST_PIECE, blob.size)
    head = b""
    while True:
        head += await _range(source, blob, len(head), wanted)
        try:
            return parse(head, blob.size, name)
        except HeaderIncomplete as exc:
            if exc.needed > min(_MOST, blob.size):
                raise UnsupportedModel(f"the header of `{name}` is too large") from exc
            wanted = grown(exc.needed, len(head), blob.size)


async def _range(source: Source, blob: Descriptor, start: int, stop: int) -> bytes:
    async with source.open(blob, start, stop) as (position, chunks):
        body = bytearray()
        skip = start - position
        async for piece in chunks:  # which the source closes
            body += piece
            if len(body) >= skip + stop - start:
                break
    if len(body) < skip + stop - start or skip < 0:
        raise DigestMismatch(f"blob `{blob.digest}` is shorter than its manifest says", hint="try again")
    return bytes(body[skip : skip + stop - start])


async def _template(source: Source, manifest: Manifest, headers: Sequence[GGUFHeader]) -> str | None:
    """The chat template: the artifact's own before that of the weights, a file of its own before a part."""
    files = sorted(filter(_has_template, manifest.layers), key=_template_rank)
    for layer in files[:_MOST_TEMPLATES]:
        raw = await read_blob(source, layer, limit=MAX_TEMPLATE_BYTES)
        if not _name(layer).endswith(".json"):
            return raw.decode("utf-8", "replace")
        if (text := chat_template(raw)) is not None:
            return text
    inside = (header.metadata.get(_TEMPLATE_KEY) for header in headers)
    return next((text for text in inside if isinstance(text, str)), None)


def _has_template(layer: Descriptor) -> bool:
    own = layer.media_type == kinds.TEMPLATE_LAYER or kinds.unpacked_type(
        layer.annotations.get(kinds.ROLE)
    ) == (kinds.TEMPLATE_LAYER)
    named = kinds.classify(_name(layer)) is FileKind.TEMPLATE or _name(layer) == _TOKENIZER
    return (own or named) and layer.size <= MAX_TEMPLATE_BYTES


def _template_rank(layer: Descriptor) -> tuple[int, bool, bool, bool, str]:
    path = _path(layer)
    return (
        path.count("/"),
        _name(layer) == _TOKENIZER,
        path.endswith(".json"),
        path != "chat_template.jinja",
        path,
    )


def _filled(own: ModelConfig, found: ModelConfig) -> ModelConfig:
    return ModelConfig(
        format=own.format or found.format,
        architecture=own.architecture or found.architecture,
        parameters=own.parameters or found.parameters,
        quantization=own.quantization or found.quantization,
        size=own.size or found.size,
        context_size=own.context_size or found.context_size,
        created=own.created,
        metadata=own.metadata or found.metadata,
    )


def _path(layer: Descriptor) -> str:
    return layer.annotations.get(kinds.FILEPATH, "")


def _name(layer: Descriptor) -> str:
    return PurePosixPath(_path(layer)).name or layer.digest.short
