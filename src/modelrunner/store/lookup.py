"""Which model a text means: one resolver for everything that takes a model's name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference

Parse = Callable[[str], Reference]
AsId = Callable[[str], str | None]
_SHORT = 12  # digits of a short id


@dataclass(frozen=True, slots=True)
class Grammar:
    """How people write names and ids; the store is told, for it knows nothing of models.

    `parse` reads what somebody typed as a reference, or raises InvalidReference. `as_id` gives the 12 or 64
    hexadecimal digits of a text that has the form of an id.
    """

    parse: Parse
    as_id: AsId


@dataclass(frozen=True, slots=True)
class Match:
    """What a text was found to mean; `tag` is None when it named the model by its id."""

    model: Digest
    tag: Reference | None


class Names:
    """Models by id, short id and name. Where two claim the same, the earlier one has it."""

    def __init__(self, named: Iterable[tuple[Digest, Iterable[Reference]]], grammar: Grammar) -> None:
        self.grammar = grammar
        self._ids: dict[str, Digest] = {}
        self._shorts: dict[str, Digest] = {}
        self._tags: dict[Reference, Digest] = {}
        for model, tags in named:
            self._ids.setdefault(model.hex, model)
            self._shorts.setdefault(model.hex[:_SHORT], model)
            for tag in tags:
                self._tags.setdefault(tag, model)

    def match(self, text: str) -> Match | None:
        """Find a model by id, short id, name, or name and digest (then only the digest counts).

        With both a tag and a digest, both must lead to the same model.

        Raises:
            InvalidReference: neither an id nor a name.
        """
        text = text.strip()
        digits = self.grammar.as_id(text)
        if digits is not None:
            model = (self._shorts if len(digits) == _SHORT else self._ids).get(digits)
            if model is not None:
                return Match(model, None)
            if len(digits) != _SHORT:
                return None
        return self.match_reference(self.grammar.parse(text))

    def match_reference(self, reference: Reference) -> Match | None:
        """Find a model by reference."""
        if reference.tag is None:
            digest = reference.digest
            found = digest is not None and self._ids.get(digest.hex) == digest
            return Match(digest, None) if digest is not None and found else None
        name = reference.without_digest
        model = self._tags.get(name)
        if model is None or reference.digest not in {None, model}:
            return None
        return Match(model, name)

    def match_bare(self, text: str) -> Match | None:
        """Find a model by a piece of its id or by the last part of its name, whatever the organisation.

        `sha256:` and any number of digits counts when it fits one model only; of names the first wins.
        Source: the reference's lookups for inspecting and tagging, which find no more than this.
        """
        text = text.strip()
        digits = text.removeprefix("sha256:")
        if digits and digits != text:
            models = [model for key, model in self._ids.items() if key.startswith(digits)]
            return Match(models[0], None) if len(models) == 1 else None
        return next(
            (Match(model, tag) for tag, model in self._tags.items() if tag.name.split("/")[-1] == text), None
        )
