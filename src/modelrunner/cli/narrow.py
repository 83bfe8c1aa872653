"""Tables and sentences on a terminal that may be too narrow for them; anywhere else they are as ever."""

import os
import sys
from collections.abc import Iterable, Sequence

from modelrunner.cli.output import clean, emit, is_terminal, say, table


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]], dispensable: Sequence[str]) -> None:
    """Print a table; on a terminal that is narrower, without some of the columns, the first named first."""
    columns = _columns()
    if columns is None:
        emit(table(header, rows))
        return
    emit(fitted(header, [tuple(row) for row in rows], dispensable, columns))


def say_wrapped(text: str, indent: str = "") -> None:
    """Print a sentence; on a terminal it is broken between words, and goes on below its beginning."""
    columns = _columns()
    if columns is None or len(indent) + len(text) <= columns:
        say(f"{indent}{clean(text)}")
        return
    from modelrunner.cli.cells import wrap

    first, *more = wrap(clean(text), max(1, columns - len(indent) - 2))
    say("\n".join([f"{indent}{first}", *(f"{indent}  {line}" for line in more)]))


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str], columns: int
) -> str:
    """Leave out as few of the dispensable columns as so many columns of characters ask for."""
    gone: set[int] = set()
    for title in ("", *dispensable):
        if title in header:
            gone.add(header.index(title))
        kept = [place for place in range(len(header)) if place not in gone]
        text = table([header[place] for place in kept], [[row[place] for place in kept] for row in rows])
        lines = [line.rstrip() for line in text.splitlines()]
        if max(map(len, lines)) <= columns:
            break
    return "".join(f"{line}\n" for line in lines)


def _columns() -> int | None:
    """How wide the terminal is; None when nobody watches."""
    if not is_terminal(sys.stdout):
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None
