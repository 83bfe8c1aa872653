"""Requests read as JSON of a shape; what is wrong with one is said with the field in which it is."""

import re
from typing import TypeVar

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.errors import InvalidRequest

T = TypeVar("T")
_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")


def read(body: bytes, kind: type[T], *, words: str = "invalid request") -> T:
    """Read a body; `words` begin the sentence when it is none.

    Raises:
        InvalidRequest: it is no JSON, or a field is missing or of another type; the field is named.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as exc:
        raise unreadable(exc, words) from exc


def unreadable(exc: Exception, words: str = "invalid request") -> InvalidRequest:
    """Say what is wrong with a body, and where.

    Source: msgspec, "Constraints", for how its errors are written.
    """
    told = str(exc)
    place = ""
    if isinstance(exc, msgspec.ValidationError):
        if match := _PLACE.fullmatch(told):
            told, place = match[1], match[2]
        if match := _MISSING.fullmatch(told):
            place = f"{place}.{match[1]}".lstrip(".")
            told = "it is required"
    if not place:
        return InvalidRequest(f"{words}: {told}", hint="the body has to be a JSON object")
    told = told[:1].lower() + told[1:]
    hint = f"look at `{place}`; /docs has the fields"
    return InvalidRequest(f"{words}: `{place}`: {told}", hint=hint, detail={"param": place})
