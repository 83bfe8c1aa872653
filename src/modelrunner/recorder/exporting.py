"""Requests for other programs: a command for a shell, HTTP Archive, JSON lines. Pure.

Source: "HTTP Archive (HAR) format" 1.2.
"""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from modelrunner import __version__
from modelrunner.shell import quoted
from modelrunner.wire.requests import RecordedRequest, Timeline

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
FORMATS = {
    "jsonl": ("application/x-ndjson", "jsonl"),
    "har": ("application/json", "har"),
    "curl": ("text/x-shellscript; charset=utf-8", "sh"),
}


def as_jsonl(requests: Iterable[RecordedRequest]) -> Iterator[bytes]:
    """One JSON object a line, all of each request."""
    for request in requests:
        yield json.dumps(request, ensure_ascii=True).encode() + b"\n"


def as_curl(request: RecordedRequest, base: str) -> bytes:
    """A command that asks the daemon at `base` the same again.

    Every character that a terminal could mind is an escape, of JSON where the body is some, and of the shell
    elsewhere. Nothing in it names a file to curl, as a first `@` would in `--data-binary`.
    """
    words = ["curl", "--no-buffer", "--globoff", "-X", request["method"], base + _url_path(request)]
    words += ["-H", "Content-Type: application/json", "--data-raw", _ascii_json(request["request"])]
    parts = map(quoted, words)
    note = "# media were not kept: what stands in their place is no picture\n" if request["media"] else ""
    return f"{note}{' '.join(parts)}\n".encode()


def _url_path(request: RecordedRequest) -> str:
    """The path as it stands in an address; it was recorded as the server understood it."""
    return quote(request["path"], safe="/:@,{}", errors="replace")


def _ascii_json(text: str) -> str:
    """JSON as it is, with escapes for what is no ASCII, and on one line; other text as it is.

    Within JSON such characters can only be in strings. Nothing is read and written again: numbers stay.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _NOT_ASCII.sub(_json_escape, re.sub(r"[\r\n\t]", " ", text))


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] != "\x7f" else r"\u007f"


def as_har(requests: Iterable[RecordedRequest], base: str) -> Iterator[bytes]:
    """An archive that browsers and proxies open, written as it goes."""
    head = {"version": "1.2", "creator": {"name": "modelrunner", "version": __version__}}
    text = json.dumps({"log": {**head, "entries": []}})
    before, after = text[: text.index("[") + 1], text[text.index("[") + 1 :]
    yield before.encode()
    separator = b""
    for request in requests:
        yield separator + json.dumps(_har_entry(request, base), ensure_ascii=True).encode()
        separator = b",\n"
    yield after.encode()


def _har_entry(request: RecordedRequest, base: str) -> dict[str, object]:
    answer = request["response"] or request["error"] or ""
    timeline = request["timeline"]
    return {
        "startedDateTime": request["at"],
        "time": round(1e3 * request["seconds"], 3),
        "request": {
            "method": request["method"],
            "url": base + _url_path(request),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [{"name": "User-Agent", "value": request["user_agent"]}],
            "queryString": [],
            "postData": {"mimeType": "application/json", "text": request["request"]},
            "headersSize": -1,
            "bodySize": len(request["request"].encode()),
        },
        "response": {
            "status": request["status"],
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [{"name": "X-Request-Id", "value": request["request_id"]}],
            "content": {"size": len(answer.encode()), "mimeType": "application/json", "text": answer},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
        },
        "cache": {},
        "timings": _timings(timeline),
        "_model": request["model_id"],
        "_tokens": {"prompt": request["prompt_tokens"], "completion": request["completion_tokens"]},
    }


def _timings(timeline: Timeline) -> dict[str, float]:
    """Our phases in HAR's: in line is blocked, loading is the connection, the prompt is the wait."""

    def milliseconds(seconds: float | None) -> float:
        return -1 if seconds is None else round(1e3 * seconds, 3)

    return {
        "blocked": milliseconds(timeline["queued"]),
        "dns": -1,
        "connect": milliseconds(timeline["loading"]),
        "ssl": -1,
        "send": 0,
        "wait": milliseconds(timeline["prompt"] or 0.0),
        "receive": milliseconds((timeline["tokens"] or 0.0) + timeline["end"]),
    }
