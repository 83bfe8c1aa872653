"""The sources that become artifacts: GGUF, safetensors, DDUF, a directory; checked before they are hashed."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.directory import is_weights, model_files
from modelrunner.models.artifacts.packaging import Draft, File, Hashing, Tell, assemble, hash_files, ignore
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, check_context_size
from modelrunner.models.description.gguf_config import describe as describe_gguf
from modelrunner.models.description.kinds import Format
from modelrunner.models.description.safetensors_config import (
    MAX_CONFIG_BYTES,
    context_size,
    describe,
    size_text,
)
from modelrunner.models.weights import gguf, safetensors

_ADAPTER = "adapter"  # GGUF's `general.type` of a LoRA


@dataclass(frozen=True, slots=True)
class Extras:
    """What goes along with the weights, and what is said of them.

    `context_size` is in tokens and replaces the weights' own; `created` is when the files were last changed
    unless it is given; `packed` writes CNCF ModelPack instead of Docker's form.
    """

    licenses: Sequence[Path] = ()
    template: Path | None = None
    projector: Path | None = None
    adapters: Sequence[Path] = ()
    context_size: int | None = None
    created: datetime | None = None
    packed: bool = False

    def check(self) -> None:
        """Refuse what cannot go into an artifact.

        Raises:
            InvalidRequest: the context size is out of range, or has no place in the form.
            UnsupportedModel: the projector or an adapter is none.
        """
        if self.context_size is not None:
            check_context_size(self.context_size)
            if self.packed:
                raise InvalidRequest(
                    "--context-size is not supported with --format cncf: "
                    "the CNCF ModelPack specification does not define a context size field"
                )
        if self.projector is not None:
            gguf.read_header(self.projector)
        for path in self.adapters:
            kind = gguf.read_header(path).metadata.get("general.type")
            if kind != _ADAPTER:
                raise UnsupportedModel(
                    f"not a LoRA adapter: `{path}`",
                    hint="llama.cpp's `convert_lora_to_gguf.py` makes one",
                )

    @property
    def files(self) -> list[File]:
        """The layers behind the weights, in their order."""
        return [
            *(plain(path, kinds.LICENSE_LAYER) for path in self.licenses),
            *([plain(self.template, kinds.TEMPLATE_LAYER)] if self.template else []),
            *([plain(self.projector, kinds.PROJECTOR_LAYER)] if self.projector else []),
            *(plain(path, kinds.LORA_LAYER) for path in self.adapters),
        ]


NOTHING_ELSE = Extras()


def package_gguf(
    path: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a GGUF file, or a set of shards of which any may be given, in Docker's form 0.1.

    Blocks while it hashes, and tells from its threads the bytes hashed and those in all.

    Raises:
        UnsupportedModel: the weights or the projector are no GGUF file, or a truncated or incomplete one.
        InvalidRequest: a file cannot be read, or the context size is out of range.
    """
    extras.check()
    weights = gguf.shards(path)
    config = describe_gguf([gguf.read_header(shard) for shard in weights])
    return assembled([plain(shard, kinds.GGUF_LAYER) for shard in weights], config, extras, tell, hashing)


def package_safetensors(
    path: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a safetensors file, or a set of shards, in Docker's form 0.1: without the files beside it.

    Raises:
        UnsupportedModel: no safetensors file, or a truncated or incomplete one.
        InvalidRequest: a file cannot be read, or the context size is out of range.
    """
    extras.check()
    weights = safetensors.shards(path)
    headers = [safetensors.read_header(shard) for shard in weights]
    config = describe(headers, context_size=_context_beside(path))
    return assembled(
        [plain(shard, kinds.SAFETENSORS_LAYER) for shard in weights], config, extras, tell, hashing
    )


def package_dduf(
    path: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a DDUF file, which has a whole diffusion model in one archive.

    Raises:
        UnsupportedModel: it is no archive, or one whose files are compressed.
        InvalidRequest: a file cannot be read.
    Source: huggingface/huggingface_hub, docs/source/en/package_reference/serialization.md, DDUF.
    """
    extras.check()
    _check_dduf(path)
    config = ModelConfig(
        format=Format.DDUF,
        architecture="diffusers",
        size=size_text(path.stat().st_size),
        metadata={"dduf_file": path.name, "layout": "dduf"},
    )
    return assembled([plain(path, kinds.DDUF_LAYER)], config, extras, tell, hashing)


def package_directory(
    root: Path, extras: Extras = NOTHING_ELSE, *, tell: Tell = ignore, hashing: Hashing = hash_files
) -> Draft:
    """Package a directory as it is, in Docker's form 0.2: one layer for each file, names and folders kept.

    Raises:
        UnsupportedModel: no weights, or weights that cannot be read.
        InvalidRequest: it cannot be read, or the context size is out of range.
    """
    extras.check()
    files = model_files(root)
    return assembled(files, _directory_config(files), extras, tell, hashing, config_type=kinds.CONFIG_V02)


def plain(path: Path, media_type: str) -> File:
    """A file that keeps nothing but its name."""
    return File(path, media_type, path.name)


def assembled(
    weights: Sequence[File],
    config: ModelConfig,
    extras: Extras,
    tell: Tell,
    hashing: Hashing,
    *,
    config_type: str = kinds.CONFIG_V01,
) -> Draft:
    """Make an artifact of weights and what goes along with them."""
    if extras.context_size is not None:
        config = replace(config, context_size=extras.context_size)
    return assemble(
        [*(file for file in weights if not _is_replaced(file, extras)), *extras.files],
        config,
        config_type=kinds.CONFIG_CNCF if extras.packed else config_type,
        created=extras.created,
        tell=tell,
        hashing=hashing,
    )


def _is_replaced(file: File, extras: Extras) -> bool:
    """Whether a directory's own template or projector gives way to one that was named."""
    if "/" in file.name:
        return False
    if file.media_type == kinds.GGUF_LAYER:
        return extras.projector is not None and "mmproj" in file.name.lower()
    return extras.template is not None and file.media_type == kinds.TEMPLATE_LAYER


def _directory_config(files: Sequence[File]) -> ModelConfig:
    """Describe a directory by its weights, of the format that the first of them has."""
    weights = [file for file in files if is_weights(file)]
    first = weights[0].media_type
    paths = [file.path for file in weights if file.media_type == first]
    if first == kinds.GGUF_LAYER:
        main = [path for path in paths if "mmproj" not in path.name.lower()] or paths
        return describe_gguf([gguf.read_header(shard) for shard in gguf.shards(main[0])])
    if first == kinds.DDUF_LAYER:
        return ModelConfig(format=Format.DDUF, architecture="diffusers")
    tokens = next((size for path in paths if (size := _context_beside(path))), None)
    return describe([safetensors.read_header(path) for path in paths], context_size=tokens)


def _context_beside(weights: Path) -> int | None:
    """What a `config.json` beside the weights says of the context, in tokens."""
    path = weights.with_name("config.json")
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return None
        return context_size(path.read_bytes())
    except OSError:
        return None


def _check_dduf(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror or exc}") from exc
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as exc:
        raise UnsupportedModel(f"not a DDUF file: `{path}`", hint="a DDUF file is a ZIP archive") from exc
    compressed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    if compressed is not None or not entries:
        raise UnsupportedModel(
            f"not a DDUF file: `{path}` (its files are compressed, or there are none)",
            hint="its files have to be stored without compression, so that they can be mapped",
        )
