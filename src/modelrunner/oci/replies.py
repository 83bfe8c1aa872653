"""What the answers of a registry mean: refusals and ranges. Reads values, never a connection."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from modelrunner.errors import ModelNotFound, RegistryError, RunnerError, Unauthorized
from modelrunner.oci.manifest import UNREADABLE, Descriptor

MAX_ERROR_BYTES = 64 * 1024

_DENIED = frozenset({"UNAUTHORIZED", "DENIED", "INSUFFICIENT_SCOPE"})
_UNKNOWN = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "NOT_FOUND"})
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)
_MOST_CHARACTERS = 300  # of a registry's own words that are repeated


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Refusals(msgspec.Struct):
    errors: list[_Refusal] = []


@dataclass(frozen=True, slots=True)
class Span:
    """A `Content-Range`: the first and last byte that come, and the size of the whole, if it was said."""

    first: int
    last: int
    total: int | None


def parse_content_range(value: str | None) -> Span | None:
    """Read a `Content-Range` header; None when it is missing or malformed."""
    found = _RANGE.fullmatch((value or "").strip())
    if found is None or int(found[2]) < int(found[1]):
        return None
    return Span(int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3]))


def unsatisfied_size(value: str | None) -> int | None:
    """The size in the `Content-Range` of a refused range, `bytes */512`; None when it is not said."""
    found = _UNSATISFIED.fullmatch((value or "").strip())
    return int(found[1]) if found else None


def body_start(status: int, headers: Mapping[str, str], blob: Descriptor, asked: int) -> int | None:
    """Where a blob's bytes start in an answer of status 200 or 206; None when that cannot be told.

    Raises:
        RegistryError: the other side's blob has another size than the manifest says, or comes compressed.
    """
    if headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise RegistryError(
            f"blob `{blob.digest}` comes compressed, which was not asked for",
            hint="a proxy on the way may do that; try without it",
        )
    if status == 206:
        span = parse_content_range(headers.get("Content-Range"))
        check_size(blob, span.total if span else None)
        return asked if span and span.first == asked else None
    length = headers.get("Content-Length", "")
    check_size(blob, int(length) if length.isascii() and length.isdigit() else None)
    return 0


def check_size(blob: Descriptor, size: int | None) -> None:
    """Refuse a blob of which the other side says that it has another size than its manifest.

    Raises:
        RegistryError: the sizes differ.
    """
    if size is not None and size != blob.size:
        raise RegistryError(
            f"blob `{blob.digest}` has {size} bytes in the registry, but its manifest says {blob.size}",
            hint="the model was published wrongly; ask whoever published it",
        )


def refusal(status: int, body: bytes, what: str, registry: str) -> RunnerError:
    """The error for an answer that is not a success. `what` is the model or blob that was asked for.

    Decides by status and code, never by the words. Docker Hub refuses, rather than not finding, what does not
    exist, so the hint for a refusal has both ways out.
    Source: OCI distribution-spec v1.1, "Error codes".
    """
    try:
        found = msgspec.json.decode(body, type=_Refusals).errors
    except UNREADABLE:
        found = []
    codes = [each.code.upper()[:64] for each in found]
    detail = {"status": status, "codes": codes}
    if status in {401, 403} or (status < 500 and _DENIED.intersection(codes)):
        return Unauthorized(
            f"access denied: `{what}`",
            hint=f"check the name; if it is private, log in with `docker login {registry}`",
            detail=detail,
        )
    if status == 404 or (status < 500 and _UNKNOWN.intersection(codes)):
        return ModelNotFound(f"model not found: `{what}`", hint="check the name and the tag", detail=detail)
    said = _legible("; ".join(each.message or each.code for each in found))
    if status == 429:
        return RegistryError(
            f"`{registry}` answers too many requests{f': {said}' if said else ''}",
            hint=f"wait a while, or log in with `docker login {registry}` for a higher limit",
            detail=detail,
        )
    reason = f" ({said})" if said else ""
    return RegistryError(
        f"`{registry}` answers with status {status} for `{what}`{reason}",
        hint="try again later" if status >= 500 else None,
        detail=detail,
    )


def blob_refusal(status: int, body: bytes, blob: Descriptor, registry: str) -> RunnerError:
    """The error for a blob that does not come; a missing one is the registry's fault, not the name's."""
    if status != 404:
        return refusal(status, body, str(blob.digest), registry)
    return RegistryError(
        f"`{registry}` has the manifest, but not its blob `{blob.digest}`",
        hint="the model was published incompletely; ask whoever published it",
        detail={"status": status},
    )


def _legible(text: str) -> str:
    """A foreign text as it may appear in a message: one line, no control characters, not long."""
    line = "".join(character if character.isprintable() else " " for character in text[:_MOST_CHARACTERS])
    return " ".join(line.split()).rstrip(".")
