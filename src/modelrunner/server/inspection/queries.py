"""What a query of the management API means: moments, numbers, and which requests somebody wants to see."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from modelrunner.errors import InvalidRequest
from modelrunner.models.description.names import as_id
from modelrunner.oci.reference import DEFAULT_ORGANISATION, DEFAULT_TAG
from modelrunner.recorder.values import Filter
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.store.snapshot import StoredModel
from modelrunner.units import parse_duration

FILTERS = (
    *("q", "model", "caller", "dialect", "mode", "path", "outcome", "status"),
    *("since", "until", "slower", "before", "after"),
)
_OUTCOMES = ("ok", "failed", "cancelled")
_LONGEST_NUMBER = 18  # digits


def moment_of(text: str, now: float) -> float:
    """Read a moment, in seconds since the epoch: `2026-01-31T12:00:00Z`, or a duration before now.

    Raises:
        InvalidRequest: it is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return now - abs(parse_duration(text))
    try:
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise InvalidRequest(f"invalid moment: `{text[:100]}`", hint="write it as in 2026-01-31") from exc


def number_of(text: str | None, name: str) -> int | None:
    """Read a number that may not be there.

    Raises:
        InvalidRequest: it is no number.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise InvalidRequest(f"invalid {name}: `{text[:100]}`", hint="it has to be a number")
    return int(text)


def filter_of(query: Mapping[str, str], catalogue: Catalogue) -> Filter:
    """Read which requests are meant.

    Raises:
        InvalidRequest: a value cannot be read.
    """
    now = time.time()
    since, until, slower = query.get("since"), query.get("until"), query.get("slower")
    outcome = query.get("outcome") or None
    if outcome is not None and outcome not in _OUTCOMES:
        raise InvalidRequest(f"invalid outcome: `{outcome[:100]}`", hint=f"one of {', '.join(_OUTCOMES)}")
    return Filter(
        words=query.get("q") or None,
        models=_models(query.get("model"), catalogue),
        caller=query.get("caller") or None,
        dialect=query.get("dialect") or None,
        mode=query.get("mode") or None,
        path=query.get("path") or None,
        outcome=outcome,
        status=_status(query.get("status")),
        since=moment_of(since, now) if since else None,
        until=moment_of(until, now) if until else None,
        slower=parse_duration(slower) if slower else None,
        before=number_of(query.get("before"), "before"),
        after=number_of(query.get("after"), "after"),
    )


def strict_filter_of(query: Mapping[str, str], catalogue: Catalogue) -> Filter:
    """Read which requests are meant by somebody to whom a slip must not mean all of them.

    Raises:
        InvalidRequest: a name is unknown, or a value is missing or cannot be read.
    """
    for name, value in query.items():
        if name not in FILTERS:
            raise InvalidRequest(f"no such filter: `{name[:100]}`", hint=f"one of {', '.join(FILTERS)}")
        if not value:
            raise InvalidRequest(
                f"`{name}` has no value", hint="leave it out, or say which requests you mean"
            )
    return filter_of(query, catalogue)


def _models(text: str | None, catalogue: Catalogue) -> tuple[str, ...] | None:
    if not text:
        return None
    found = catalogue.look(text)
    if found is None:
        return (text,)
    names = () if as_id(text) else _spelled(found)
    return tuple(dict.fromkeys((str(found.id), text, *names)))


def _spelled(model: StoredModel) -> Iterator[str]:
    """All that somebody may have called a model by; a request that was refused early has only that."""
    for tag in model.tags:
        for name in (str(tag), tag.familiar, tag.familiar.removeprefix(f"{DEFAULT_ORGANISATION}/")):
            yield name
            yield name.removesuffix(f":{DEFAULT_TAG}")


def _status(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    if len(text) == 3 and text.isascii() and text[0].isdigit() and text[1:] == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    number = number_of(text, "status") or 0
    return number, number
