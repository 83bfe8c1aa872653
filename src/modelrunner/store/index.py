"""The index of a store: which models are here, under which names. Immutable; editing returns a new value.

    {"models": [{"id": "sha256:<manifest>", "tags": ["docker.io/ai/gemma3:latest"],
                 "files": ["sha256:<layer>", …, "sha256:<config>"]}]}

The reference reads and writes the same file. Names that it wrote in another form are compared by their
canonical one; what we do not understand (keys, tags that are no references) is kept as it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelrunner.errors import InvalidReference, InvalidRequest, ModelNotFound, StoreError
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import DOCKER_HUB, Reference, parse_reference

_OLD_HUGGING_FACE, _HUGGING_FACE = "hf.co/", "huggingface.co/"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as the file has it: unverified text."""

    id: str
    tags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Index:
    """All entries in order; a name belongs to the first one that has it."""

    entries: tuple[Entry, ...] = ()
    default_registry: str = DOCKER_HUB
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    def entry(self, model: Digest) -> Entry | None:
        """The entry of a model."""
        return next((entry for entry in self.entries if entry.id == str(model)), None)

    @property
    def listed(self) -> Iterator[tuple[Digest, Entry]]:
        """Every entry whose id is a digest; any other is of somebody else's making, and names no file."""
        for entry in self.entries:
            try:
                yield Digest.parse(entry.id), entry
            except InvalidRequest:
                continue

    def canonical(self, tag: str) -> Reference | None:
        """What a stored tag means; None for text that is no reference."""
        try:
            return parse_reference(_migrated(tag), default_registry=self.default_registry)
        except InvalidReference:
            return None

    def references(self, entry: Entry) -> tuple[Reference, ...]:
        """The names of an entry, each once, without those that are no references."""
        found = (self.canonical(tag) for tag in entry.tags)
        return tuple(dict.fromkeys(reference for reference in found if reference is not None))

    def add(self, model: Digest, files: Sequence[Digest]) -> "Index":
        """List a model, last and without names; one that is listed stays as it is.

        `files` has the layers in order and the configuration last.
        """
        if self.entry(model) is not None:
            return self
        entry = Entry(str(model), files=tuple(str(file) for file in files))
        return replace(self, entries=(*self.entries, entry))

    def tag(self, model: Digest, reference: Reference) -> "Index":
        """Give a name to a model and take it from every other.

        Raises:
            ModelNotFound: the model is not listed.
        """
        if self.entry(model) is None:
            raise ModelNotFound(f"model not found: `{model}`")
        return replace(
            self,
            entries=tuple(
                self._with(entry, reference) if entry.id == str(model) else self._without(entry, reference)
                for entry in self.entries
            ),
        )

    def untag(self, reference: Reference) -> "Index":
        """Take a name away; a model that loses its last name stays listed."""
        return replace(self, entries=tuple(self._without(entry, reference) for entry in self.entries))

    def remove(self, model: Digest) -> "Index":
        """Forget a model and its names."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id != str(model)))

    def migrated(self) -> "Index":
        """Spell the names of Hugging Face models as they are spelled today."""
        return replace(
            self,
            entries=tuple(
                replace(entry, tags=tuple(_migrated(tag) for tag in entry.tags)) for entry in self.entries
            ),
        )

    def files(self) -> frozenset[str]:
        """The digests of all files that some model needs."""
        return frozenset(file for entry in self.entries for file in entry.files)

    def _with(self, entry: Entry, reference: Reference) -> Entry:
        name = str(reference)
        tags = (name if self.canonical(tag) == reference else tag for tag in entry.tags)
        return replace(entry, tags=tuple(dict.fromkeys((*tags, name))))

    def _without(self, entry: Entry, reference: Reference) -> Entry:
        kept = tuple(tag for tag in entry.tags if self.canonical(tag) != reference)
        return entry if kept == entry.tags else replace(entry, tags=kept)


def loads(data: bytes, *, default_registry: str = DOCKER_HUB) -> Index:
    """Read the bytes of an index file; `null` is read as an empty list.

    Raises:
        StoreError: this is no index.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _unreadable(str(exc)) from exc
    if not isinstance(document, dict):
        raise _unreadable("it is no JSON object")
    extra = {key: value for key, value in document.items() if key != "models"}
    entries = tuple(_entries(document.get("models")))
    return Index(entries, default_registry, extra)


def dumps(index: Index) -> bytes:
    """The bytes of an index file, as the reference lays it out: two spaces, known keys first."""
    models = [
        {"id": entry.id, "tags": entry.tags, "files": entry.files, **entry.extra} for entry in index.entries
    ]
    return json.dumps({"models": models, **index.extra}, indent=2, ensure_ascii=False).encode(
        errors="replace"
    )


def _entries(models: object) -> Iterator[Entry]:
    for number, model in enumerate(_list(models, "`models`")):
        if not isinstance(model, dict):
            raise _unreadable(f"entry {number} is no object")
        name = model.get("id") or ""
        if not isinstance(name, str):
            raise _unreadable(f"the id of entry {number} is no text")
        yield Entry(
            name,
            _texts(model.get("tags"), f"`tags` of entry {number}"),
            _texts(model.get("files"), f"`files` of entry {number}"),
            {key: value for key, value in model.items() if key not in {"id", "tags", "files"}},
        )


def _list(value: object, what: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _unreadable(f"{what} is no list")
    return value


def _texts(value: object, what: str) -> tuple[str, ...]:
    texts = tuple(text for text in _list(value, what) if isinstance(text, str))
    if len(texts) != len(_list(value, what)):
        raise _unreadable(f"{what} holds something that is no text")
    return texts


def _migrated(tag: str) -> str:
    rest = tag.removeprefix(_OLD_HUGGING_FACE)
    return tag if rest == tag else _HUGGING_FACE + rest


def _unreadable(reason: str) -> StoreError:
    return StoreError(
        f"the index of the store cannot be read: {reason}",
        hint="`models.json` was damaged by something else: restore it, or move it away to start with an "
        "empty list (the files of the models stay)",
    )
