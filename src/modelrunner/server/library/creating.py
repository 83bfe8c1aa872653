"""Models made of others and of files that were sent, as Ollama's `create` asks for."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelrunner.dialects import ollama_options
from modelrunner.dialects.go_jinja import to_jinja
from modelrunner.dialects.ollama import Message
from modelrunner.dialects.ollama_defaults import FIELD, Defaults, defaults_of
from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.edit import Changes, edited
from modelrunner.models.artifacts.packaging import Described, compose, layer_of
from modelrunner.models.description import kinds
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.weights.gguf import GGUFHeader, read_header
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.server.library.repackage import store_variant
from modelrunner.store.offload import in_thread
from modelrunner.store.store import Store

_JSON = dict[str, Any]
_QUANTIZED = "quantizing is not supported here"


class CreateRequest(msgspec.Struct, rename={"base": "from"}):
    """`POST /api/create`; files are named with the digests of what was sent to `/api/blobs`."""

    model: str | None = None
    name: str | None = None
    base: str | None = None
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: _JSON | None = None
    messages: list[Message] | None = None
    quantize: str | None = None
    quantization: str | None = None
    modelfile: str | None = None
    path: str | None = None
    stream: bool | None = None

    def check(self) -> None:
        """Refuse what cannot be done, before anything is.

        Raises:
            InvalidRequest: the field is named.
        """
        if self.quantize or self.quantization:
            raise InvalidRequest(
                f"{_QUANTIZED}: `{self.quantize or self.quantization}`",
                hint="quantize the file with llama.cpp's `llama-quantize`, or pull the model as you want it",
            )
        if self.modelfile or self.path:
            raise InvalidRequest(
                "a Modelfile as text is not read", hint="send its lines as fields: `from`, `system` and so on"
            )
        if not (self.name or self.model or "").strip():
            raise InvalidRequest("model is required", hint='say how it is to be called, as `"model": "mine"`')
        if bool(self.base) == bool(self.files):
            raise InvalidRequest("either `from` or `files` is required", hint='as in `"from": "ai/smollm2"`')
        ollama_options.check(self.parameters or {})


@dataclass(frozen=True, slots=True)
class Base:
    """What a model is made of."""

    manifest: Manifest
    config: bytes


async def base_of_files(store: Store, files: Mapping[str, str]) -> Base:
    """Describe GGUF files that are in the store as blobs.

    Raises:
        InvalidRequest: a digest is none, or nothing was sent under it; no weights among the files.
        UnsupportedModel: a file is no GGUF file.
    """
    described: list[Described] = []
    weights: list[GGUFHeader] = []
    for name, text in sorted(files.items()):
        digest = Digest.parse(text)
        header = await _header(store, name, digest)
        kind = _kind(header)
        if kind == kinds.GGUF_LAYER:
            weights.append(header)
        described.append(Described(_base_name(name), kind, digest, header.file_bytes))
    if not weights:
        raise InvalidRequest("no weights among the files", hint="a GGUF file of a model is needed")
    described.sort(key=lambda file: file.media_type != kinds.GGUF_LAYER)
    return Base(*compose(described, describe(weights), created=datetime.now(UTC)))


async def create(
    store: Store, base: Base, asked: CreateRequest, name: Reference
) -> AsyncGenerator[str, None]:
    """Make a model of a base, under a name, and say what is being done.

    Raises:
        InvalidRequest: a template or an adapter is none.
        UnsupportedModel: the base cannot be changed in this way.
    """
    before = defaults_of(base.config)
    layers: list[Descriptor] = []
    for title, text, kind in _texts(asked):
        layers.append(await _written(store, title, text, kind))
        yield f"creating new layer {layers[-1].digest}"
    for title, text in sorted((asked.adapters or {}).items()):
        digest = Digest.parse(text)
        header = await _header(store, title, digest)
        if _kind(header) != kinds.LORA_LAYER:
            raise InvalidRequest(f"not a LoRA adapter: `{title[:100]}`")
        file = Described(_base_name(title), kinds.LORA_LAYER, digest, header.file_bytes)
        layers.append(layer_of(file, datetime.now(UTC), kinds.CONFIG_V01))
        yield f"using existing layer {digest}"
    after = _defaults(before, asked)
    fields = {FIELD: msgspec.to_builtins(after)} if after != Defaults() else {}
    size = ollama_options.context_size(asked.parameters or {})
    changes = Changes(context_size=size, layers=layers, fields=fields)
    manifest, config = edited(base.manifest, base.config, changes)
    yield "writing manifest"
    await store_variant(store, manifest, config, name)
    yield "success"


def _defaults(before: Defaults, asked: CreateRequest) -> Defaults:
    parameters = {**before.parameters, **(asked.parameters or {})}
    return Defaults(
        system=before.system if asked.system is None else asked.system,
        parameters={name: value for name, value in parameters.items() if value is not None},
        messages=before.messages if asked.messages is None else asked.messages,
    )


def _texts(asked: CreateRequest) -> list[tuple[str, str, str]]:
    """The layers that are texts: name, content, type."""
    texts = []
    if asked.template:
        is_jinja = "{%" in asked.template
        template = asked.template if is_jinja else to_jinja(asked.template)
        texts.append(("template.jinja", template, kinds.TEMPLATE_LAYER))
    licenses = [asked.license] if isinstance(asked.license, str) else asked.license or []
    texts += [
        (f"LICENSE-{number}" if number > 1 else "LICENSE", text, kinds.LICENSE_LAYER)
        for number, text in enumerate(licenses, 1)
    ]
    return texts


async def _written(store: Store, name: str, text: str, kind: str) -> Descriptor:
    """Keep a text as a blob."""
    data = text.encode()
    file = Described(name, kind, Digest.of(data), len(data))
    layer = layer_of(file, datetime.now(UTC), kinds.CONFIG_V01)
    async with store.claim(layer) as done:
        if done < layer.size:
            await store.write(layer, done, _once(data[done:]))
    return layer


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _header(store: Store, name: str, digest: Digest) -> GGUFHeader:
    path = store.blob_path(digest)
    if not path.is_file():
        raise InvalidRequest(
            f"blob not found: `{digest}`, for `{name[:100]}`",
            hint="send the file first: `POST /api/blobs/{digest}`",
        )
    try:
        return await in_thread(read_header, path)
    except UnsupportedModel as exc:
        raise UnsupportedModel(f"`{name[:100]}`: {exc.message}", hint=exc.hint) from exc


def _kind(header: GGUFHeader) -> str:
    if header.metadata.get("general.architecture") == "clip":
        return kinds.PROJECTOR_LAYER
    return kinds.LORA_LAYER if header.metadata.get("general.type") == "adapter" else kinds.GGUF_LAYER


def _base_name(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2]
    return base if base.lower().endswith(".gguf") else f"{base or 'model'}.gguf"
