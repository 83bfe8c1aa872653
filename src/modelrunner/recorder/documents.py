"""JSON of unknown shape, looked at without trust: whatever is not as expected is as if it were not there."""

import json
from typing import Any

import msgspec

JSON = dict[str, Any]
NUMBERS = (int, float)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_json(data: bytes | str) -> Any:
    """Read JSON; None when it is none. Half of a surrogate pair, which only Python lets pass, is replaced."""
    try:
        return msgspec.json.decode(data)
    except _UNREADABLE:
        pass
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        return json.loads(clean(json.dumps(json.loads(text), ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None


def repeats_a_name(text: str) -> bool:
    """Whether an object in a document has two fields with one name, of which only one is read."""

    def look(fields: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in fields}) < len(fields):
            raise ValueError("a name is there twice")

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True
    return False


def clean(text: str) -> str:
    """Replace what no UTF-8 has."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def text_of(value: Any) -> str:
    """A text, or none."""
    return value if isinstance(value, str) else ""


def dict_of(value: Any) -> JSON:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, list) else []


def dicts_of(value: Any) -> list[JSON]:
    """The objects in a list."""
    return [each for each in list_of(value) if isinstance(each, dict)]


def number_of(value: Any) -> float | None:
    """A number that can be counted with."""
    if isinstance(value, bool) or not isinstance(value, NUMBERS):
        return None
    return float(value) if -1e15 < value < 1e15 else None


def count_of(value: Any) -> int | None:
    """A number of things."""
    number = number_of(value)
    return None if number is None or number < 0 else int(number)
