"""Tables, JSON and messages as people and scripts read them: data to stdout, everything else to stderr."""

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from modelrunner.errors import RunnerError

# What a terminal would obey: C0 and C1 controls and DEL. Names and metadata come from registries.
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd")


def clean(text: str) -> str:
    """Replace control characters, so that no text from outside moves the cursor or hides a line."""
    return text if text.isprintable() else text.translate(_CONTROLS)


# Of these JSON escapes only the first ones by itself.
_JSON_CONTROLS = re.compile(r"[\x7f-\x9f]")
_UNSAFE = {**_CONTROLS, ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}


def harmless(text: str) -> str:
    """Replace control characters but keep lines and tabs: what a model writes is not to steer a terminal."""
    return text if text.isprintable() else text.translate(_UNSAFE)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows without borders: left-aligned, each cell followed by two spaces."""
    lines = [tuple(header), *map(_clean_row, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    line = "".join(f"%-{width}s  " for width in widths) + "\n"
    return "".join([line % cells for cells in lines])


def _clean_row(row: Sequence[str]) -> tuple[str, ...]:
    cells = tuple(row)
    return cells if "".join(cells).isprintable() else tuple(map(clean, cells))


def standard_json(document: object, indent: int = 4) -> str:
    """Print JSON as the reference does: indented, nothing escaped that need not be, a final newline."""
    return _escaped(json.dumps(document, indent=indent, ensure_ascii=False)) + "\n"


def json_line(document: object, separators: tuple[str, str] = (", ", ": ")) -> str:
    """Write JSON on one line, which has no end."""
    return _escaped(json.dumps(document, ensure_ascii=False, separators=separators))


def _escaped(text: str) -> str:
    """Escape what a terminal would obey; to JSON it is the same."""
    return _JSON_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def emit(data: str | bytes) -> None:
    """Print data that brings its own line ends; bytes as they are.

    Raises:
        RunnerError: it cannot be written. What is printed after that is lost without another error.
        BrokenPipeError: its reader has left.
    """
    try:
        if isinstance(data, str):
            sys.stdout.write(data)
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        discard_output()
        raise RunnerError(f"cannot write to stdout: {(exc.strerror or str(exc)).lower()}") from exc


def emit_foreign(pieces: Iterable[bytes]) -> None:
    """Print what others wrote: byte for byte, and to a terminal as text that does not steer it."""
    if not is_terminal(sys.stdout):
        for piece in pieces:
            emit(piece)
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        emit(harmless(decoder.decode(piece)))
    emit(harmless(decoder.decode(b"", final=True)))


def discard_output() -> None:
    """Point stdout at nothing: Python would complain when it flushes at exit what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str = "") -> None:
    """Print a line of data, or several; none of it steers a terminal."""
    emit(f"{harmless(text)}\n")


def note(text: str = "") -> None:
    """Print a line for the person at the terminal; none of it steers that."""
    sys.stderr.write(f"{harmless(text)}\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches the stream; a closed or missing one is nobody's terminal."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


_DUMB = "dumb"  # the kind of terminal that has no cursor to move
_terminal = ""


def know_terminal(environ: Mapping[str, str]) -> None:
    """Take note of which kind of terminal this is."""
    global _terminal  # noqa: PLW0603 - a process has one, and everything that draws would have to be told
    _terminal = environ.get("TERM", "")


def can_draw(stream: TextIO) -> bool:
    """Whether what was written can be written over: a terminal, and one that moves its cursor."""
    return is_terminal(stream) and _terminal != _DUMB


def unforeseen(exc: Exception) -> RunnerError:
    """Make what a user is told of an exception that nobody foresaw."""
    return RunnerError(
        f"internal error: {type(exc).__name__}: {exc}",
        hint="this is a defect, please report it; LOG_LEVEL=debug shows where it is",
    )


def render_error(error: RunnerError) -> str:
    """Say what went wrong and, after an empty line, what to do about it."""
    message = "\n".join(clean(line) for line in error.message.splitlines()) or "something went wrong"
    text = f"error: {message}\n"
    if error.hint:
        text += f"\nhint: {clean(error.hint)}\n"
    return text
