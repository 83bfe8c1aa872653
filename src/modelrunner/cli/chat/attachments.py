"""Files that a typed prompt mentions: text is put in their place, images go along as data URLs.

Only what a person typed is read this way: text that was piped in may be anybody's, and names no files here.
"""

import base64
import re
from pathlib import Path

from modelrunner.cli.chat.conversation import Content
from modelrunner.errors import InvalidRequest

_REFERENCE = re.compile(r"""@(?:"([^"]+)"|'([^']+)'|((?:\\.|[^\s"'\\])+))""")
_IMAGE_END = r"\.(?:jpe?g|png|webp)"
_IMAGE = re.compile(
    rf""""([^"]+{_IMAGE_END})"|'([^']+{_IMAGE_END})\'"""
    rf"""|(?<!\S)((?:\.{{0,2}}/|\\|[A-Za-z]:[\\/])(?:\\.|[^\s"'\\])*{_IMAGE_END})(?![^\s.,;:!?)])""",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\(.)")
_MAX_IMAGE = 100 * 1000 * 1000  # bytes
_MAX_TEXT = 16 * 1024 * 1024  # bytes; more than any context holds
_BY_SUFFIX = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def expand(prompt: str) -> Content:
    """Replace text files by their content, and take images out of the text and along.

    Raises:
        InvalidRequest: an image cannot be read or is larger than 100 MB.
    """
    images: list[Path] = []

    def take(match: re.Match[str]) -> str:
        path = _path(match)
        if not path.is_file():
            return match[0]
        images.append(path)
        return ""

    text = _IMAGE.sub(take, _inline(prompt))
    if not images:
        return text
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": _data_url(path)}} for path in images
    ]
    if text.strip():
        parts.append({"type": "text", "text": text.strip()})
    return parts


def _inline(prompt: str) -> str:
    return _REFERENCE.sub(lambda match: _text(_path(match)) or match[0], prompt)


def _path(match: re.Match[str]) -> Path:
    double, single, bare = match.groups()
    return Path(double or single or _ESCAPED.sub(r"\1", bare)).expanduser()


def _text(path: Path) -> str | None:
    """The text of a file; None when it is missing, an image, too large or no text."""
    try:
        if path.suffix.lower() in _BY_SUFFIX or not path.is_file() or path.stat().st_size > _MAX_TEXT:
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
