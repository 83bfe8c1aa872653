"""Models in folders of files: Hugging Face's cache, LM Studio's folder, and whatever somebody points at.

    models--Org--Name/{refs/main, snapshots/<commit>/…, blobs/<etag>}   Hugging Face; snapshots are links
    <publisher>/<repository>/*.gguf                                     LM Studio

Source: huggingface_hub v0.27, "Understand caching"; a blob of LFS is named by its SHA-256, others by git's.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

from modelrunner.errors import InvalidRequest
from modelrunner.models.description import kinds
from modelrunner.models.description.gguf_sets import GGUFSet, group
from modelrunner.models.description.kinds import FileKind
from modelrunner.models.description.names import HUGGING_FACE
from modelrunner.models.local.candidate import (
    Candidate,
    Found,
    Origin,
    Part,
    Unusable,
    component,
    file_inside,
    tag,
    walk,
)
from modelrunner.oci.digest import Digest

_CACHED = "models--"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LAYERS = {
    FileKind.GGUF: kinds.GGUF_LAYER,
    FileKind.SAFETENSORS: kinds.SAFETENSORS_LAYER,
    FileKind.DDUF: kinds.DDUF_LAYER,
    FileKind.TEMPLATE: kinds.TEMPLATE_LAYER,
    FileKind.LICENSE: kinds.LICENSE_LAYER,
    FileKind.CONFIG: kinds.FILE_LAYER,
}


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of files that belong together: `bound` is how far links in it may lead."""

    origin: Origin
    path: Path
    bound: Path
    repository: str
    settled: bool = False


def is_cached(path: Path) -> bool:
    """Whether a folder is that of one repository in Hugging Face's cache."""
    return path.name.startswith(_CACHED) and (path / "snapshots").is_dir()


def read_hugging_face(root: Path) -> Iterator[Found]:
    """Every model of a cache, `root` being the folder with the `models--…` in it, or one of these.

    Raises:
        InvalidRequest: there is no such folder.
    """
    for path in [root] if is_cached(root) else _folders(root):
        owner, _, name = path.name.removeprefix(_CACHED).rpartition("--")
        if not path.name.startswith(_CACHED):
            continue
        repository = "/".join([HUGGING_FACE, *([component(owner)] if owner else []), component(name)])
        snapshot = _snapshot(path)
        if snapshot is not None:
            yield from _models(_Folder(Origin.HUGGING_FACE, snapshot, path, repository, settled=True))


def read_lm_studio(root: Path) -> Iterator[Found]:
    """Every model of LM Studio's folder; they come from Hugging Face, and are named as there.

    Raises:
        InvalidRequest: there is no such folder.
    """
    for publisher in _folders(root):
        for path in _folders(publisher):
            repository = f"{HUGGING_FACE}/{component(publisher.name)}/{component(path.name)}"
            yield from _models(_Folder(Origin.LM_STUDIO, path, path, repository))


def read_files(path: Path) -> Iterator[Found]:
    """The model of one GGUF file with its shards and projector, or all models in a folder and those below.

    Raises:
        InvalidRequest: there is no such file or folder.
    """
    if path.is_dir():
        repository = f"local/{component(path.resolve().name)}"
        yield from _models(_Folder(Origin.FILES, path, path, repository), name_by_file=True)
        return
    if not path.is_file():
        raise InvalidRequest(f"no file or folder: `{path}`", hint="name a GGUF file, or a folder of models")
    if path.is_symlink():  # a link that somebody names is followed: what it leads to is weights, or refused
        real, size = file_inside(path.resolve().parent, path)
        part = Part(real, path.name, kinds.GGUF_LAYER, size)
        name = _name_by_file(GGUFSet(path.stem, ()))
        yield Candidate(Origin.FILES, name, (part,), settled=False)
        return
    siblings = [PurePosixPath(name.name) for name in path.parent.glob("*.[gG][gG][uU][fF]")]
    mine = PurePosixPath(path.name)
    found = next((one for one in group({*siblings, mine}) if mine in one.weights), None)
    if found is None or mine.suffix.lower() != ".gguf":
        found = GGUFSet(mine.stem, (mine,))
    folder = _Folder(Origin.FILES, path.parent, path.parent, "")
    yield _gguf_model(folder, found, _name_by_file(found), [])


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as exc:
        raise InvalidRequest(f"no folder of models: `{root}`: {exc.strerror or exc}") from exc


