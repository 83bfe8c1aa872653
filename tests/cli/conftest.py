"""A scripted daemon on a real socket, and ways to run commands against it."""

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from modelrunner.cli.main import main

CHAT = "/engines/v1/chat/completions"


@dataclass
class Seen:
    """One request that the daemon got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Reply:
    """What the daemon answers; `pieces` are sent one by one, each after `wait` was called."""

    body: object = None
    status: int = 200
    media: str = "application/json"
    pieces: list[bytes] = field(default_factory=list)
    wait: Callable[[], object] | None = None
    lost: int = 0  # bytes that are announced and never come


class Daemon:
    """Answers by a table of (method, path); what is not there is 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.unread: set[str] = set()  # paths whose answer does not wait for the body
        self.replies: dict[tuple[str, str], list[Reply]] = {}

    def json(self, method: str, path: str, *documents: object, status: int = 200) -> None:
        """Answer with each document in turn, the last one for ever."""
        self.replies[method, path] = [Reply(document, status) for document in documents]

    def text(self, method: str, path: str, *texts: str, status: int = 200) -> None:
        """Answer with each text in turn."""
        self.replies[method, path] = [Reply(text, status, "text/plain") for text in texts]

    def sends(
        self,
        method: str,
        path: str,
        data: bytes,
        *,
        media: str,
        lost: int = 0,
        wait: Callable[[], object] | None = None,
    ) -> None:
        """Answer with bytes; `lost` more are announced and never come, and `wait` is called instead."""
        self.replies[method, path] = [Reply(data, media=media, lost=lost, wait=wait)]

    def lines(self, path: str, *documents: object) -> None:
        """Answer a POST with one stream of progress lines."""
        pieces = [json.dumps(document).encode() + b"\n" for document in documents]
        self.replies.setdefault(("POST", path), []).append(Reply(pieces=pieces))

    def says(self, *words: str, wait: Callable[[], object] | None = None) -> None:
        """Answer the next chat with a stream of these words; `wait` is called after each."""
        chunks = [*({"content": word} for word in words), {}]
        events = [
            {"choices": [{"delta": delta, "finish_reason": None if delta else "stop"}]} for delta in chunks
        ]
        pieces = [*(f"data: {json.dumps(event)}\n\n".encode() for event in events), b"data: [DONE]\n\n"]
        reply = Reply(media="text/event-stream", pieces=pieces, wait=wait)
        self.replies.setdefault(("POST", CHAT), []).append(reply)

    def stream(self, *pieces: bytes) -> None:
        """Answer the next chat with exactly these bytes, and end."""
        reply = Reply(media="text/event-stream", pieces=list(pieces))
        self.replies.setdefault(("POST", CHAT), []).append(reply)

    def refuses(self, path: str, code: str, message: str, *, method: str = "POST", status: int = 400) -> None:
        """Answer the next such request with an error in our own form."""
        error = {"message": message, "type": "x", "code": code, "param": None, "hint": "do better"}
        self.replies.setdefault((method, path), []).append(Reply({"error": error}, status))

    @property
    def chats(self) -> list[Seen]:
        """The chat requests that were not for loading only."""
        return [seen for seen in self.seen if seen.path == CHAT and "X-Preload-Only" not in seen.headers]

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if "X-Preload-Only" in seen.headers:
            return Reply("")
        replies = self.replies.get((seen.method, seen.path))
        if not replies and seen.path.endswith("/tag"):
            return Reply({"message": "", "target": ""}, 201)
        if not replies:
            return Reply("not found\n", 404, "text/plain")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    @property
    def paths(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: Daemon

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        unread = parts.path in self.daemon.unread
        body = b"" if unread else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        reply = self.daemon.answer(Seen(self.command, parts.path, query, dict(self.headers), body))
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media)
        self.send_header("Connection", "close")
        if reply.pieces:
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if reply.wait is not None:
                    reply.wait()
            return
        raw = reply.body if isinstance(reply.body, bytes) else b""
        if isinstance(reply.body, str):
            raw = reply.body.encode()
        elif reply.body is not None and not raw:
            raw = json.dumps(reply.body).encode()
        self.send_header("Content-Length", str(len(raw) + reply.lost))
        self.end_headers()
        self.wfile.write(raw)
        if reply.lost and reply.wait is not None:
            self.wfile.flush()
            reply.wait()

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - what http.server calls

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has left, which some tests are about

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.daemon = Daemon(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]  # made above
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield handler.daemon  # type: ignore[attr-defined]  # set two lines above
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Outcome:
    code: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *arguments: str, stdin: str = "", standalone: bool = True) -> Outcome: ...


