"""The blocking client against a server that sends exactly what a test says."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelrunner.client import Address, CallPart, Client, Piece, Usage
from modelrunner.client.exchange import Connection, Response
from modelrunner.errors import (
    Busy,
    Conflict,
    DaemonUnreachable,
    EngineFailed,
    InsufficientStorage,
    InvalidReference,
    InvalidRequest,
    ModelNotFound,
    RegistryError,
    RunnerError,
    UnsupportedModel,
)

NDJSON = "Content-Type: application/json\r\n"
SUCCESS = b'{"type":"success","message":"done","total":0,"layer":{"size":0,"current":0},"mode":"pull"}\n'
PROGRESS = b'{"type":"progress","total":5,"layer":{"id":"sha256:a","size":5,"current":1},"mode":"pull"}\n'
ESCAPED = SUCCESS.replace(b'"', b"&#34;")


class Server:
    """Takes one connection after the other and answers each with the next bytes."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.replies: list[bytes] = []
        self.requests: list[bytes] = []
        self.left = threading.Event()  # set when a client hangs up on a reply that goes on

    def add(self, body: bytes = b"", *, status: int = 200, headers: str = NDJSON) -> None:
        """Answer with a body that ends when the connection does."""
        self.replies.append(
            f"HTTP/1.1 {status} Whatever\r\n{headers}Connection: close\r\n\r\n".encode() + body
        )

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += connection.recv(65536)
        head, _, body = raw.partition(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        missing = (int(lengths[0].partition(b":")[2]) if lengths else 0) - len(body)
        while missing > 0 and (more := connection.recv(65536)):
            raw, missing = raw + more, missing - len(more)
        self.requests.append(raw)
        reply = self.replies.pop(0) if self.replies else b""
        connection.sendall(reply.removesuffix(b"<on>"))
        if reply.endswith(b"<on>") and not connection.recv(1):
            self.left.set()


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(server: Server, pauses: list[float]) -> Client:
    address = Address("127.0.0.1", server.listener.getsockname()[1])
    return Client(address, user_agent="docker-model-cli/9", pause=pauses.append)


def _ignore(_: int, __: float) -> None:
    pass


def test_a_request_names_the_client_and_the_errors_it_reads(server: Server, client: Client) -> None:
    """Daemons tell our clients by their user agent."""
    server.add(b"[]")

    client.models()

    head = server.requests[0].decode()
    assert head.startswith("GET /models HTTP/1.1\r\n")
    assert "\r\nUser-Agent: docker-model-cli/9\r\n" in head
    assert "\r\nAccept: application/json, application/vnd.modelrunner.error+json\r\n" in head


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ai/x:y", b"GET /models/ai/x:y HTTP/1.1"),
        ("h:5/a@sha256:ff", b"GET /models/h:5/a@sha256:ff HTTP/1.1"),
        ("a b?c#d", b"GET /models/a%20b%3Fc%23d HTTP/1.1"),
        ("ai/export", b"GET /models/ai/export:latest HTTP/1.1"),
        ("purge", b"GET /models/purge:latest HTTP/1.1"),
    ],
)
def test_names_stand_in_paths_as_they_are_written(
    server: Server, client: Client, name: str, line: bytes
) -> None:
    """But never become a query, a fragment or the name of another route."""
    server.add(b"{}")

    client.model(name)

    assert server.requests[0].split(b"\r\n")[0] == line


