"""Whether decoded JSON has the fields that are read from it; any other field may be there too."""

TEXT, INTEGER = str, int
_LARGEST = 2**63  # what other languages' integers hold, and arithmetic with floats bears

# A type; None; a tuple of which one fits; a list of one for each element; a dictionary by key, where `key?`
# may be absent and `*` stands for every key.
Shape = object


def fits(document: object, shape: Shape) -> bool:
    """Compare a document with a shape."""
    if isinstance(shape, tuple):
        return any(fits(document, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(document, list) and all(fits(item, shape[0]) for item in document)
    if isinstance(shape, dict):
        return isinstance(document, dict) and all(_has(document, key, shape[key]) for key in shape)
    if shape is INTEGER:
        return isinstance(document, int) and abs(document) < _LARGEST
    return document is None if shape is None else isinstance(document, str)


def _has(document: dict[str, object], key: str, shape: Shape) -> bool:
    if key == "*":
        return all(fits(value, shape) for value in document.values())
    name = key.removesuffix("?")
    return fits(document[name], shape) if name in document else name != key
