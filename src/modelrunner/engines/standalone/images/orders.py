"""What a request wants painted: JSON, read and checked. Pure.

Source: OpenAI API reference, "Create image" and "Create image edit"; the names from `negative_prompt` to
`seed`, the ranges, and the form of errors are those of Docker Model Runner's server; `strength` is our own.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SIZE = re.compile(r"([0-9]{1,4})[xX]([0-9]{1,4})")
GRAIN, LARGEST = 8, 4096  # pixels; what the latent spaces of all pipelines divide, and what memory may hold
_USUAL = "512x512"


class Refused(Exception):
    """A request that is not served, with its status and what `detail` says."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Edit:
    """A picture to change, as a file's bytes; `strength` is how much, from 0 to 1.

    It changes where `mask`, a picture of the same size, is transparent, or white when it has no transparency.
    """

    image: bytes
    mask: bytes | None = None
    strength: float = 0.8


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be painted. Sizes are in pixels; image number i has the seed `seed + i`.

    `size` is None for that of the picture that is changed, `form` is a file's, `compression` from 0 to 100.
    """

    prompt: str
    number: int
    size: tuple[int, int] | None
    steps: int
    guidance: float
    negative: str | None
    seed: int | None
    form: str = "png"
    compression: int | None = None
    edit: Edit | None = None


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a request: its types, its range, and what it is when it is missing."""

    kinds: tuple[type, ...]
    default: object = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    def wrong(self, value: object) -> str | None:
        """Say what is wrong with a value; None when nothing is."""
        odd = isinstance(value, bool) and bool not in self.kinds
        if odd or not isinstance(value, self.kinds):
            return f"Input should be of the type {self.kinds[0].__name__}"
        if self.choices and value not in self.choices:
            return f"Input should be one of {', '.join(self.choices)}"
        if isinstance(value, int | float):
            if self.least is not None and not value >= self.least:
                return f"Input should be greater than or equal to {self.least}"
            if self.most is not None and not value <= self.most:
                return f"Input should be less than or equal to {self.most}"
        return None


_FIELDS: Mapping[str, _Field] = {
    "model": _Field((str,), required=True),
    "prompt": _Field((str,), required=True),
    "n": _Field((int,), 1, least=1, most=10),
    "size": _Field((str,), "auto"),
    "response_format": _Field((str,), "b64_json", choices=("b64_json", "url")),
    "quality": _Field((str,), "standard"),
    "style": _Field((str,)),
    "background": _Field((str,), "auto", choices=("auto", "opaque")),
    "output_format": _Field((str,), "png", choices=("png", "jpeg", "webp")),
    "output_compression": _Field((int,), least=0, most=100),
    "stream": _Field((bool,), default=False),
    "negative_prompt": _Field((str,)),
    "num_inference_steps": _Field((int,), 50, least=1, most=150),
    "guidance_scale": _Field((float, int), 7.5, least=1.0, most=20.0),
    "seed": _Field((int,), least=0, most=2**63 - 11),
}
_EDIT_FIELDS: Mapping[str, _Field] = {
    **_FIELDS,
    "images": _Field((list,), required=True),
    "mask": _Field((str,)),
    "strength": _Field((float, int), 0.8, least=0.0, most=1.0),
}


def read_order(body: bytes, names: Sequence[str]) -> Order:
    """Read a request for new images; `names` are those of the model, the first of which is told.

    Raises:
        Refused: 422 for a field that is wrong, 421 for another model, 400 for what is not made.
    """
    values = _values(body, _FIELDS, names)
    return _order(values, _size(_USUAL if values["size"] == "auto" else values["size"]), None)


def read_edit(body: bytes, names: Sequence[str]) -> Order:
    """Read a request to change a picture, which is in base64, as the mask is; raises as `read_order` does."""
    values = _values(body, _EDIT_FIELDS, names)
    if len(values["images"]) != 1:
        raise Refused(400, f"{len(values['images'])} images: this model changes one at a time")
    edit = Edit(
        image=_data("images", values["images"][0]),
        mask=None if values["mask"] is None else _data("mask", values["mask"]),
        strength=float(values["strength"]),
    )
    if int(values["num_inference_steps"] * edit.strength) < 1:
        raise Refused(400, "num_inference_steps times strength is less than one step")
    return _order(values, None if values["size"] == "auto" else _size(values["size"]), edit)


def _order(values: Mapping[str, Any], size: tuple[int, int] | None, edit: Edit | None) -> Order:
    if values["response_format"] == "url":
        raise Refused(400, "response_format 'url' is not supported; use 'b64_json'")
    if values["stream"]:
        raise Refused(400, "stream is not supported; images come when they are whole")
    return Order(
        prompt=values["prompt"],
        number=values["n"],
        size=size,
        steps=values["num_inference_steps"],
        guidance=float(values["guidance_scale"]),
        negative=values["negative_prompt"],
        seed=values["seed"],
        form=values["output_format"],
        compression=values["output_compression"],
        edit=edit,
    )


def _size(text: str) -> tuple[int, int]:
    size = _SIZE.fullmatch(text)
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    if not all(GRAIN <= side <= LARGEST and side % GRAIN == 0 for side in (width, height)):
        raise Refused(
            400,
            f"Invalid size format '{text}': use WIDTHxHEIGHT, such as 512x512,"
            f" each a multiple of {GRAIN} and at most {LARGEST}",
        )
    return width, height


def _data(name: str, text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Refused(400, f"{name}: not base64") from exc


def _values(body: bytes, fields: Mapping[str, _Field], names: Sequence[str]) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(422, [_wrong("json_invalid", (), f"JSON decode error: {exc}")]) from exc
    if not isinstance(given, dict):
        raise Refused(422, [_wrong("model_attributes_type", (), "Input should be an object")])
    values: dict[str, Any] = {}
    wrong = []
    for name, field in fields.items():
        value = given.get(name)
        if value is None:
            values[name] = field.default
            if field.required:
                wrong.append(_wrong("missing", (name,), "Field required"))
            continue
        values[name] = value
        if reason := field.wrong(value):
            wrong.append(_wrong("value_error", (name,), reason))
    if wrong:
        raise Refused(422, wrong)
    if values["model"] not in names:
        raise Refused(421, f"Model '{values['model']}' not loaded. Current model: {names[0]}")
    return values


def _wrong(kind: str, where: tuple[str, ...], reason: str) -> Mapping[str, object]:
    return {"type": kind, "loc": ["body", *where], "msg": reason}