@pytest.mark.parametrize(
    ("status", "body", "expected", "message", "hint"),
    [
        (
            404,
            b'{"error":{"message":"no model `x`","code":"model_not_found","hint":"pull it"}}',
            ModelNotFound,
            "no model `x`",
            "pull it",
        ),
        (503, b'{"error":{"message":"full","code":"busy"}}', Busy, "full", None),
        (400, b'{"error":{"message":"bad","code":400}}', InvalidRequest, "bad", None),
        (500, b'{"error":{"message":"oom","code":null}}', EngineFailed, "oom", None),
        (500, b'{"error":"oom"}', EngineFailed, "oom", None),
        (404, b"model not found\n", ModelNotFound, "model not found", None),
        (409, b"runner already active\n", Conflict, "runner already active", None),
        (422, b"unsupported\n", UnsupportedModel, "unsupported", None),
        (418, b"", RunnerError, "the daemon answered 418 Whatever", None),
    ],
)
def test_errors_are_the_daemon_s_own(
    server: Server,
    client: Client,
    *,
    status: int,
    body: bytes,
    expected: type[RunnerError],
    message: str,
    hint: str | None,
) -> None:
    """Rebuilt from their code when there is one, else from the status."""
    server.add(body, status=status)

    with pytest.raises(RunnerError) as caught:
        client.models()

    assert (type(caught.value), caught.value.message, caught.value.hint) == (expected, message, hint)


def test_a_plain_503_means_that_nothing_runs(server: Server, client: Client) -> None:
    """As the reference's clients read it."""
    server.add(b"gone\n", status=503, headers="Content-Type: text/plain\r\n")

    with pytest.raises(DaemonUnreachable, match="Docker Model Runner is not running"):
        client.models()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"an":"object"}', b"", b"[" * 100_000])
def test_another_program_on_the_port_is_told(server: Server, client: Client, body: bytes) -> None:
    """An answer of the wrong shape is no empty list."""
    server.add(body)

    with pytest.raises(RunnerError, match=r"unexpected answer from `http://127\.0\.0\.1"):
        client.models()


@pytest.mark.parametrize("config", [b"", b',"config":null'])
def test_a_model_may_have_no_configuration(server: Server, client: Client, config: bytes) -> None:
    """The field is null, or not there."""
    server.add(b'[{"id":"sha256:aa","created":0' + config + b"}]")

    [model] = client.models()

    assert model.get("config") is None


@pytest.mark.parametrize("config", [b'"text"', b"[]", b"5", b'{"parameters":5}'])
def test_a_configuration_of_another_shape_is_an_error(server: Server, client: Client, config: bytes) -> None:
    """Text, a list, a number, or such a field in it."""
    server.add(b'[{"id":"sha256:aa","created":0,"config":' + config + b"}]")

    with pytest.raises(RunnerError, match="does not answer like a model runner"):
        client.models()


def test_nobody_there_is_told_with_the_address() -> None:
    """And what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(DaemonUnreachable) as caught:
        Client(Address("127.0.0.1", port), user_agent="x").models()

    assert caught.value.message == f"no daemon answers at `http://127.0.0.1:{port}`: connection refused"
    assert caught.value.exit_code == 5


def test_a_unix_socket_works_like_a_port(tmp_path: Path) -> None:
    """And starting a daemon is asked for once, when nobody listens."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    server = Server(listener)
    thread = threading.Thread(target=server.serve)
    started: list[str] = []

    def revive() -> None:
        started.append("now")
        listener.bind(str(path))
        listener.listen()
        thread.start()

    server.add(b"[]")
    server.add(b"[]")
    client = Client(Address(socket=str(path)), user_agent="x", revive=revive)
    client.models()
    client.models()
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()

    assert started == ["now"]
    assert b"\r\nHost: localhost" in server.requests[0]


@pytest.mark.parametrize("body", [PROGRESS + SUCCESS, ESCAPED, b"\n" + SUCCESS + b"garbage", SUCCESS.strip()])
def test_a_transfer_ends_with_its_success(server: Server, client: Client, body: bytes) -> None:
    """Escaped lines, garbage after the end and a missing last newline do no harm."""
    server.add(body)

    lines = list(client.pull("x", on_retry=_ignore))

    assert lines[-1]["message"] == "done"


