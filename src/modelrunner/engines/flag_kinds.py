"""The types that a runtime flag can have: how a value is read, and the words for what was expected."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite

Value = bool | int | float | str | tuple["Value", ...]

INT32 = 2**31 - 1
_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")
_MASK = re.compile(r"(0[xX])?[0-9a-fA-F]{1,128}")
_RANGE = re.compile(r"(?=.*[0-9])[0-9]{0,3}-[0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one value is read; `read` raises ValueError for what is none. `expected` is a noun phrase."""

    read: Callable[[str], Value]
    expected: str


@dataclass(frozen=True, slots=True)
class Flag:
    """A runtime flag: its spellings, and the values that follow it.

    `name` is the one that stands for all spellings. A switch takes no values and means `constant`; a flag
    with a `bare` value may be given without one.
    """

    name: str
    kinds: tuple[Kind, ...] = ()
    constant: bool = True
    bare: Value | None = None


def whole(low: int = -INT32 - 1, high: int = INT32) -> Kind:
    """A whole number; both bounds are included."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(read, f"`{low}`" if low == high else f"a whole number from {low} to {high}")


def real(low: float = -inf, high: float = inf) -> Kind:
    """A finite number; both bounds are included."""

    def read(text: str) -> float:
        value = float(text)
        if not isfinite(value) or not low <= value <= high:
            raise ValueError(text)
        return value

    if low == -inf and high == inf:
        return Kind(read, "a number")
    return Kind(
        read, f"a number of at least {low:g}" if high == inf else f"a number from {low:g} to {high:g}"
    )


def one_of(words: str) -> Kind:
    """One of some words, given with spaces between them."""
    known = frozenset(words.split())

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return Kind(read, f"one of {', '.join(f'`{word}`' for word in words.split())}")


def some_of(words: str) -> Kind:
    """Several words with commas between them."""
    return several(one_of(words), ",")


def boolean() -> Kind:
    """A truth as llama.cpp writes it."""
    yes, no = {"1", "on", "true", "enabled"}, {"0", "off", "false", "disabled"}

    def read(text: str) -> bool:
        if text not in yes | no:
            raise ValueError(text)
        return text in yes

    return Kind(read, "`on` or `off`")


def text() -> Kind:
    """Any text."""
    return Kind(str, "a text")


def either(first: Kind, second: Kind) -> Kind:
    """A value of the first kind, or else of the second."""

    def read(text: str) -> Value:
        try:
            return first.read(text)
        except ValueError:
            return second.read(text)

    return Kind(read, f"{first.expected}, or {second.expected}")


def several(kind: Kind, separators: str) -> Kind:
    """Values with one of the separators between them."""
    between = re.compile(f"[{re.escape(separators)}]")

    def read(text: str) -> Value:
        return tuple(kind.read(part) for part in between.split(text))

    return Kind(read, f"a list of values, each {kind.expected}")


def cpu_mask() -> Kind:
    """A set of CPUs as a hexadecimal number."""
    return Kind(lambda text: _matching(_MASK, text), "a hexadecimal number")


def cpu_range() -> Kind:
    """A set of CPUs as `low-high`, of which one may be missing."""
    return Kind(lambda text: _matching(_RANGE, text), "a range like `0-7`")


def json_object() -> Kind:
    """An object of JSON, kept as text."""

    def read(text: str) -> str:
        try:
            value = json.loads(text)
        except RecursionError as exc:
            raise ValueError(text) from exc
        if not isinstance(value, Mapping):
            raise ValueError(text)  # noqa: TRY004 - a value that cannot be read, whatever it is
        return text

    return Kind(read, "a JSON object")


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def table(rows: Mapping[str, Kind]) -> dict[str, Flag]:
    """Make flags with one value each: `rows` has their spellings, flags with commas between them."""
    return {
        spelling: Flag(_canonical(spellings), (kind,))
        for group, kind in rows.items()
        for spellings in group.split(",")
        for spelling in spellings.split()
    }


def switches(pairs: str) -> dict[str, Flag]:
    """Make flags without values: one a line, `|` before the spellings that mean the opposite."""
    found: dict[str, Flag] = {}
    for line in filter(str.strip, pairs.splitlines()):
        yes, _, no = line.partition("|")
        name = _canonical(yes)
        found |= {spelling: Flag(name) for spelling in yes.split()}
        found |= {spelling: Flag(name, constant=False) for spelling in no.split()}
    return found


def _canonical(spellings: str) -> str:
    """The first long spelling; the first one, when all are short."""
    names = spellings.split()
    return next((name for name in names if name.startswith("--")), names[0])
