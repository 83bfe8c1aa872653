"""The name of a model in a request, put in the words of an engine that knows the model by one name only."""

import msgspec

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def renamed(body: bytes, name: str) -> bytes:
    """Replace the value of `model`; every other value keeps its bytes. `body` is a JSON object."""
    fields = _fields.decode(body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode(fields)
