"""What could follow the text before the cursor: commands, their words, and files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_REFERENCE = re.compile(r"""(?:^|(?<=\s))@(?:"([^"]*)|'([^']*)|((?:\\.|[^\s"'\\])*))$""")
_SPECIAL = re.compile(r"""[\s"'\\]""")
_MOST = 200  # entries of a folder


class Candidate(NamedTuple):
    """A text to put in place of the last `length` characters; how it is listed, and a word on it."""

    text: str
    length: int
    about: str = ""
    shown: str = ""


Words = Callable[[], Sequence[str]]


def candidates(before: str, commands: Mapping[str, str], words: Mapping[str, Words]) -> Iterator[Candidate]:
    """Find what may follow `before`: `commands` by name with a summary, `words` of each, or files."""
    if match := _REFERENCE.search(before):
        yield from _files(match)
        return
    if not before.startswith("/"):
        return
    command, space, rest = before.partition(" ")
    if not space:
        for name, about in commands.items():
            if name.startswith(command):
                yield Candidate(name, len(command), about)
    elif command in words:
        for word in words[command]():
            if word.startswith(rest) and word != rest:
                yield Candidate(word, len(rest))


def is_open(before: str) -> bool:
    """Whether candidates are worth showing unasked: a command or a file is being typed."""
    return _REFERENCE.search(before) is not None or (before.startswith("/") and "\n" not in before)


def _files(match: re.Match[str]) -> Iterator[Candidate]:
    typed = next((group for group in match.groups() if group is not None), "")
    quoted = match[3] is None
    plain = typed if quoted else re.sub(r"\\(.)", r"\1", typed)
    head, slash, start = plain.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    try:
        found = sorted(folder.iterdir(), key=lambda path: path.name.lower())
        entries = [
            (path.name, path.is_dir())
            for path in found
            if path.name.startswith(start)
            and path.name.isprintable()
            and (start.startswith(".") or not path.name.startswith("."))
        ]
    except OSError:
        return
    for name, is_folder in entries[:_MOST]:
        path = f"{head}{slash}{name}{'/' if is_folder else ''}"
        needs_quotes = quoted or _SPECIAL.search(path) is not None
        end = "" if is_folder else '"'
        text = f'@"{path}{end}' if needs_quotes and '"' not in path else f"@{_escaped(path)}"
        yield Candidate(text, len(match[0]), shown=f"{name}{'/' if is_folder else ''}")


def _escaped(path: str) -> str:
    return _SPECIAL.sub(lambda special: f"\\{special[0]}", path)