def test_lines_are_complete_whatever_the_daemon_left_out(server: Server, client: Client) -> None:
    """Readers of progress need no defaults of their own."""
    server.add(b'{"type":"warning","message":"m","layer":null}\n' + SUCCESS)

    first = next(iter(client.pull("x", on_retry=_ignore)))

    assert first == {
        "type": "warning",
        "message": "m",
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": "pull",
    }


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[1]", b'{"type":5}', b'{"type":"progress","layer":{"size":"x"}}']
)
def test_json_of_another_shape_is_no_progress(server: Server, client: Client, body: bytes) -> None:
    """It is shown, as any other answer that cannot be read."""
    server.add(body)

    with pytest.raises(RunnerError, match="unexpected response from server"):
        list(client.pull("m", on_retry=lambda *_: None))


def test_html_is_no_progress(server: Server, client: Client) -> None:
    """A proxy's page is shown instead of silence."""
    server.add(b"<html>Welcome to the proxy</html>")

    with pytest.raises(RunnerError, match=r"unexpected response from server .*<html>Welcome"):
        list(client.pull("x", on_retry=_ignore))


def test_an_error_line_keeps_its_class(server: Server, client: Client) -> None:
    """It is final: nothing is tried again."""
    server.add(PROGRESS + b'{"type":"error","message":"full","code":"insufficient_storage","hint":"free"}\n')

    with pytest.raises(InsufficientStorage, match="full") as caught:
        list(client.pull("x", on_retry=_ignore))

    assert caught.value.hint == "free"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_s_failure_is_tried_again(
    server: Server, client: Client, pauses: list[float], status: int
) -> None:
    """With growing pauses, until it works."""
    server.add(b"bad gateway", status=status)
    server.add(PROGRESS)
    server.add(SUCCESS)
    told: list[tuple[int, float]] = []

    list(client.push("x", on_retry=lambda attempt, delay: told.append((attempt, delay))))

    assert (told, pauses) == ([(1, 1.0), (2, 2.0)], [1.0, 2.0])


def test_a_connection_that_breaks_is_tried_four_times_more(
    server: Server, client: Client, pauses: list[float]
) -> None:
    """Then the last reason is told."""
    with pytest.raises(DaemonUnreachable, match="download failed after 4 retries: "):
        list(client.pull("x", on_retry=_ignore))

    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"no", RunnerError),
        (422, b"no", RunnerError),
        (500, b"no", RunnerError),
        (
            502,
            b'{"error":{"message":"registry is down","code":"registry_unreachable"}}',
            RegistryError,
        ),
    ],
)
def test_a_clear_no_is_not_asked_again(
    server: Server, client: Client, status: int, body: bytes, kind: type[RunnerError]
) -> None:
    """The daemon has already tried the registry as often as makes sense."""
    server.add(body, status=status)

    with pytest.raises(kind):
        list(client.pull("x", on_retry=_ignore))

    assert len(server.requests) == 1


def test_an_archive_is_sent_with_its_size(server: Server, client: Client) -> None:
    """In pieces, not chunked."""
    server.add(SUCCESS)

    list(client.load(iter([b"abc", b"defg"]), 7))

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"abcdefg"
    assert b"Content-Length: 7" in head
    assert b"Content-Type: application/x-tar" in head
    assert b"chunked" not in head


