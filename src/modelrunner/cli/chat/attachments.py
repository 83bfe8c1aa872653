"""Files that a typed prompt mentions: text is put in their place, images go along as data URLs.

Only what a person typed is read this way: text that was piped in may be anybody's, and names no files here.
"""

import base64
import os
import re
from pathlib import Path
from stat import S_ISREG
from urllib.parse import unquote

from modelrunner.cli.chat.conversation import Content
from modelrunner.errors import InvalidRequest
from modelrunner.units import format_bytes

_REFERENCE = r"""@(?:"([^"]+)"|'([^']+)'|((?:\\.|[^\s"'\\])+))"""
_IMAGE_END = r"\.(?:jpe?g|png|webp)"
_IMAGE = (
    rf""""([^"]+{_IMAGE_END})"|'([^']+{_IMAGE_END})\'"""
    rf"""|(?<!\S)((?:\.{{0,2}}/|\\|[A-Za-z]:[\\/])(?:\\.|[^\s"'\\])*{_IMAGE_END})(?![^\s.,;:!?)])"""
)
_MENTION = re.compile(f"{_REFERENCE}|{_IMAGE}", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)")
_LONGEST_PATH = 4096  # characters
_MAX_IMAGE = 100 * 1000 * 1000  # bytes
_MAX_TEXT = 16 * 1024 * 1024  # bytes; more than any context holds
_BY_SUFFIX = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def expand(prompt: str) -> Content:
    """Replace text files by their content, and take images out of the text and along.

    What a file says is no prompt: it names no further files. What is not there, or no text, stays as typed.

    Raises:
        InvalidRequest: something that is there cannot be read, is no file, is too large, or does not end.
    """
    images: list[Path] = []

    def replace(match: re.Match[str]) -> str:
        path = _path(match)
        if not _is_there(path):
            return match[0]
        if path.suffix.lower() in _BY_SUFFIX:
            images.append(path)
            return ""
        return _text(_read(path, _MAX_TEXT)) or match[0]

    text = _MENTION.sub(replace, prompt)
    if not images:
        return text
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": _data_url(path)}} for path in images
    ]
    if text.strip():
        parts.append({"type": "text", "text": text.strip()})
    return parts


def as_reference(pasted: str) -> str:
    """Make a mention of what a terminal pastes when a file is dragged into it; empty when it is none."""
    word = pasted.strip()
    if not word or "\n" in word or len(word) > _LONGEST_PATH:
        return ""
    if word.startswith("file://"):
        plain = unquote(word.removeprefix("file://").removeprefix("localhost"))
    elif len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        plain = word[1:-1]
    else:
        plain = _ESCAPED.sub(r"\1", word)
    if not plain.startswith(("/", "~/")) or '"' in plain or not _is_file(Path(plain).expanduser()):
        return ""
    mark = "" if Path(plain).suffix.lower() in _BY_SUFFIX else "@"
    return f'{mark}"{plain}" ' if mark == "" or re.search(r"[\s'\\]", plain) else f"@{plain} "


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_there(path: Path) -> bool:
    """Whether something is there that could be meant; a folder is a word like any other."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _path(match: re.Match[str]) -> Path:
    double, single, bare = (match[place] or match[place + 3] for place in (1, 2, 3))
    path = Path(double or single or _ESCAPED.sub(r"\1", bare))
    try:
        return path.expanduser()
    except RuntimeError:  # nobody has that name
        return path


def _read(path: Path, most: int) -> bytes:
    """Read all of a file, without waiting: some that look like files give what is yet to happen.

    Raises:
        InvalidRequest: it cannot be read, is no file, has more than `most` bytes, or does not end.
    """
    try:
        # Looked at before it is opened: opening a device may do something.
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InvalidRequest(f"`{path}` is no file, but a device or a pipe", hint="name a file")
        if status.st_size > most:
            raise _too_large(path, most)
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=0) as file:
            data, piece = bytearray(), file.read(most + 1)
            while piece and len(data) <= most:
                data += piece
                piece = file.read(most + 1 - len(data))
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {exc.strerror}") from exc
    if piece is None:
        raise InvalidRequest(f"`{path}` has no end", hint="copy what you want of it into a file")
    if len(data) > most:
        raise _too_large(path, most)
    return bytes(data)


def _too_large(path: Path, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"file size exceeds maximum limit ({format_bytes(most)}): `{path}`", hint="send a part of it"
    )


def _text(data: bytes) -> str:
    """The text that a file has; empty when it has none."""
    try:
        return data.decode().replace("\r\n", "\n")
    except ValueError:
        return ""


def _data_url(path: Path) -> str:
    raw = _read(path, _MAX_IMAGE)
    return f"data:{_media_type(raw, path)};base64,{base64.b64encode(raw).decode()}"


def _media_type(raw: bytes, path: Path) -> str:
    """Tell the type by the first bytes, else by the file's name."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    return _BY_SUFFIX.get(path.suffix.lower(), "application/octet-stream")
