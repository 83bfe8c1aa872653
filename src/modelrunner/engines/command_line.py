"""Reading back an engine's command line: which flags it has, by one of their names, and with which values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def synonyms(*flags: str) -> dict[str, str]:
    """Map each name of each flag, given as `-c --ctx-size`, to the first."""
    return {name: flag.split()[0] for flag in flags for name in flag.split()}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What it says: values by the first name of their flag, the last of each at the end; and flags alone."""

    values: Mapping[str, tuple[str, ...]]
    switches: frozenset[str]

    def text(self, flag: str) -> str | None:
        """The value that counts, which is the last."""
        return self.values[flag][-1] if self.values.get(flag) else None

    def number(self, flag: str, default: int) -> int:
        """The value as a whole number; the default where it is none."""
        text = (self.text(flag) or "").strip()
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else default


def read(argv: Sequence[str], valued: Mapping[str, str], switches: Mapping[str, str]) -> CommandLine:
    """Read `argv`; flags that are in neither table are passed over, and so are their values."""
    values: dict[str, tuple[str, ...]] = {}
    found: set[str] = set()
    rest = list(reversed(argv))
    while rest:
        name, joined, value = rest.pop().partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        if name in switches:
            found.add(switches[name])
        elif name in valued and (joined or rest):
            values[valued[name]] = (*values.get(valued[name], ()), value if joined else rest.pop())
    return CommandLine(values, frozenset(found))
