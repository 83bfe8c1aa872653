"""The files of a directory that is to be packaged: which, in which order, and where links may lead."""

import os
from collections.abc import Iterator
from pathlib import Path

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.packaging import File
from modelrunner.models.description import kinds
from modelrunner.models.description.kinds import FileKind, classify

_TYPES = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
}
_WEIGHTS = frozenset({kinds.GGUF_LAYER, kinds.SAFETENSORS_LAYER, kinds.DDUF_LAYER})


def model_files(root: Path) -> list[File]:
    """List the files of a model in lexical order, each with its layer type and its path below `root`.

    Names that begin with a dot are left out, with everything below them. A link is followed when it leads to
    a place inside the directory, or inside the Hugging Face cache entry that the directory is a snapshot of;
    any other is left out, so that nothing gets into an artifact by accident.

    Raises:
        InvalidRequest: it cannot be read, or is no directory.
        UnsupportedModel: there are no files, or no weights among them.
    """
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise InvalidRequest(f"Safetensors path {what}: `{root}`")
    try:
        files = list(_walk(root, root, _allowed(root)))
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{exc.filename or root}`: {exc.strerror or exc}") from exc
    if not files:
        raise UnsupportedModel(f"no files found in directory: {root}")
    if not any(file.media_type in _WEIGHTS for file in files):
        raise UnsupportedModel(
            f"no weight files (safetensors, GGUF, or DDUF) found in directory: {root}",
            hint="name the directory that holds the weights",
        )
    return files


def is_weights(file: File) -> bool:
    """Whether a file holds weights, by its layer type."""
    return file.media_type in _WEIGHTS


def _allowed(root: Path) -> tuple[Path, ...]:
    """Where links may lead. Source: huggingface_hub's cache: `models--*/{blobs,snapshots/<revision>}`."""
    resolved = root.resolve()
    entry = resolved.parent.parent
    if resolved.parent.name == "snapshots" and entry.name.startswith("models--"):
        return resolved, entry / "blobs"
    return (resolved,)


def _walk(directory: Path, root: Path, allowed: tuple[Path, ...]) -> Iterator[File]:
    for entry in sorted(os.scandir(directory), key=lambda entry: os.fsencode(entry.name)):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, allowed)
        elif _leads_into(path, allowed) if entry.is_symlink() else entry.is_file(follow_symlinks=False):
            name = path.relative_to(root).as_posix()
            yield File(path, _TYPES.get(classify(name), kinds.FILE_LAYER), name)


def _leads_into(link: Path, allowed: tuple[Path, ...]) -> bool:
    """Whether a link leads to a file in one of some places."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle
        return False
    return target.is_file() and any(target.is_relative_to(place) for place in allowed)
