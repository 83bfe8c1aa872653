"""What people type, turned into a reference: short names, upper case, Hugging Face's two hosts, ids.

Which stored model an id or a name means is the store's to say.
"""

import re
from dataclasses import dataclass

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
_HUB_NAME = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::(?P<selector>[\w.-]*))?(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
_MAIN = "main"
_NO_TAG_CHARACTER = re.compile(r"[^\w.-]", re.ASCII)
_MOST_IN_TAG = 128  # characters. Source: OCI distribution-spec v1.1, "Pulling manifests"
_ID = re.compile(r"(?:[0-9a-f]{12}|(?:sha256:)?([0-9a-f]{64}))", re.ASCII)
_MAX_LENGTH = 1024  # characters; more than any valid reference with a digest has


@dataclass(frozen=True, slots=True)
class HubName:
    """A model of Hugging Face's hub. `selector` chooses among its files, as a quantization does."""

    repository: str  # in the case that it was typed in, since the hub tells the difference
    selector: str = DEFAULT_TAG
    revision: str = _MAIN  # a branch, a tag or a commit

    @property
    def tag(self) -> str:
        """What stands for selector and revision in the name under which the model is kept."""
        if self.revision == _MAIN:
            return self.selector
        return f"{self.selector}-at-{_NO_TAG_CHARACTER.sub('-', self.revision)}"[:_MOST_IN_TAG]


def parse_hub_name(text: str) -> HubName:
    """Read `hf.co/Org/Repository:SELECTOR@REVISION`, of which the last two may be missing.

    Raises:
        InvalidReference: it is no such name.
    """
    full = _hugging_face_in_full(text.strip())
    match = _HUB_NAME.fullmatch(full.removeprefix(f"{HUGGING_FACE}/"))
    if match is None or not full.startswith(f"{HUGGING_FACE}/") or ".." in full:
        raise InvalidReference(
            f"invalid model reference: `{text.strip()[:200]}`",
            hint="write it like `hf.co/org/model:Q4_K_M`, with `@` and a revision if it is not `main`",
        )
    return HubName(match["repository"], match["selector"] or DEFAULT_TAG, match["revision"] or _MAIN)


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
    scheme, is_address, _ = typed.partition("://")
    if is_address:
        raise InvalidReference(
            f"invalid model reference: `{typed}` is an address",
            hint=f"leave `{scheme}://` out; only files that end in `.gguf` are fetched by address",
        )
    if is_hugging_face(typed) and "@" in typed and "@sha256:" not in typed:
        hub = parse_hub_name(typed)
        typed = f"{HUGGING_FACE}/{hub.repository}:{hub.tag}"
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