@pytest.fixture
def dmr(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `dmr` in this process against the scripted daemon; `standalone=False` runs `docker-model`."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", daemon.url)
    for name in ("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "USER_AGENT", "HF_TOKEN", "DEFAULT_REGISTRY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, stdin: str = "", standalone: bool = True) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main(list(arguments), standalone=standalone)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@dataclass
class Case:
    """One command line that `dmr` and `docker model` have to treat alike; `prepare` scripts the daemon."""

    arguments: list[str]
    code: int = 0
    prepare: Callable[[Daemon], object] | None = None


_MODEL = {"id": "sha256:" + "a" * 64, "tags": ["ai/smollm2:latest"], "created": 0, "config": {}}
_PULLED = {"type": "success", "message": "Model pulled successfully", "total": 0, "layer": {}, "mode": "pull"}
_RUNNING = {"backend_name": "llama.cpp", "model_name": "ai/smollm2:latest", "mode": "completion"}


def _answers(method: str, path: str, document: object) -> Callable[[Daemon], object]:
    return lambda daemon: daemon.json(method, path, document)


def _answers_status(daemon: Daemon) -> None:
    daemon.json("GET", "/models", [])
    daemon.json("GET", "/engines/status", {"llama.cpp": "Running: b1"})
    daemon.json("GET", "/version", {"version": "1.0.0", "pid": 1})


def _answers_chat(daemon: Daemon) -> None:
    daemon.json("GET", "/models/m", {})
    daemon.says("Hel", "lo")


# A new command adds its lines here, and is then run in both ways.
COMMAND_TABLE = [
    Case([]),
    Case(["--help"]),
    Case(["help", "pull"]),
    Case(["pull", "--help"]),
    Case(["frobnicate"], 2),
    Case(["ls", "--frobnicate"], 2),
    Case(["pull"], 2),
    Case(["ls"], prepare=_answers("GET", "/models", [_MODEL])),
    Case(["ls", "--json"], prepare=_answers("GET", "/models", [_MODEL])),
    Case(["list", "-q", "smollm2"], prepare=_answers("GET", "/models", [_MODEL])),
    Case(["ls", "--openai"], prepare=_answers("GET", "/engines/v1/models", {"object": "list", "data": []})),
    Case(["inspect", "ai/smollm2"], prepare=_answers("GET", "/models/ai/smollm2", _MODEL)),
    Case(["inspect", "nothing"], 3),
    Case(["ps"], prepare=_answers("GET", "/engines/ps", [_RUNNING])),
    Case(
        ["df"],
        prepare=_answers("GET", "/engines/df", {"models_disk_usage": 1, "default_backend_disk_usage": 0}),
    ),
    Case(["status"], prepare=_answers_status),
    Case(["status", "--json"], prepare=_answers_status),
    Case(["version"], prepare=_answers_status),
    Case(["pull", "ai/smollm2"], prepare=lambda daemon: daemon.lines("/models/create", _PULLED)),
    Case(["tag", "ai/smollm2", "me/mine:v1"]),
    Case(["rm", "-f", "x"], prepare=_answers("DELETE", "/models/x", [{"Untagged": "ai/x:latest"}])),
    Case(["rm", "nothing"], 3),
    Case(["unload", "--all"], prepare=_answers("POST", "/engines/unload", {"unloaded_runners": 0})),
    Case(["stop"], 2),
    Case(
        ["configure", "m", "--", "--temp", "0"],
        prepare=lambda daemon: daemon.text("POST", "/engines/_configure", ""),
    ),
    Case(["config", "show", "--json"], prepare=_answers("GET", "/engines/_configure", [])),
    Case(["run", "m", "hi"], prepare=_answers_chat),
    Case(["run", "m", "--frobnicate"], 2),
    Case(["logs"], prepare=lambda daemon: daemon.text("GET", "/logs", "a line\n")),
    Case(["show", "ai/smollm2"], prepare=_answers("GET", "/models/ai/smollm2", _MODEL)),
    Case(["events"], prepare=_answers("GET", "/engines/events", [])),
    Case(["pin"], 2),
    Case(["launch"]),
    Case(["launch", "frobnicate"], 2),
    Case(["compose", "metadata"]),
    Case(["gateway"], 2),
    Case(["install-runner", "--gpu"], 2),
    Case(["context", "ls"]),
    Case(["context", "use", "nothing"], 3),
    Case(["__complete", "context", ""]),
]


@pytest.fixture(params=COMMAND_TABLE, ids=lambda case: " ".join(case.arguments) or "nothing")
def case(request: pytest.FixtureRequest) -> Case:
    """Each line of the table of commands."""
    return cast("Case", request.param)