def _event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (_event(content="a") + _event(content="b") + DONE, [Piece("a"), Piece("b")]),
        (_event(reasoning_content="r") + DONE, [Piece(reasoning="r")]),
        (b": comment\nevent: x\n" + _event(content="a") + DONE, [Piece("a")]),
        (b'data:{"choices":[{"delta":{"content":"a"}}]}\r\n\r\ndata:[DONE]\r\n\r\n', [Piece("a")]),
        (b"Installing...\n" + _event(content="a") + DONE, [Piece(notice="Installing..."), Piece("a")]),
        (
            b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
            + DONE,
            [Piece(usage=Usage(1, 2, 3))],
        ),
        (
            b'{"choices":[{"message":{"content":\n"whole"},"finish_reason":"stop"}]}',
            [Piece("whole", finish="stop")],
        ),
        (
            b'data: {"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}\n\n',
            [Piece(finish="stop")],
        ),
        (
            _event(tool_calls=[{"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}])
            + _event(tool_calls=[{"index": 1, "function": {"arguments": "}"}}])
            + DONE,
            [Piece(calls=(CallPart(1, "f", "{", "c"),)), Piece(calls=(CallPart(1, "", "}"),))],
        ),
        (
            b'data: {"choices":[],"timings":{"predicted_per_second":42.5}}\n\n' + DONE,
            [Piece(speed=42.5)],
        ),
        (_event(content="x" * 300_000) + DONE, [Piece("x" * 300_000)]),
        (_event(content="\ud800a\ud83c\udf89é") + DONE, [Piece("\ufffda🎉é")]),
    ],
)
def test_answers_are_read_in_every_form(
    server: Server, client: Client, body: bytes, expected: list[Piece]
) -> None:
    """Events or one document, however long a line is."""
    server.add(body)

    assert expected == list(client.chat("m", []))


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b'data: {"error":{"message":"died","code":"engine_failed"}}\n\n', EngineFailed, "died"),
        (b'error: {"error":{"message":"died","code":500}}\n\n', EngineFailed, "died"),
        (b"data: nonsense\n\n", EngineFailed, "cannot be read"),
        (b"data: 5\n\n", EngineFailed, "cannot be read"),
        (b'data: {"choices":{"a":1}}\n\n', EngineFailed, "cannot be read"),
        (b'data: {"choices":[{"delta":{"content":5}}]}\n\n', EngineFailed, "cannot be read"),
        (b'data: {"usage":{"total_tokens":Infinity}}\n\n', EngineFailed, "cannot be read"),
        (b"data: " + b"[" * 100_000 + b"\n\n", EngineFailed, "cannot be read"),
        (_event(content="a"), EngineFailed, "cut off"),
        (b"", EngineFailed, "cut off"),
    ],
)
def test_a_broken_answer_is_an_error(
    server: Server, client: Client, body: bytes, error: type[RunnerError], message: str
) -> None:
    """Never silence, never half an answer that looks whole."""
    server.add(body)

    with pytest.raises(error, match=message):
        list(client.chat("m", []))


def test_closing_an_answer_hangs_up(server: Server, client: Client) -> None:
    """The daemon stops the generation when the client has left."""
    server.add(_event(content="a") + b"<on>")

    with closing(client.chat("m", [])) as pieces:
        assert next(pieces) == Piece("a")

    assert server.left.wait(10)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.remove(" ", force=False),
        lambda client: client.tag("", "a", "b"),
    ],
)
def test_an_empty_name_is_refused_before_anything_is_sent(
    server: Server, client: Client, call: Callable[[Client], object]
) -> None:
    """`DELETE /models/` is nobody's wish."""
    with pytest.raises(InvalidReference):
        call(client)

    assert server.requests == []


def test_ctrl_c_while_an_answer_is_parsed_is_ctrl_c() -> None:
    """And not an answer that is no HTTP: the parser wraps what comes up while it calls back."""

    class Interrupted(Response):
        def on_body(self, data: bytes) -> None:
            raise KeyboardInterrupt

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with pytest.raises(KeyboardInterrupt):
            Interrupted(Connection(ours)).read()


def test_patience_is_for_each_piece_and_longer_than_a_call() -> None:
    """Calls are short, for the sake of Ctrl-C; what is too slow for one of them is not given up."""
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    data, came = bytes(4 << 20), 0
    late = threading.Event()

    def read() -> None:
        nonlocal came
        late.wait(0.7)
        while came < len(data) and (piece := theirs.recv(1 << 20)):
            came += len(piece)
        theirs.sendall(b"thanks")

    reader = threading.Thread(target=read)
    with ours, theirs:
        reader.start()
        connection = Connection(ours)
        connection.send(data)
        assert b"thanks" == connection.receive()
        reader.join()

    assert came == len(data)


@pytest.mark.parametrize("patience", [0.01, 0.6])
def test_patience_ends(patience: float) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(patience)
    with ours, theirs:
        connection = Connection(ours)
        with pytest.raises(TimeoutError):
            connection.receive()
        with pytest.raises(TimeoutError):
            connection.send(bytes(4 << 20))
