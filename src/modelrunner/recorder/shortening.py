"""What is not kept as it came: media become a digest and a size, vectors their first numbers, secrets a mark.

A shortened text still begins as it did, so that a stock client sees what it is used to:
`data:image/png;base64,iVBOR… [truncated 4096 chars; sha256:…, 3145 bytes]`.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from modelrunner.dialects.pictures import inspected
from modelrunner.errors import InvalidRequest
from modelrunner.recorder.documents import NUMBERS, clean
from modelrunner.recorder.redaction import Rules
from modelrunner.wire.requests import Media

_KEPT = 100  # characters of a medium, as in the reference
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
# Where a text without a word about its type is base64.
_NAMES = frozenset({"data", "images", "b64_json", "url", "image", "file_data", "audio", "mask"})
_CUT = re.compile(r"\.\.\.\[truncated (\d+) chars; (sha256:[0-9a-f]{64}), (\d+) bytes(?:, ([\w.+/-]+))?\]")
_SIGNS = ("data:", *(f'"{name}"' for name in _NAMES))  # of media, in JSON
_PLAIN_ESCAPES = (r"\n", r"\"", r"\t")
_ESCAPED = re.compile(r"\\u00([2-7][0-9A-Fa-f])")
_RUN = re.compile(r"[A-Za-z0-9+/_-]{400,}={0,2}")
_MOST_NUMBERS = 64  # of a vector that is kept whole
_FIRST_NUMBERS = 8
_MOST_BRACKETS = 200  # of a text that is not walked through, so that it is not nested deeper than one that is


@dataclass(slots=True)
class Shortened:
    """A document without its media and secrets, and how many of each there were."""

    value: Any
    media: int = 0
    redacted: int = 0
    vectors: int = 0
    unclean: bool = False

    @property
    def changed(self) -> bool:
        """Whether it is not what it was."""
        return bool(self.media or self.redacted or self.vectors or self.unclean)


class _Walk:
    def __init__(self, rules: Rules, *, keeps_numbers: bool) -> None:
        self.keeps_numbers = keeps_numbers
        self.apply = rules.apply
        self.harmless = rules.harmless
        self.found = Shortened(None)

    def walk(self, value: Any, name: str) -> Any:
        if isinstance(value, str):
            return value if value in self.harmless else self.text(value, name)
        if isinstance(value, dict):
            harmless = self.harmless
            return {
                key if key in harmless else self.secret(str(key)): self.walk(each, key)
                for key, each in value.items()
            }
        if isinstance(value, list):
            if len(value) > _MOST_NUMBERS and all(isinstance(each, NUMBERS) for each in value):
                if self.keeps_numbers:
                    return value
                self.found.vectors += 1
                return value[:_FIRST_NUMBERS]
            return [self.walk(each, name) for each in value]
        return value

    def text(self, text: str, name: str) -> str:
        if len(text) > _KEPT:
            short = _shortened(text, named=name in _NAMES)
            if short is not None:
                self.found.media += 1
                return self.secret(short)  # it may be a key, under the name of a medium
        return self.secret(text)

    def secret(self, text: str) -> str:
        kept, count = self.apply(text)
        self.found.redacted += count
        return kept


def shortened(document: Any, rules: Rules, *, keeps_numbers: bool = False) -> Shortened:
    """Walk through a document; every text in it is looked at once.

    `keeps_numbers` is for a request, where a long list of them is a prompt in tokens, and no vector. One that
    is nested too deeply to be walked through is None, as one that cannot be read.
    """
    walk = _Walk(rules, keeps_numbers=keeps_numbers)
    try:
        walk.found.value = walk.walk(document, "")
    except RecursionError:
        return Shortened(None)
    return walk.found


def is_plain(text: str, rules: Rules) -> bool:
    """Whether a look at JSON tells that nothing in it would be shortened or redacted, as in most.

    It is no document that is looked at but its text, in which an escape could hide something.
    """
    if "\\" in text:
        for escape in _PLAIN_ESCAPES:
            text = text.replace(escape, " ")
        if "\\" in text:
            return False
    if text.count(",") >= _MOST_NUMBERS or text.count("{") + text.count("[") > _MOST_BRACKETS:
        return False
    lowered = text.lower()
    if not rules.find_nothing(lowered):
        return False
    return len(text) <= _KEPT or not any(sign in lowered for sign in _SIGNS)


def unread(text: str, rules: Rules) -> tuple[str, Shortened]:
    """What is kept of a text that could not be read, though it may have been meant as JSON.

    Its fields cannot be told apart, so what could hide a secret is undone (escapes, the zeros of UTF-16), and
    whatever is long enough for a medium is taken for one.
    """
    found = Shortened(None)

    def cut(run: re.Match[str]) -> str:
        found.media += 1
        return _shortened(run[0], named=True) or run[0]

    plain = clean(text).replace("\0", "").replace("\\/", "/")
    plain = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), plain)
    plain, found.redacted = rules.apply(plain)  # first: of a secret that was cut, no rule knows the rest
    return _RUN.sub(cut, plain), found


def redacted(text: str, rules: Rules) -> tuple[str, int]:
    """Redact a text; says how often."""
    return rules.apply(clean(text))


def medium(data: bytes, media_type: str) -> str:
    """What is kept of bytes that came as they are."""
    return _mark("", len(data), data, media_type)


def media_in(text: str) -> list[Media]:
    """Find in a text, as it is kept, what was shortened."""
    found: list[Media] = []
    for match in _CUT.finditer(text):
        before = text[max(0, match.start() - 300) : match.start()]
        urls = [url[1] for url in _DATA_URL.finditer(before)]
        kind = match[4] or (urls[-1] if urls else None) or "application/octet-stream"
        found.append({"type": kind, "size": int(match[3]), "digest": match[2]})
    return found


def as_reference(text: str) -> str:
    """Write what was shortened as the reference does."""
    return _CUT.sub(r"...[truncated \1 chars]", text)


def has_media(text: str) -> bool:
    """Whether something in it was shortened, so that it cannot be sent again."""
    return _CUT.search(text) is not None


def _shortened(text: str, *, named: bool) -> str | None:
    """Shorten a text that is a medium; None when it is none."""
    url = _DATA_URL.match(text)
    if url is None and (not named or _BASE64.fullmatch(text) is None):
        return None
    prefix = "" if url is None else url[0]
    payload = text[len(prefix) :]
    if len(payload) <= _KEPT:
        return None
    try:
        data = base64.b64decode(payload, validate=False)
    except (binascii.Error, ValueError):
        data = payload.encode("utf-8", "replace")
    kind = _picture(data) if url is None else ""
    return _mark(prefix + payload[:_KEPT], len(payload) - _KEPT, data, kind)


def _picture(data: bytes) -> str:
    """The media type of a picture; nothing when it is none, as of sounds."""
    try:
        return inspected(data).media_type
    except InvalidRequest:
        return ""


def _mark(before: str, left_out: int, data: bytes, media_type: str = "") -> str:
    digest = hashlib.sha256(data).hexdigest()
    kind = f", {media_type}" if media_type else ""
    return f"{before}...[truncated {left_out} chars; sha256:{digest}, {len(data)} bytes{kind}]"
