"""Which files of a Hugging Face repository make the model that somebody asked for. Pure.

Decided from names and sizes alone. A quantization is chosen by name, exactly, or not at all: a model that is
another one than was asked for is worse than an error that lists what there is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelrunner.errors import ModelNotFound, UnsupportedModel
from modelrunner.models.description.gguf_sets import GGUFSet, group
from modelrunner.models.description.kinds import FileKind, Format, classify, is_tokenizer
from modelrunner.models.weights.ctranslate2 import READ_BY_WHISPER, VOCABULARIES, WEIGHTS

# Without a wish, the first of these that there is: small enough for most machines, good enough for most uses.
_USUAL = (
    "Q4_K_M",
    "UD-Q4_K_XL",
    "Q4_K_S",
    "Q4_0",
    "IQ4_XS",
    "MXFP4",
    "Q5_K_M",
    "Q6_K",
    "Q8_0",
    "BF16",
    "F16",
)
_NO_WISH = frozenset({"", "latest", "main"})
_MOST_NAMED = 30  # in an error's list of what there is


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; `size` is in bytes, `sha256` is known for those that are in LFS."""

    path: str
    size: int
    sha256: str | None = None

    @property
    def kind(self) -> FileKind:
        """What its name says that it is for."""
        return classify(self.path)


@dataclass(frozen=True, slots=True)
class Choice:
    """The files of a model in the order of its layers. `selected` is the quantization, if there was one."""

    format: Format
    weights: tuple[HubFile, ...]
    others: tuple[HubFile, ...] = ()
    projector: HubFile | None = None
    template: HubFile | None = None
    selected: str | None = None


def choose(files: Iterable[HubFile], wish: str, repository: str) -> Choice:
    """Choose the files of a model; `wish` is what stood for a tag in its name.

    Raises:
        ModelNotFound: what was wished for is not there, or could be several; the hint lists what there is.
        UnsupportedModel: there are no weights that anything here could run.
    """
    visible = sorted((file for file in files if not _is_hidden(file.path)), key=lambda file: file.path)
    if any(file.kind is FileKind.GGUF and not _is_side_product(file.path) for file in visible):
        return _gguf(visible, "" if wish.lower() in _NO_WISH else wish, repository)
    if any(file.kind is FileKind.SAFETENSORS for file in visible):
        return _safetensors(visible)
    dduf = [file for file in visible if file.kind is FileKind.DDUF]
    if dduf:
        return Choice(Format.DDUF, (dduf[0],), tuple(f for f in visible if f.kind is FileKind.LICENSE))
    whisper = _whisper(visible)
    if whisper is not None:
        return whisper
    raise UnsupportedModel(
        f"no model weight files (GGUF or SafeTensors) found in repository `{repository}`",
        hint="look for a conversion of it to GGUF",
    )


def _gguf(files: Sequence[HubFile], wish: str, repository: str) -> Choice:
    by_path = {PurePosixPath(file.path): file for file in files}
    sets = group(path for path in by_path if not _is_side_product(str(path)))
    chosen = _matching(sets, wish, repository) if wish else _usual(sets)
    if len(chosen.weights) != chosen.count:
        raise UnsupportedModel(
            f"incomplete shard set: found {len(chosen.weights)} of {chosen.count} shards for `{chosen.stem}`",
            hint="the repository is incomplete; ask whoever published it",
        )
    templates = [file for file in files if file.path.endswith(".jinja")]
    return Choice(
        Format.GGUF,
        tuple(by_path[path] for path in chosen.weights),
        tuple(file for file in files if file.kind is FileKind.LICENSE),
        by_path[chosen.projector] if chosen.projector else None,
        min(
            templates,
            key=lambda file: (file.path.count("/"), file.path != "chat_template.jinja"),
            default=None,
        ),
        _label(chosen),
    )


def _matching(sets: Sequence[GGUFSet], wish: str, repository: str) -> GGUFSet:
    """The set that a wish names: exactly, else at the end of its name, else anywhere between separators."""
    wanted = wish.lower().removesuffix(".gguf")
    word = rf"(?:^|[-._/]){re.escape(wanted)}"
    rules = (
        lambda each: _label(each).lower() == wanted,
        lambda each: each.stem.lower() == wanted,
        lambda each: bool(re.search(rf"{word}$", _searched(each))),
        lambda each: bool(re.search(rf"{word}(?=$|[-./])", _searched(each))),
    )
    for rule in rules:
        found = [each for each in sets if rule(each)]
        plain = [each for each in found if not _label(each).upper().startswith("UD-")]
        found = plain or found
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelNotFound(
                f"`{wish}` could be several models of `{repository}`", hint=f"choose one of: {_list(found)}"
            )
    raise ModelNotFound(f"no `{wish}` in repository `{repository}`", hint=f"there is: {_list(sets)}")


def _usual(sets: Sequence[GGUFSet]) -> GGUFSet:
    by_label = {_label(each).upper(): each for each in reversed(sets)}
    return next((by_label[label] for label in _USUAL if label in by_label), sets[0])


def _safetensors(files: Sequence[HubFile]) -> Choice:
    """All of a repository but what other programs need: a second copy of the weights, code, pictures."""
    weights = [file for file in files if file.kind is FileKind.SAFETENSORS]
    own = [file for file in weights if not _is_second_copy(file.path)]
    kept = {FileKind.CONFIG, FileKind.TEMPLATE, FileKind.LICENSE}
    others = [
        file
        for file in files
        if (file.kind in kept or is_tokenizer(file.path)) and not _is_second_copy(file.path)
    ]
    return Choice(Format.SAFETENSORS, tuple(own or weights), tuple(others))


def _whisper(files: Sequence[HubFile]) -> Choice | None:
    """A Whisper model for CTranslate2, as far as names tell: all that its engine reads, and a licence."""
    by_path = {file.path: file for file in files}
    if not {WEIGHTS, "config.json", "tokenizer.json"} <= by_path.keys() or not VOCABULARIES & by_path.keys():
        return None
    read = [file for file in files if file.path in READ_BY_WHISPER or file.kind is FileKind.LICENSE]
    return Choice(Format.CTRANSLATE2, (by_path[WEIGHTS],), tuple(read))


def _label(each: GGUFSet) -> str:
    """By what people call a set: the quantization in its name, else its folder, else all of its name."""
    folder = each.weights[0].parent.name
    return each.variant or folder or each.stem


def _searched(each: GGUFSet) -> str:
    return f"{each.weights[0].parent}/{each.stem}".lower()


def _list(sets: Sequence[GGUFSet]) -> str:
    labels = list(dict.fromkeys(_label(each) for each in sets))
    if len(labels) < len(sets):
        labels = [each.stem for each in sets]
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return ", ".join(f"`{label}`" for label in labels[:_MOST_NAMED]) + more


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _is_side_product(path: str) -> bool:
    """Whether a GGUF file is no model, but came about while one was made."""
    return "imatrix" in path.lower()


def _is_second_copy(path: str) -> bool:
    """Whether a file is of the same weights in their authors' own layout."""
    return path.startswith("original/") or PurePosixPath(path).name.startswith("consolidated")
