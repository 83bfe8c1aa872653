"""What each endpoint makes of each field of its request: one table for people, programs and tests.

`docs/reference/fields.md` and bodies in `/openapi.json` are written from it, and a test sends the `sample` of
every row to a daemon and compares what comes of it with what the row says. It decides nothing by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JSON = dict[str, Any]


class Treatment(StrEnum):
    """What becomes of a field."""

    SUPPORTED = "supported"  # the engine gets it as it was sent
    TRANSLATED = "translated"  # the engine is told in other words, or the daemon sees to it itself
    WITHOUT_EFFECT = "without effect"  # it may be there, and changes nothing
    REFUSED = "refused"  # an error says that it is not to be had


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its path in the body; `sample` is a value of the body's field in which it is.

    `beside` are other fields that it needs, `becomes` is what the engine's request has for it, and None when
    the daemon sees to it without telling the engine.
    """

    name: str
    treatment: Treatment
    words: str
    sample: Any
    beside: JSON = field(default_factory=dict)
    becomes: JSON | None = None

    @property
    def top(self) -> str:
        """The field of the body in which it is."""
        return self.name.partition(".")[0].partition("[")[0]

    @property
    def body(self) -> JSON:
        """What of a body shows it."""
        return {**self.beside, self.top: self.sample}


@dataclass(frozen=True, slots=True)
class Fields:
    """An endpoint: a `base` that every request needs, and what of a request is understood.

    `words` say what holds for all of it, and what becomes of fields that are not in the table.
    """

    title: str
    path: str
    base: Mapping[str, Any]
    rows: tuple[Field, ...]
    words: str = ""
    method: str = "POST"


def passed(name: str, sample: Any, words: str = "", **beside: Any) -> Field:
    """Make a row: the engine gets the field as it was sent."""
    row = Field(name, Treatment.SUPPORTED, words, sample, beside)
    return Field(name, Treatment.SUPPORTED, words, sample, beside, {row.top: sample})


def turned(name: str, sample: Any, becomes: JSON, words: str = "", **beside: Any) -> Field:
    """Make a row: the engine gets something else for it."""
    return Field(name, Treatment.TRANSLATED, words, sample, beside, becomes)


def done(name: str, sample: Any, words: str, **beside: Any) -> Field:
    """Make a row: the daemon sees to it itself."""
    return Field(name, Treatment.TRANSLATED, words, sample, beside)


def taken(name: str, sample: Any, words: str = "", **beside: Any) -> Field:
    """Make a row: it may be there, and changes nothing."""
    return Field(name, Treatment.WITHOUT_EFFECT, words, sample, beside)


def refused(name: str, sample: Any, words: str, **beside: Any) -> Field:
    """Make a row: an error says why it is not to be had."""
    return Field(name, Treatment.REFUSED, words, sample, beside)


def properties(fields: Fields) -> JSON:
    """Describe the fields of a body, each with a value that it may have, as JSON Schema does."""
    found: JSON = {}
    for row in fields.rows:
        told = f"{row.treatment}: {row.words}" if row.words else row.treatment.value
        if row.name == row.top:
            found[row.top] = {"description": told, "examples": [row.sample]}
    return found


def markdown(fields: Fields) -> str:
    """Write the part of the reference page about one endpoint."""
    rows = "".join(f"| `{row.name}` | {row.treatment} | {row.words} |\n" for row in fields.rows)
    words = f"{fields.words}\n\n" if fields.words else ""
    head = f"## {fields.title}\n\n`{fields.method} {fields.path}`\n\n{words}"
    return f"{head}| field | what becomes of it | more |\n|---|---|---|\n{rows}"
