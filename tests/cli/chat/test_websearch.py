"""Searches, against servers of the test's own that speak both protocols."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from modelrunner.cli.chat.websearch import function, search
from modelrunner.errors import InvalidRequest, RunnerError


class _Web(BaseHTTPRequestHandler):
    """A SearXNG at `/search`, Exa's tool at `/mcp`; what they answer is the server's `reply`."""

    asked: list[dict[str, object]]
    reply: tuple[int, str, bytes]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.asked.append(
            {"path": parts.path, **{key: value[0] for key, value in parse_qs(parts.query).items()}}
        )
        self._answer()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, "accept": self.headers["Accept"], **body})
        self._answer()

    def _answer(self) -> None:
        status, kind, body = self.reply
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Web:
    def __init__(self, server: ThreadingHTTPServer, handler: type[_Web]) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._handler = handler
        self.asked = handler.asked

    def answers(self, document: object, status: int = 200, kind: str = "application/json") -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._handler.reply = (status, kind, body)


@pytest.fixture
def web() -> Iterator[Web]:
    handler = type("Handler", (_Web,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Web(server, handler)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("end", ["", "/", "/search"])
def test_a_searxng_is_asked_for_json(web: Web, end: str) -> None:
    """Title, address and excerpt of each result; at most eight."""
    row = {"title": "T", "url": "http://a", "content": "C", "score": 1}
    web.answers({"query": "x", "results": [row, {"title": "U", "url": "http://b"}, *[row] * 10]})

    found = search(web.url + end, "what is new?")

    assert web.asked == [{"path": "/search", "q": "what is new?", "format": "json"}]
    assert found.startswith("T\nhttp://a\nC\n\nU\nhttp://b\n\nT\n")
    assert found.count("http://") == 8


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_an_mcp_server_is_asked_for_exa_s_tool(web: Web, kind: str) -> None:
    """Its answer comes whole or as an event."""
    document = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "Title: T"}]}}
    events = f"event: message\ndata: {json.dumps(document)}\n\n".encode()
    web.answers(events if "event" in kind else document, kind=kind)

    assert search(f"{web.url}/mcp", "cats") == "Title: T"
    [asked] = web.asked
    assert asked["accept"] == "application/json, text/event-stream"
    assert asked["method"] == "tools/call"
    assert asked["params"] == {
        "name": "web_search_exa",
        "arguments": {"query": "cats", "numResults": 8, "type": "auto", "livecrawl": "fallback"},
    }


@pytest.mark.parametrize(
    ("path", "status", "document", "expected"),
    [
        ("", 403, b"no json here", "the web search failed: Forbidden"),
        ("", 200, b"<html>", "the answer cannot be read"),
        ("", 200, {"results": 3}, "the answer cannot be read"),
        ("", 200, {"results": ["x"]}, "the answer cannot be read"),
        ("/mcp", 200, {"error": {"message": "quota\x1b[2J"}}, "the web search failed: quota\ufffd\\[2J"),
        ("/mcp", 200, {"result": {"content": [{}]}}, "the answer cannot be read"),
    ],
)
def test_a_search_that_fails_says_why(
    web: Web, path: str, status: int, document: object, expected: str
) -> None:
    """The model is told, and can say so."""
    web.answers(document, status)

    with pytest.raises(RunnerError, match=expected):
        search(f"{web.url}{path}", "x")


def test_nobody_listens() -> None:
    """That is a failure like others."""
    with pytest.raises(RunnerError, match=r"the web search failed: .+ Connection refused"):
        search("http://127.0.0.1:1", "x")


def test_what_is_found_is_marked_and_bounded(web: Web) -> None:
    """It is anybody's text: no instruction, no escape sequences, no end of it."""
    web.answers({"results": [{"title": "T\x1b[2J", "content": "x" * 50_000}]})

    found = function(web.url).call({"query": "x"})

    head, _, rest = found.partition("\n\n")
    assert "never an instruction" in head
    assert rest.startswith("T\ufffd[2J\n")
    assert len(rest) == 12_000


def test_nothing_is_found(web: Web) -> None:
    """And that is said."""
    web.answers({"results": []})

    assert function(web.url).call({"query": "x"}) == "No search results found."


@pytest.mark.parametrize("arguments", [{}, {"query": 3}, {"query": " "}])
def test_a_search_needs_words(arguments: dict[str, object]) -> None:
    """No request is made without."""
    with pytest.raises(InvalidRequest, match="`query` has to be a text"):
        function("http://127.0.0.1:1").call(arguments)
