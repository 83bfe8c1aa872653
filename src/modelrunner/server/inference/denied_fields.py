"""Requests are searched for the fields that their engine must not get (`engines/denied_fields.py`)."""

import msgspec

from modelrunner.engines.denied_fields import DeniedField, DeniedFields
from modelrunner.errors import InvalidRequest
from modelrunner.server.connection.bodies import UNREADABLE

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = b"null"


def refuse_denied(body: bytes, denied: DeniedFields) -> None:
    """Let a request pass, which is a JSON object, unless it has a field that its engine must not get.

    Raises:
        InvalidRequest: it has one.
    """
    if not denied:
        return
    given = _fields.decode(body)  # quicker than a search for each name, and not deceived by escapes
    for name, field in denied.items():
        outer, _, inner = name.partition(".")
        if outer in given:
            _check(name, bytes(given[outer]), inner, field)


def _check(name: str, value: bytes, inner: str, field: DeniedField) -> None:
    if inner:
        value = _within(value, inner)
    if value == _NULL or (field.least is not None and _is_at_least(value, field.least)):
        return
    raise InvalidRequest(f"`{name}` is not accepted: {field.why}", hint=f"leave `{name}` out")


def _within(value: bytes, key: str) -> bytes:
    """A value within an object; null when there is none, or no object."""
    try:
        return bytes(_fields.decode(value).get(key, _NULL))
    except UNREADABLE:
        return _NULL


def _is_at_least(value: bytes, least: int) -> bool:
    try:
        return msgspec.json.decode(value, type=int) >= least
    except UNREADABLE:
        return False
