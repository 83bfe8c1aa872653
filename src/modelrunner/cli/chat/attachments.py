"""Files that a typed prompt mentions: text is put in their place, images go along as data URLs.

Only what a person typed is read this way: text that was piped in may be anybody's, and names no files here.
"""

import base64
import re
from pathlib import Path
from urllib.parse import unquote

from modelrunner.cli.chat.conversation import Content
from modelrunner.errors import InvalidRequest

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

    What a file says is no prompt: it names no further files.

    Raises:
        InvalidRequest: an image cannot be read or is larger than 100 MB.
    """
    images: list[Path] = []

    def replace(match: re.Match[str]) -> str:
        path = _path(match)
        if not _is_file(path):
            return match[0]
        if path.suffix.lower() in _BY_SUFFIX:
            images.append(path)
            return ""
        return _text(path) or match[0]

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


def _path(match: re.Match[str]) -> Path:
    double, single, bare = (match[place] or match[place + 3] for place in (1, 2, 3))
    path = Path(double or single or _ESCAPED.sub(r"\1", bare))
    try:
        return path.expanduser()
    except RuntimeError:  # nobody has that name
        return path


def _text(path: Path) -> str | None:
    """The text of a file; None when it cannot be read, is too large or no text."""
    try:
        if path.stat().st_size > _MAX_TEXT:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _data_url(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_IMAGE:
            raise InvalidRequest(
                f"file size exceeds maximum limit (100 MB): `{path}`", hint="make the image smaller"
            )
        raw = path.read_bytes()
    except OSError as exc:
        raise InvalidRequest(f"image cannot be read: `{path}` ({exc.strerror})") from exc
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
