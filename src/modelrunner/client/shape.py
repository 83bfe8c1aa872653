"""Whether decoded JSON has the fields that are read from it; any other field may be there too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

TEXT, INTEGER, NUMBER = str, int, float
_ABSENT = object()
_LARGEST = 2**63  # what other languages' integers hold, and arithmetic with floats bears

# A type; None; a tuple of which one fits; a list of one for each element; a dictionary by key, where `key?`
# may be absent and `*`, alone, stands for every key.
Shape = object
Check = Callable[[object], bool]
T = TypeVar("T")


class Expected(Generic[T]):
    """What an answer has to look like, for a caller who reads it as a `T`."""

    __slots__ = ("shape",)

    def __init__(self, shape: Sequence[Shape] | Mapping[str, Shape]) -> None:
        self.shape = shape


def fits(document: object, shape: Shape) -> bool:
    """Compare a document with a shape."""
    return _check(shape)(document)


# A shape becomes functions first: a list of thousands of models is gone through field by field.
def _check(shape: Shape) -> Check:
    if isinstance(shape, tuple):
        return _either([_check(one) for one in shape])
    if isinstance(shape, list):
        return _list(_check(shape[0]))
    if isinstance(shape, dict):
        return _every(_check(shape["*"])) if "*" in shape else _fields(shape)
    if shape is INTEGER:
        return lambda document: isinstance(document, int) and abs(document) < _LARGEST
    if shape is NUMBER:
        return lambda document: isinstance(document, int | float) and abs(document) < _LARGEST
    if shape is None:
        return lambda document: document is None
    return lambda document: isinstance(document, str)


def _either(checks: list[Check]) -> Check:
    def check_any(document: object) -> bool:
        for check in checks:  # noqa: SIM110 - a generator would cost as much as the checks
            if check(document):
                return True
        return False

    return check_any


def _list(check: Check) -> Check:
    return lambda document: isinstance(document, list) and all(map(check, document))


def _every(check: Check) -> Check:
    return lambda document: isinstance(document, dict) and all(map(check, document.values()))


def _fields(shape: dict[str, Shape]) -> Check:
    fields = [
        (key.removesuffix("?"), key.endswith("?"), wanted is TEXT, _check(wanted))
        for key, wanted in shape.items()
    ]

    def check_all(document: object) -> bool:
        if not isinstance(document, dict):
            return False
        for name, optional, is_text, check in fields:
            value = document.get(name, _ABSENT)
            if value is _ABSENT:
                if not optional:
                    return False
            elif not (is_text and type(value) is str) and not check(value):
                return False
        return True

    return check_all
