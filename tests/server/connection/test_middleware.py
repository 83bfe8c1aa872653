"""The edge: who may ask, what browsers are told, and errors that nobody caught."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from modelrunner.errors import Forbidden, InvalidRequest
from modelrunner.server.connection.middleware import Edge, Guard


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:12434",
        b"127.0.0.1:12434",
        b"127.9.9.9",
        b"[::1]:80",
        b"app.localhost:5173",
        b"model-runner.docker.internal",
        b"host.docker.internal:12434",
        b"localhost.:1",
    ],
)
def test_this_machine_and_its_containers_may_ask(host: bytes) -> None:
    """Loopback in every spelling, and the names that containers use."""
    assert () == Guard(bound="127.0.0.1").judge(host, None)


@pytest.mark.parametrize(
    "host", [b"evil.example", b"evil.example:12434", b"192.168.1.7", b"localhost.evil.example", b"", b"[::2]"]
)
def test_foreign_hosts_are_refused(host: bytes) -> None:
    """A name that an attacker made point here is no name of ours."""
    with pytest.raises(Forbidden, match="Host not allowed"):
        Guard(bound="127.0.0.1").judge(host, None)


@pytest.mark.parametrize(
    ("bound", "hosts", "asked"),
    [
        ("192.168.1.7", (), b"192.168.1.7:12434"),
        ("0.0.0.0", (), b"10.1.2.3:12434"),
        ("::", (), b"[fe80::1]:12434"),
        ("127.0.0.1", ("runner",), b"Runner:12434"),
        ("127.0.0.1", ("*",), b"anything.example"),
        (None, (), b"localhost"),
    ],
)
def test_the_bound_address_and_configured_names_may_ask(
    bound: str | None, hosts: tuple[str, ...], asked: bytes
) -> None:
    """Behind a wildcard address any IP address is ours, for an address cannot be rebound."""
    assert () == Guard(bound=bound, hosts=hosts).judge(asked, None)


def test_a_name_is_refused_behind_a_wildcard_address() -> None:
    """Listening everywhere does not open the door to rebinding."""
    with pytest.raises(Forbidden):
        Guard(bound="0.0.0.0").judge(b"evil.example", None)


def test_only_http_1_0_may_leave_the_host_out() -> None:
    """Later versions have to send it."""
    guard = Guard(bound="127.0.0.1")

    assert () == guard.judge(None, None, "1.0")
    with pytest.raises(InvalidRequest, match="no Host"):
        guard.judge(None, None)


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ((), b"http://localhost"),
        ((), b"http://localhost:3000"),
        ((), b"https://127.0.0.1:8443"),
        ((), b"http://0.0.0.0:1"),
        ((), b"http://[::1]:3000"),
        (("http://foo.example",), b"http://foo.example"),
        (("https://foo.example:*",), b"https://foo.example:8443"),
        (("https://foo.example:*",), b"https://foo.example"),
        (("*",), b"https://any.example"),
        (("*",), b"null"),
        ((), b"http://localhost:12434"),
    ],
)
def test_allowed_origins_are_echoed(listed: tuple[str, ...], origin: bytes) -> None:
    """Loopback on any port always, others as they are listed."""
    headers = Guard(bound="127.0.0.1", origins=listed).judge(b"localhost:12434", origin)

    assert ((b"access-control-allow-origin", origin), (b"vary", b"Origin")) == headers


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ((), b"https://evil.example"),
        ((), b"null"),
        ((), b"localhost"),
        ((), b"ftp://localhost"),
        ((), b"chrome-extension://localhost"),
        ((), b"http://localhost.evil.example"),
        ((), b"http://localhost:3000.evil.example"),
        (("http://foo.example",), b"https://foo.example"),
        (("http://foo.example",), b"http://foo.example:81"),
        (("https://foo.example:*",), b"https://bar.example:8443"),
    ],
)
def test_other_origins_are_refused(listed: tuple[str, ...], origin: bytes) -> None:
    """Pages of other sites may not ask."""
    with pytest.raises(Forbidden, match="Origin not allowed"):
        Guard(bound="127.0.0.1", origins=listed).judge(b"localhost", origin)


def test_the_daemons_own_pages_may_ask() -> None:
    """An origin that is the host itself needs no listing."""
    guard = Guard(bound="192.168.1.7")

    assert guard.judge(b"192.168.1.7:12434", b"http://192.168.1.7:12434")


def test_a_refusal_is_remembered_and_raised_afresh() -> None:
    """The same headers get the same answer, as another exception object."""
    guard = Guard(bound="127.0.0.1")
    caught = []
    for _ in range(2):
        with pytest.raises(Forbidden) as error:
            guard.judge(b"evil.example", None)
        caught.append(error.value)

    assert caught[0].message == caught[1].message
    assert caught[0] is not caught[1]


def test_memory_of_decisions_is_bounded() -> None:
    """Somebody who makes up hosts does not fill the memory."""
    guard = Guard(bound="127.0.0.1", hosts=("*",))
    for number in range(3000):
        guard.judge(b"host-%d" % number, None)

    assert len(guard._remembered) <= 1024


async def ask(method: str, *headers: tuple[bytes, bytes], app: object = None) -> list[Message]:
    sent: list[Message] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"inside"})

    async def fail(exc: Exception, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": str(exc).encode()})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": method, "http_version": "1.1", "headers": list(headers)}
    await Edge(app or inner, Guard(bound="127.0.0.1"), fail)(scope, receive, send)  # type: ignore[arg-type]  # tests pass broken apps too
    return sent


HOST = (b"host", b"localhost")
ORIGIN = (b"origin", b"http://localhost:3000")


async def test_a_preflight_is_answered_for_any_path() -> None:
    """The browser learns that every method is allowed, and the headers that it asked for."""
    start, body = await ask(
        "OPTIONS", HOST, ORIGIN, (b"access-control-request-headers", b"x-a, authorization")
    )
    headers = dict(start["headers"])

    assert (204, b"") == (start["status"], body["body"])
    assert b"http://localhost:3000" == headers[b"access-control-allow-origin"]
    assert b"true" == headers[b"access-control-allow-credentials"]
    assert b"x-a, authorization" == headers[b"access-control-allow-headers"]
    assert {b"GET", b"POST", b"DELETE", b"PUT", b"PATCH", b"HEAD"} <= set(
        headers[b"access-control-allow-methods"].split(b", ")
    )
    assert b"Origin" == headers[b"vary"]


async def test_options_without_an_origin_goes_to_the_routes() -> None:
    """It is no preflight."""
    assert b"inside" == (await ask("OPTIONS", HOST))[1]["body"]


async def test_an_answer_gets_the_cors_headers_once() -> None:
    """The origin is echoed beside the headers of the answer."""
    start, _ = await ask("GET", HOST, ORIGIN)

    assert [
        (b"access-control-allow-origin", b"http://localhost:3000"),
        (b"vary", b"Origin"),
    ] == start["headers"][-2:]


async def test_without_an_origin_nothing_is_added() -> None:
    """Clients that are no browsers see no CORS headers."""
    start, _ = await ask("GET", HOST)

    assert [b"x", b"content-security-policy", b"x-content-type-options"] == [
        name for name, _ in start["headers"]
    ]


async def test_an_answer_that_is_no_page_does_nothing_as_one() -> None:
    """Errors too; what a route says of its own page stays."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Content-Security-Policy", b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    own, refused = await ask("GET", HOST, app=page), await ask("GET", HOST, app=broken)

    assert [(b"Content-Security-Policy", b"default-src 'self'"), (b"x-content-type-options", b"nosniff")] == (
        own[0]["headers"]
    )
    assert (
        b"default-src 'none'; frame-ancestors 'none'"
        == dict(refused[0]["headers"])[b"content-security-policy"]
    )


async def test_a_refusal_is_an_error_of_the_edge() -> None:
    """The routes never see a foreign request."""
    start, body = await ask("GET", HOST, (b"origin", b"https://evil.example"))

    assert (418, b"Origin not allowed") == (start["status"], body["body"])


async def test_an_error_before_the_answer_is_told_with_cors_headers() -> None:
    """So that the page that asked can read what went wrong."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    start, body = await ask("GET", HOST, ORIGIN, app=broken)

    assert (418, b"broken") == (start["status"], body["body"])
    assert b"access-control-allow-origin" in dict(start["headers"])


async def test_an_error_after_the_start_ends_the_connection() -> None:
    """Nothing that could be said would be understood, so the server is to close."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await ask("GET", HOST, app=broken)
