"""A look at a model that is somewhere else: the headers of its weights, by range, without the weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from modelrunner.errors import DigestMismatch, UnsupportedModel
from modelrunner.models import gguf, kinds, safetensors
from modelrunner.models.config import ModelConfig
from modelrunner.models.gguf import GGUFHeader
from modelrunner.models.gguf_config import describe
from modelrunner.models.headers import FIRST_PIECE, HeaderIncomplete, grown
from modelrunner.models.kinds import FileKind, Format
from modelrunner.models.safetensors import SafetensorsHeader
from modelrunner.models.safetensors_config import describe as describe_safetensors
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.transfer import Source, read_blob

MAX_TEMPLATE_BYTES = 1 << 20
_MOST = 128 << 20  # bytes of one header, as the readers of files have it
_WEIGHTS = {
    kinds.GGUF_LAYER: Format.GGUF,
    kinds.CNCF_WEIGHT_GGUF: Format.GGUF,
    kinds.SAFETENSORS_LAYER: Format.SAFETENSORS,
    kinds.CNCF_WEIGHT_SAFETENSORS: Format.SAFETENSORS,
}
_TEMPLATE_KEY = "tokenizer.chat_template"

_Header = TypeVar("_Header")


@dataclass(frozen=True, slots=True)
class Peek:
    """What the headers say. `size` is that of all layers, `weights` that of the weights, both in bytes.

    `config` is the artifact's own description where it has one, filled up from the headers.
    """

    config: ModelConfig
    template: str | None
    size: int
    weights: int
    headers: tuple[GGUFHeader, ...]
    tensors: int


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
    found = describe(packed) if packed else describe_safetensors(loose) if loose else ModelConfig()
    return Peek(
        config=_filled(config, found),
        template=await _template(source, manifest, packed),
        size=sum(layer.size for layer in manifest.layers),
        weights=sum(layer.size for layer, _ in weights),
        headers=tuple(packed),
        tensors=sum(len(each.tensors) for each in packed) + sum(len(each.tensors) for each in loose),
    )


def weight_format(layer: Descriptor, config: ModelConfig) -> Format | None:
    """The format of a layer of weights; None for any other layer, a projector among them."""
    known = _WEIGHTS.get(layer.media_type)
    if known is None and layer.media_type == kinds.CNCF_WEIGHT:
        kind = kinds.classify(_name(layer))
        of_name = {FileKind.GGUF: Format.GGUF, FileKind.SAFETENSORS: Format.SAFETENSORS}.get(kind)
        known = of_name or (config.format if config.format is not Format.DDUF else None)
    return None if known and "mmproj" in _name(layer).lower() else known


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
    """The chat template: the artifact's own before that of the weights."""
    for layer in manifest.layers:
        own = layer.media_type == kinds.TEMPLATE_LAYER or _name(layer).endswith(".jinja")
        if own and layer.size <= MAX_TEMPLATE_BYTES:
            raw = await read_blob(source, layer, limit=MAX_TEMPLATE_BYTES)
            return raw.decode("utf-8", "replace")
    inside = (header.metadata.get(_TEMPLATE_KEY) for header in headers)
    return next((text for text in inside if isinstance(text, str)), None)


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


def _name(layer: Descriptor) -> str:
    path = layer.annotations.get(kinds.FILEPATH, "")
    return PurePosixPath(path).name or layer.digest.short
