"""Forms with files, `multipart/form-data`: where the parts of a body are, without a copy of any.

Source: RFC 7578 and RFC 2046, 5.1; field names as browsers write them, WHATWG HTML, 4.10.21.8.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from modelrunner.errors import InvalidRequest

_TYPE = re.compile(rb"\s*multipart/form-data\s*;(.*)", re.IGNORECASE | re.DOTALL)
_BOUNDARY = re.compile(rb"""boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;,"]{1,70}))""", re.IGNORECASE)
_DISPOSITION = re.compile(rb"content-disposition:\s*form-data\s*;([^\r\n]*)", re.IGNORECASE)
_PARAMETER = re.compile(rb"""\b(name|filename)\s*=\s*(?:"([^"]*)"|([^\s;"]+))""", re.IGNORECASE)
_MOST_PARTS = 64
_LONGEST_HEAD = 4096  # bytes of what is said of a part
_HINT = "send `multipart/form-data`, as `curl -F` does"


@dataclass(frozen=True, slots=True)
class Part:
    """A part, with its content from `start` to `stop` in the body; `is_file` if it has a file's name."""

    name: str
    is_file: bool
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Form:
    """A body and its parts, in their order."""

    body: bytes
    parts: tuple[Part, ...]

    def content(self, part: Part) -> bytes:
        """The bytes of a part."""
        return self.body[part.start : part.stop]

    def text(self, name: str) -> str:
        """The text of the last field of a name; empty when there is none."""
        found = [part for part in self.parts if part.name == name and not part.is_file]
        return self.content(found[-1]).decode("utf-8", "replace") if found else ""

    def with_text(self, name: str, text: str) -> bytes:
        """The body with another text in each field of a name."""
        body = self.body
        for part in reversed(self.parts):
            if part.name == name and not part.is_file:
                body = body[: part.start] + text.encode() + body[part.stop :]
        return body


def is_form(content_type: bytes | None) -> bool:
    """Whether a body says that it is a form with files."""
    return _TYPE.match(content_type or b"") is not None


def read_form(body: bytes, content_type: bytes | None) -> Form:
    """Find the parts of a form.

    Raises:
        InvalidRequest: it is none.
    """
    kind = _TYPE.match(content_type or b"")
    if kind is None:
        shown = (content_type or b"").decode("latin-1")[:60]
        raise InvalidRequest(f"the body has to be a form, and its type is `{shown}`", hint=_HINT)
    boundary = _BOUNDARY.search(kind[1])
    if boundary is None:
        raise InvalidRequest("the form's type has no `boundary`", hint=_HINT)
    return Form(body, tuple(_parts(body, b"--" + (boundary[1] or boundary[2]))))


def _parts(body: bytes, mark: bytes) -> list[Part]:
    position = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if position == 1:
        raise InvalidRequest("the form does not begin with its boundary", hint=_HINT)
    parts: list[Part] = []
    while True:
        position += len(mark)
        if body.startswith(b"--", position):
            return parts
        head = body.find(b"\r\n", position) + 2
        start = body.find(b"\r\n\r\n", position, position + _LONGEST_HEAD) + 4
        # At the latest at the end of the head, the next boundary may begin.
        stop = body.find(b"\r\n" + mark, start - 2)
        if head < 2 or start < 4 or stop < 0:
            raise InvalidRequest("the form ends before its last boundary", hint=_HINT)
        if len(parts) == _MOST_PARTS:
            raise InvalidRequest(f"the form has more than {_MOST_PARTS} parts", hint=_HINT)
        parts.append(_part(body[head - 2 : start - 2], start, max(start, stop)))
        position = stop + 2


def _part(head: bytes, start: int, stop: int) -> Part:
    disposition = _DISPOSITION.search(head)
    found = dict(_named(each) for each in _PARAMETER.finditer(disposition[1])) if disposition else {}
    if "name" not in found:
        raise InvalidRequest("a part of the form has no name", hint=_HINT)
    return Part(found["name"], "filename" in found, start, stop)


def _named(match: re.Match[bytes]) -> tuple[str, str]:
    value = match[3] if match[2] is None else match[2]
    return match[1].decode().lower(), unquote(value.decode("utf-8", "replace"))