def _snapshot(path: Path) -> Path | None:
    """The folder of the branch `main`, else the one that was added last."""
    snapshots = path / "snapshots"
    try:
        commit = (path / "refs" / "main").read_text()[:200].strip()
        if re.fullmatch(r"[0-9a-zA-Z._-]+", commit) and commit.strip(".") and (snapshots / commit).is_dir():
            return snapshots / commit
    except (OSError, UnicodeDecodeError):
        pass
    try:
        return max(snapshots.iterdir(), key=lambda each: each.stat().st_mtime, default=None)
    except OSError:
        return None


def _models(folder: _Folder, *, name_by_file: bool = False) -> Iterator[Found]:
    names = list(walk(folder.path))
    extras = [name for name in names if len(name.parts) == 1]
    taken: set[str] = set()
    for found in group(names):
        if name_by_file:
            above = _inner(found.weights[0].parent)
            wishes = [_name_by_file(found), _name_by_file(found, above)]
        else:
            wishes = [
                f"{folder.repository}:{tag(label)}" for label in (found.variant or "latest", found.stem)
            ]
        yield _gguf_model(folder, found, _free(taken, wishes), extras)
    for below in sorted({name.parent for name in names if kinds.classify(name.name) is FileKind.SAFETENSORS}):
        if any(parent in below.parents for parent in _roots(names)):
            continue  # a part of a model, such as a text encoder
        inner = _inner(below)
        repository = f"local/{inner}" if name_by_file and inner else folder.repository
        suffix = "latest" if name_by_file or not inner else tag(inner)
        name = _free(taken, [f"{repository}:{suffix}"])
        yield _directory_model(folder, below, names, name)


def _inner(below: PurePosixPath) -> str:
    return "-".join(component(part) for part in below.parts)


def _free(taken: set[str], wishes: Sequence[str]) -> str:
    """Take the first of some names that no other model of the folder has, else one with a number."""
    numbered = (f"{wishes[-1]}-{number}" for number in count(2))
    name = next(name for name in chain(wishes, numbered) if name not in taken)
    taken.add(name)
    return name


def _roots(names: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """Folders that hold weights of their own or say how those below them belong together."""
    return {
        name.parent
        for name in names
        if kinds.classify(name.name) is FileKind.SAFETENSORS or name.name == "model_index.json"
    }


def _gguf_model(folder: _Folder, found: GGUFSet, name: str, extras: list[PurePosixPath]) -> Found:
    if len(found.weights) < found.count:
        reason = f"incomplete: {len(found.weights)} of {found.count} shards are here"
        return Unusable(folder.origin, name, reason)
    chosen = [(weights, kinds.GGUF_LAYER) for weights in found.weights]
    chosen += [(extra, kinds.LICENSE_LAYER) for extra in extras if _is_license(extra)]
    templates = [extra for extra in extras if extra.suffix == ".jinja"]
    if len(templates) == 1:
        chosen.append((templates[0], kinds.TEMPLATE_LAYER))
    if found.projector is not None:
        chosen.append((found.projector, kinds.PROJECTOR_LAYER))
    return _candidate(folder, name, [(path, path.name, kind) for path, kind in chosen], kinds.CONFIG_V01)


def _directory_model(folder: _Folder, below: PurePosixPath, names: list[PurePosixPath], name: str) -> Found:
    chosen = [
        (path, path.relative_to(below).as_posix(), _LAYERS.get(kind, kinds.FILE_LAYER))
        for path in names
        if (path.parent == below or below in path.parents or below == PurePosixPath())
        and ((kind := kinds.classify(path.name)) in _LAYERS or kinds.is_tokenizer(path.name))
        and kind is not FileKind.GGUF
    ]
    return _candidate(folder, name, chosen, kinds.CONFIG_V02)


def _candidate(
    folder: _Folder, name: str, chosen: list[tuple[PurePosixPath, str, str]], config_type: str
) -> Found:
    parts = []
    try:
        for path, inner, media_type in chosen:
            real, size = file_inside(folder.bound, folder.path / path)
            known = _SHA256.fullmatch(real.name) if folder.settled else None
            parts.append(Part(real, inner, media_type, size, Digest("sha256", known[0]) if known else None))
    except InvalidRequest as exc:
        return Unusable(folder.origin, name, exc.message)
    return Candidate(folder.origin, name, tuple(parts), settled=folder.settled, config_type=config_type)


def _is_license(name: PurePosixPath) -> bool:
    return kinds.classify(name.name) is FileKind.LICENSE


def _name_by_file(found: GGUFSet, above: str = "") -> str:
    """`local/<name>:<variant>`, the variant taken out of the name's end; the folders `above` come first."""
    variant = found.variant
    stem = found.stem
    if variant and stem.lower().endswith(variant.lower()) and len(stem) > len(variant) + 1:
        stem = stem[: -len(variant)].rstrip("-._")
    return f"local/{component(f'{above}-{stem}')}:{tag(variant or 'latest')}"
