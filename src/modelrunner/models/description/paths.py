"""File names that came with an artifact, checked before they may become paths below a directory."""

import posixpath
import unicodedata
from pathlib import PurePosixPath

from modelrunner.errors import UnsafePath

_LONGEST_NAME = 255  # bytes that file systems have room for in each part of a path


def inner_path(text: str) -> PurePosixPath:
    """Read a relative path that stays inside, cleaned: `foo/../bar` is `bar`.

    Raises:
        UnsafePath: empty, absolute, leading outside, or with characters that no file name has.
    """
    reason = _objection(text)
    if reason:
        raise UnsafePath(f"unsafe path in the model: `{_shown(text)}` ({reason})")
    return PurePosixPath(_clean(text))


def sanitised_path(text: str) -> PurePosixPath:
    """Read a path as `inner_path` does, after cutting off a beginning that leads outside.

    Artifacts exist whose paths were taken relative to another directory than the model's.

    Raises:
        UnsafePath: what is left is no path inside either.
    """
    if not _objection(text):
        return inner_path(text)
    rest = "" if text.startswith("/") or "\0" in text else _clean(text)
    while rest == ".." or rest.startswith("../"):
        rest = rest[3:]
    reason = _objection(rest)
    if reason:
        raise UnsafePath(
            f'unsafe path in the model: `{_shown(text)}`, sanitized as "{_shown(rest)}": {reason}'
        )
    return inner_path(rest)


def _clean(text: str) -> str:
    return posixpath.normpath(text) if text else ""


def _objection(text: str) -> str | None:
    if not text:
        return "empty path is not allowed"
    if "\\" in text or any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "NUL, other control characters and backslash are not allowed"
    if any(len(part.encode()) > _LONGEST_NAME for part in text.split("/")):
        return f"a name of more than {_LONGEST_NAME} bytes is not allowed"
    if text.startswith("/") or (len(text) > 1 and text[1] == ":"):
        return "absolute path is not allowed"
    cleaned = _clean(text)
    if cleaned == ".":
        return "it names the directory itself"
    if cleaned == ".." or cleaned.startswith("../"):
        return "it leads outside"
    return None


def _shown(text: str) -> str:
    """A text as it may stand in a message: without what a terminal would act on."""
    plain = text[:200].replace("\0", "\\0")
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in plain)
