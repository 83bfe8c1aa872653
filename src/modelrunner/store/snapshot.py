"""What is in the store, in memory: read once, replaced when the index changes, asked without a disk."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from modelrunner.errors import InvalidReference, InvalidRequest
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from modelrunner.oci.reference import Reference
from modelrunner.store.blobs import Blobs
from modelrunner.store.disk import open_file
from modelrunner.store.index import Index
from modelrunner.store.layout import Layout
from modelrunner.store.lookup import Grammar, Match, Names

_MEMORY = 1024  # answers that are remembered; a daemon is asked for few names, over and over
_MEMORABLE = 300  # characters of a text that is worth remembering


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model whose files are all here. `config_bytes` is the raw, verified configuration."""

    id: Digest
    tags: tuple[Reference, ...]
    manifest: Manifest
    config_bytes: bytes

    @property
    def name(self) -> str:
        """What people call it: its first name, or its id when it has none."""
        return self.tags[0].familiar if self.tags else str(self.id)


class Snapshot:
    """All usable models at one moment; `problems` has a sentence for each entry that is not usable."""

    __slots__ = ("_by_id", "_memory", "_names", "models", "problems")

    def __init__(
        self,
        models: tuple[StoredModel, ...],
        grammar: Grammar,
        *,
        problems: tuple[str, ...] = (),
    ) -> None:
        self.models = models
        self.problems = problems
        self._by_id = {model.id: model for model in models}
        self._names = Names(((model.id, model.tags) for model in models), grammar)
        self._memory: dict[str, StoredModel | None] = {}

    def get(self, model: Digest) -> StoredModel | None:
        """The model with an id."""
        return self._by_id.get(model)

    def without(self, models: Collection[Digest]) -> "Snapshot":
        """The same without some models."""
        if not models:
            return self
        kept = tuple(model for model in self.models if model.id not in models)
        return Snapshot(kept, self._names.grammar, problems=self.problems)

    def find(self, text: str) -> StoredModel | None:
        """The model that a text means: id, short id, name, or name with digest. None for anything else."""
        if text in self._memory:
            return self._memory[text]
        found = self._model(self._match(text))
        if len(text) <= _MEMORABLE:
            if len(self._memory) >= _MEMORY:
                self._memory.clear()
            self._memory[text] = found
        return found

    def find_loosely(self, text: str) -> StoredModel | None:
        """Like `find`; else by a piece of the id, or by a bare name in any organisation.

        For looking at a model and for giving it a name, nothing else: what is run, sent or deleted must not
        depend on what else happens to be here.
        """
        return self.find(text) or self._model(self._names.match_bare(text))

    def find_reference(self, reference: Reference) -> StoredModel | None:
        """The model that a reference means."""
        return self._model(self._names.match_reference(reference))

    def _match(self, text: str) -> Match | None:
        try:
            return self._names.match(text)
        except InvalidReference:
            return None

    def _model(self, match: Match | None) -> StoredModel | None:
        return None if match is None else self._by_id.get(match.model)


def read_snapshot(
    index: Index, layout: Layout, blobs: Blobs, grammar: Grammar, previous: Snapshot
) -> Snapshot:
    """Read what an index lists; a model that `previous` had is the same bytes, and is not read again.

    An entry whose files are missing or damaged is left out, and becomes a problem.
    """
    models: list[StoredModel] = []
    problems: list[str] = []
    for entry in index.entries:
        try:
            digest = Digest.parse(entry.id)
            model = previous.get(digest) or read_model(digest, layout, blobs)
        except InvalidRequest as exc:
            problems.append(f"model `{entry.id}` is left out: {exc}")
            continue
        models.append(replace(model, tags=index.references(entry)))
    return Snapshot(tuple(models), grammar, problems=tuple(problems))


def read_model(digest: Digest, layout: Layout, blobs: Blobs) -> StoredModel:
    """Read a model from its files, without names.

    Raises:
        InvalidRequest: something of it is missing or is not what its digest says.
    """
    manifest = parse_manifest(_verified(layout.manifest(digest), digest, MAX_MANIFEST_BYTES))
    config = _verified(blobs.path(manifest.config.digest), manifest.config.digest, MAX_CONFIG_BYTES)
    for layer in manifest.layers:
        if blobs.size(layer.digest) != layer.size:
            raise InvalidRequest(f"layer `{layer.digest}` is missing or has another size")
    return StoredModel(digest, (), manifest, config)


def _verified(path: Path, digest: Digest, limit: int) -> bytes:
    try:
        with open_file(path) as file:
            data = file.read(limit + 1)
    except OSError as exc:
        raise InvalidRequest(f"`{digest}` cannot be read: {exc.strerror}") from exc
    verifier = digest.verifier()
    verifier.update(data)
    if not verifier.matches:
        raise InvalidRequest(f"`{digest}` is damaged or too large")
    return data
