"""Vectors made shorter: the first numbers of each, as long as one again, for models that were trained so.

vLLM does that itself, and refuses it for other models; llama.cpp leaves `dimensions` unheeded.
"""

import base64
import math
import struct
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.errors import EngineFailed, InvalidRequest

_MARK = b'"dimensions"'
_FORMS = ("float", "base64")
_fields = msgspec.json.Decoder(dict[str, Any])


class VectorsRequest(msgspec.Struct):
    """What of `POST /v1/embeddings` matters here."""

    model: str = ""
    dimensions: int | None = None
    encoding_format: str | None = None
    keep_alive: str | float | None = None

    def check(self) -> None:
        """Refuse what is no length, or no form of numbers.

        Raises:
            InvalidRequest: the field is named.
        """
        if self.dimensions is not None and self.dimensions < 1:
            raise InvalidRequest(
                f"invalid dimensions: `{self.dimensions}`", hint="at least 1", detail={"param": "dimensions"}
            )
        if self.encoding_format not in {None, *_FORMS}:
            raise InvalidRequest(
                f"invalid encoding_format: `{str(self.encoding_format)[:50]}`", hint="`float` or `base64`"
            )


def may_shorten(body: bytes) -> bool:
    """Whether a body may ask for shorter vectors; nobody writes the word as escapes."""
    return _MARK in body


def whole_vectors(body: bytes) -> dict[str, Any]:
    """Write a request for the whole vectors, as numbers."""
    fields = _fields.decode(body)
    fields.pop("dimensions", None)
    return {**fields, "encoding_format": "float"}


def shortened_reply(answer: bytes, asked: VectorsRequest) -> bytes:
    """Write an engine's answer with shorter vectors, in the form that was asked for.

    Raises:
        EngineFailed: it has none.
    """
    try:
        found = _fields.decode(answer)
        for item in found["data"]:
            numbers = of_length_one(item["embedding"][: asked.dimensions])
            item["embedding"] = numbers if asked.encoding_format != "base64" else _packed(numbers)
    except (*UNREADABLE, LookupError, TypeError) as exc:
        raise EngineFailed(f"the engine did not answer properly: {exc}") from exc
    return msgspec.json.encode(found)


def of_length_one(numbers: list[float]) -> list[float]:
    """Scale a vector."""
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


def _packed(numbers: list[float]) -> str:
    """Source: OpenAI's clients, which read little-endian floats of four bytes."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
