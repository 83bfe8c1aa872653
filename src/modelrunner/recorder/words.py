"""What somebody typed to search for, as SQL. Pure; every value is a parameter, never a part of the text."""

import re

from modelrunner.recorder.conditions import condition
from modelrunner.recorder.values import Filter

_WORD = re.compile(r'"([^"]*)"|(\S+)')
_LETTERS = re.compile(r"\w", re.UNICODE)


def sought(wanted: Filter) -> tuple[str | None, str, list[object]]:
    """Write a query of the index, if there is one to ask, and a condition on the rest, with its values."""
    where, values = condition(wanted)
    if wanted.words is None or not wanted.words.strip():
        return None, where, values
    words = query(wanted.words)
    if words is None:
        return None, "0", []  # nothing but signs, of which there is no index
    return words, where, values


def query(words: str) -> str | None:
    """Write what somebody typed as a query of the index; None when there is no word in it.

    Each word has to be there, `"a phrase"` as it stands, `begin*` as a beginning; everything else is text.
    """
    terms: list[str] = []
    for phrase, word in _WORD.findall(words):
        text = (phrase or word).replace("\x00", " ")
        if not _LETTERS.search(text):
            continue
        is_beginning = bool(word) and word.endswith("*") and len(word) > 1
        quoted = text.rstrip("*") if is_beginning else text
        quoted = quoted.replace('"', '""')
        terms.append(f'"{quoted}"*' if is_beginning else f'"{quoted}"')
    return " AND ".join(terms) or None
