"""A model that another program keeps on this machine: its name here, its files, and what each file is for.

What the readers of each layout have in common; nothing is written, and only headers are read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from modelrunner.errors import InvalidRequest
from modelrunner.models.description.kinds import CONFIG_V01
from modelrunner.oci.digest import Digest

_MOST_ENTRIES = 100_000  # of one folder tree; a cache of thousands of models has fewer
_DEPTH = 10  # folders below the one that was named
_MAX_TAG = 128  # characters


class Origin(StrEnum):
    """Whose files they are."""

    OLLAMA = "ollama"
    HUGGING_FACE = "huggingface"
    LM_STUDIO = "lmstudio"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Part:
    """One file: where its bytes are, its path within the model, its layer's media type.

    `path` leads to the file itself, through no symbolic link. `digest` is what the other program says of it.
    """

    path: Path
    name: str
    media_type: str
    size: int
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be taken over. `name` is the reference that it would get.

    `settled` says that its files are named by their content and never written again, so that they may be
    shared. `left_out` is what of it means nothing here, for people.
    """

    origin: Origin
    name: str
    parts: tuple[Part, ...]
    settled: bool
    config_type: str = CONFIG_V01
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A model that cannot be taken over, and why."""

    origin: Origin
    name: str
    reason: str


Found = Candidate | Unusable


class Unsafe(InvalidRequest):
    """A file that is none, or leads out of the folder that was named."""


def file_inside(root: Path, path: Path) -> tuple[Path, int]:
    """Follow links from `path` to a regular file below `root`; the file itself and its bytes.

    The daemon may be allowed to read more than its client, so a link is no way out of the folder.

    Raises:
        Unsafe: it is missing, no regular file, or outside.
    """
    try:
        real = path.resolve(strict=True)
        size = real.stat().st_size
    except (OSError, RuntimeError) as exc:
        raise Unsafe(f"`{path.name}` is missing or cannot be read") from exc
    if not real.is_file():
        raise Unsafe(f"`{path.name}` is no regular file")
    if not real.is_relative_to(root.resolve()):
        raise Unsafe(f"`{path.name}` is a link that leads outside of `{root}`")
    return real, size


def walk(root: Path, *, depth: int = _DEPTH) -> Iterator[PurePosixPath]:
    """Every file below a folder, relative to it, in order; hidden names and linked folders are passed over.

    Raises:
        InvalidRequest: the folder cannot be read, or holds too much to be a folder of models.
    """
    try:
        yield from _walk(root, PurePosixPath(), depth, [_MOST_ENTRIES])
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{exc.filename or root}`: {exc.strerror or exc}") from exc


def component(text: str) -> str:
    """Make a component of a repository's name of any text: lower case, digits, single separators."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    plain = re.sub(r"[._-]*-[._-]*|\.[._]+|_\.[._]*|_{3,}", "-", plain).strip("-._")
    return plain or "model"


def tag(text: str) -> str:
    """Make a tag of any text."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip(".-")[:_MAX_TAG]
    return plain or "latest"


def _walk(root: Path, below: PurePosixPath, depth: int, left: list[int]) -> Iterator[PurePosixPath]:
    with os.scandir(root / below) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    left[0] -= len(found)
    if left[0] < 0:
        raise InvalidRequest(
            f"too many files in `{root}`", hint="name the folder of the models, not one above it"
        )
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth > 1:
                yield from _walk(root, below / entry.name, depth - 1, left)
        else:
            yield below / entry.name
