"""Hugging Face's hub: a repository of it becomes a model, described from its listing and its headers.

A revision is resolved to its commit first, so what is fetched cannot change on the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from modelrunner.errors import UnsupportedModel
from modelrunner.models.artifacts.packaging import Described, compose
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe as describe_gguf
from modelrunner.models.description.kinds import FileKind, Format
from modelrunner.models.description.names import HubName
from modelrunner.models.description.paths import inner_path
from modelrunner.models.description.safetensors_config import context_size, describe, size_text
from modelrunner.models.remote.hub_model import HubModel
from modelrunner.models.remote.hub_repository import HUB, HubRepository, Revision
from modelrunner.models.remote.hub_selection import Choice, HubFile, choose
from modelrunner.models.remote.peek import ctranslate2_spec, gguf_header, safetensors_header
from modelrunner.models.weights.ctranslate2 import WHISPER
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.transport import Transport

MAX_SMALL_TOTAL = 128 << 20  # bytes of the files whose digests the hub does not tell

_LAYERS = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
}


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub at one address. `token` is used when a request brings none."""

    transport: Transport
    address: str = HUB
    token: str | None = field(default=None, repr=False)

    async def look(self, name: HubName, token: str | None = None) -> HubModel:
        """Find out what a model of the hub is made of, from its listing and its headers.

        Raises:
            ModelNotFound: no such repository, revision or quantization.
            Unauthorized: it is private, or its terms have not been accepted.
            UnsupportedModel: it has no weights that anything here could run.
            RegistryError: anything else that the hub said, or that it cannot be reached.
        """
        repository = self.repository(name, token)
        revision = await repository.revision()
        files = await repository.files(revision.sha)
        choice = choose(files, name.selector, name.repository)
        return await _described(repository, revision, choice)

    def repository(self, name: HubName, token: str | None = None) -> HubRepository:
        """Give the requests about one repository."""
        return HubRepository(self.transport, self.address, name, token or self.token)


async def _described(repository: HubRepository, revision: Revision, choice: Choice) -> HubModel:
    """Make a model of the files that were chosen: their digests, their headers, then the documents."""
    files = _layered(choice)
    small: dict[str, bytes] = {}
    for file, _ in files:
        if file.sha256 is None:
            small[file.path] = await repository.small_file(revision.sha, file)
            if sum(map(len, small.values())) > MAX_SMALL_TOTAL:
                raise UnsupportedModel(f"`{repository.name.repository}` has too many files outside of LFS")
    keep_paths = choice.format in {Format.SAFETENSORS, Format.CTRANSLATE2}
    described = [
        _described_file(file, kind, small.get(file.path), keep_paths=keep_paths) for file, kind in files
    ]
    model = HubModel(
        repository, revision.sha, choice, {Digest.of(content): content for content in small.values()}
    )
    for (file, _), layer in zip(files, described, strict=True):
        model.know(layer.digest, file.path)
    config = await _config(model, choice, described, small)
    created = (
        (revision.last_modified or datetime.fromtimestamp(0, UTC)).astimezone(UTC).replace(microsecond=0)
    )
    kind = kinds.CONFIG_V02 if keep_paths else kinds.CONFIG_V01
    model.settle(*compose(described, replace(config, created=created), created=created, config_type=kind))
    return model


def _layered(choice: Choice) -> list[tuple[HubFile, str]]:
    """The files with their layer types, in the order of their layers."""
    if choice.format is Format.SAFETENSORS:
        everything = sorted((*choice.weights, *choice.others), key=lambda file: file.path)
        return [(file, _LAYERS.get(file.kind, kinds.FILE_LAYER)) for file in everything]
    if choice.format is Format.CTRANSLATE2:
        beside = [(file, _LAYERS.get(file.kind, kinds.FILE_LAYER)) for file in choice.others]
        return [(file, kinds.CTRANSLATE2_LAYER) for file in choice.weights] + beside
    files = [(file, _LAYERS[file.kind]) for file in (*choice.weights, *choice.others)]
    files += [(choice.template, kinds.TEMPLATE_LAYER)] if choice.template else []
    files += [(choice.projector, kinds.PROJECTOR_LAYER)] if choice.projector else []
    return files


def _described_file(file: HubFile, kind: str, content: bytes | None, *, keep_paths: bool) -> Described:
    path = inner_path(file.path)
    digest = Digest("sha256", file.sha256) if content is None and file.sha256 else Digest.of(content or b"")
    size = file.size if content is None else len(content)
    return Described(str(path) if keep_paths else path.name, kind, digest, size)


async def _config(
    model: HubModel, choice: Choice, described: Sequence[Described], small: Mapping[str, bytes]
) -> ModelConfig:
    if choice.format is Format.CTRANSLATE2:
        return await _whisper(model, described[0])
    weights = [layer for layer in described if layer.media_type == _LAYERS[FileKind(choice.format)]]
    blobs = [(Descriptor(layer.media_type, layer.digest, layer.size), layer.name) for layer in weights]
    if choice.format is Format.GGUF:
        return describe_gguf([await gguf_header(model, blob, name) for blob, name in blobs])
    if choice.format is Format.DDUF:
        return ModelConfig(
            format=Format.DDUF,
            architecture="diffusers",
            size=size_text(sum(blob.size for blob, _ in blobs)),
            metadata={"dduf_file": weights[0].name, "layout": "dduf"},
        )
    folders = dict.fromkeys(PurePosixPath(layer.name).parent for layer in weights)
    configs = (small.get(str(folder / "config.json"), b"") for folder in folders)
    tokens = next((size for raw in configs if (size := context_size(raw))), None)
    return describe(
        [await safetensors_header(model, blob, name) for blob, name in blobs], context_size=tokens
    )


async def _whisper(model: HubModel, weights: Described) -> ModelConfig:
    """Describe a model of CTranslate2 by its first bytes, which say whether it is a Whisper."""
    blob = Descriptor(weights.media_type, weights.digest, weights.size)
    header = await ctranslate2_spec(model, blob, weights.name)
    if header.spec != WHISPER:
        raise UnsupportedModel(f"not a Whisper model: `{weights.name}` is a `{header.spec[:60]}`")
    return ModelConfig(
        format=Format.CTRANSLATE2,
        architecture="whisper",
        size=size_text(weights.size),
        metadata={"spec": header.spec},
    )
