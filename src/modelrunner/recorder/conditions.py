"""A filter as SQL. Pure; every value is a parameter, never a part of the text."""

import re

from modelrunner.recorder.values import Filter

_WORD = re.compile(r'"([^"]*)"|(\S+)')
_LETTERS = re.compile(r"\w", re.UNICODE)


def condition(wanted: Filter) -> tuple[str, list[object]]:
    """Write what comes after WHERE, and its parameters. The words are joined in by whoever searches."""
    terms: list[str] = ["1"]
    values: list[object] = []

    def also(term: str, *given: object) -> None:
        terms.append(term)
        values.extend(given)

    if wanted.models is not None:
        marks = ", ".join("?" * len(wanted.models))
        also(
            f"(requests.model_id IN ({marks}) OR requests.model IN ({marks}))", *wanted.models, *wanted.models
        )
    if wanted.ids is not None:
        also(f"requests.id IN ({', '.join('?' * len(wanted.ids))})", *wanted.ids)
    for name in ("caller", "dialect", "mode", "path", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            also(f"requests.{name} = ?", value)
    if wanted.status is not None:
        also("requests.status BETWEEN ? AND ?", *wanted.status)
    for term, value in (
        ("requests.at >= ?", wanted.since),
        ("requests.at < ?", wanted.until),
        ("requests.seconds >= ?", wanted.slower),
        ("requests.id < ?", wanted.before),
        ("requests.id > ?", wanted.after),
    ):
        if value is not None:
            also(term, value)
    if wanted.reached:
        also("requests.reached")
    return " AND ".join(terms), values


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
