"""What people type, turned into a reference: short names, upper case, Hugging Face's two hosts, ids.

Which stored model an id or a name means is the store's to say.
"""

import re

from modelrunner.errors import InvalidReference
from modelrunner.oci.reference import (
    DEFAULT_ORGANISATION,
    DEFAULT_TAG,
    DOCKER_HUB,
    Reference,
    parse_reference,
)

HUGGING_FACE = "huggingface.co"

_HUGGING_FACE_SHORT = "hf.co/"
_ID = re.compile(r"(?:[0-9a-f]{12}|(?:sha256:)?([0-9a-f]{64}))", re.ASCII)
_MAX_LENGTH = 1024  # characters; more than any valid reference with a digest has


def parse_name(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """Read what somebody typed as the name of a model, to pull, to push or to give.

    A name without a slash belongs to the organisation `ai`, a missing tag is `latest`, the name's case is
    ignored and the tag's kept. A digest is kept beside a tag, so that both have to agree.

    Raises:
        InvalidReference: empty, an id of 64 digits, an address with a scheme, or outside the grammar.
    """
    typed = text.strip()
    if not typed:
        raise InvalidReference("no model named: the reference is empty", hint="write it like `ai/smollm2`")
    if len(typed) > _MAX_LENGTH:
        raise InvalidReference(f"invalid model reference: `{typed[:60]}…` is too long")
    if "://" in typed:
        raise InvalidReference(
            f"invalid model reference: `{typed}` is an address",
            hint=f"leave `{typed.partition('://')[0]}://` out",
        )
    name, at, digest = _hugging_face_in_full(typed).partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if as_id(typed) == typed and len(typed) == 64:
        return parse_reference(typed, default_registry=default_registry)  # which says why it is refused
    path = f"{head}{slash}{last}".lower()
    if "/" not in path:
        path = f"{DEFAULT_ORGANISATION}/{path}"
    if not tag and not at:
        colon, tag = ":", DEFAULT_TAG
    return parse_reference(f"{path}{colon}{tag}{at}{digest}", default_registry=default_registry)


def as_id(text: str) -> str | None:
    """Give the digits if this may be a model's id: 12 or 64 of `[0-9a-f]`, or `sha256:` and 64; else None."""
    match = _ID.fullmatch(text.strip())
    return (match[1] or match[0]) if match else None


def is_hugging_face(text: str) -> bool:
    """Whether this names a repository of Hugging Face's hub, which is no registry."""
    return text.strip().startswith((f"{HUGGING_FACE}/", _HUGGING_FACE_SHORT))


def _hugging_face_in_full(name: str) -> str:
    if name.startswith(_HUGGING_FACE_SHORT):
        return f"{HUGGING_FACE}/{name.removeprefix(_HUGGING_FACE_SHORT)}"
    return name
