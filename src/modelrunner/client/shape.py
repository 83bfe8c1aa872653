"""Whether decoded JSON has the fields that are read from it; any other field may be there too."""

TEXT, INTEGER = str, int
_ABSENT = object()
_LARGEST = 2**63  # what other languages' integers hold, and arithmetic with floats bears

# A type; None; a tuple of which one fits; a list of one for each element; a dictionary by key, where `key?`
# may be absent and `*` stands for every key.
Shape = object


def fits(document: object, shape: Shape) -> bool:
    """Compare a document with a shape."""
    if isinstance(shape, tuple):
        return any(fits(document, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(document, list) and _all_fit(document, shape[0])
    if isinstance(shape, dict):
        return isinstance(document, dict) and _has_all(document, shape)
    if shape is INTEGER:
        return isinstance(document, int) and abs(document) < _LARGEST
    return document is None if shape is None else isinstance(document, str)


# Loops, not generators: a list of thousands of models is gone through field by field.
def _all_fit(items: list[object], shape: Shape) -> bool:
    for item in items:  # noqa: SIM110 - see above
        if not fits(item, shape):
            return False
    return True


def _has_all(document: dict[str, object], shape: dict[str, Shape]) -> bool:
    for key, wanted in shape.items():
        if key == "*":
            if not _all_fit(list(document.values()), wanted):
                return False
            continue
        name = key.removesuffix("?")
        value = document.get(name, _ABSENT)
        if value is _ABSENT:
            if name == key:
                return False
        elif (type(value) is not wanted or wanted is INTEGER) and not fits(value, wanted):
            return False
    return True
