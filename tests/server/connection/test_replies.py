"""Replies of the management routes: what callers can read, and streams that end in every way."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from modelrunner.errors import Busy, InvalidRequest, ModelNotFound, RunnerError
from modelrunner.server.connection.cancel_scope import Group
from modelrunner.server.connection.replies import LinesReply, accepts, error_reply, parse

NDJSON = "application/x-ndjson"


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("application/json", True),
        ("application/json, */*", True),
        ("text/html, application/json;q=0.9", True),
        ("APPLICATION/JSON", True),
        (NDJSON, True),
        ("*/*", False),
        ("application/*", False),
        ("text/plain", False),
        ("application/json;q=0", False),
        ("", False),
    ],
)
def test_json_is_asked_for_by_name(accept: str, *, answer: bool) -> None:
    """A wildcard asks for nothing in particular."""
    assert answer == accepts({"accept": accept}, "application/json", NDJSON)


def test_an_error_as_text_has_the_way_out_below() -> None:
    """Stock clients print the body as it is."""
    reply = error_reply(ModelNotFound("model not found: `x`", hint="pull it"), as_json=False)

    assert (404, b"model not found: `x`\n\nhint: pull it\n") == (reply.status_code, bytes(reply.body))
    assert "nosniff" == reply.headers["x-content-type-options"]


def test_busy_says_when_to_come_again() -> None:
    """In either form."""
    assert "1" == error_reply(Busy("full"), as_json=True).headers["retry-after"]


async def send_lines(lines: AsyncGenerator[bytes, None], group: Group | None = None) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    reply = LinesReply(
        lines,
        group=group or Group(),
        media_type="text/plain",
        last_words=lambda exc: f"last: {exc}".encode(),
    )
    await reply({"type": "http", "path": "/"}, receive, send)
    return sent


def body(sent: list[Message]) -> bytes:
    return b"".join(message["body"] for message in sent[1:])


async def test_lines_are_sent_one_by_one() -> None:
    """Each is a piece of its own, and the end is marked."""

    async def lines() -> AsyncGenerator[bytes, None]:
        yield b"one\n"
        yield b"two\n"

    sent = await send_lines(lines())

    assert (200, b"one\ntwo\n") == (sent[0]["status"], body(sent))
    assert [True, True, False] == [message["more_body"] for message in sent[1:]]


async def test_no_lines_are_an_empty_answer() -> None:
    """It is still one."""

    async def lines() -> AsyncGenerator[bytes, None]:
        for line in list[bytes]():
            yield line

    sent = await send_lines(lines())

    assert (200, b"") == (sent[0]["status"], body(sent))


async def test_an_error_before_the_first_line_is_raised() -> None:
    """So that it becomes a status."""

    async def lines() -> AsyncGenerator[bytes, None]:
        for line in (b"", b""):
            if not line:
                raise ModelNotFound("absent")
            yield line

    with pytest.raises(ModelNotFound):
        await send_lines(lines())


@pytest.mark.parametrize(
    ("error", "words"),
    [(RunnerError("broken"), b"last: broken"), (ValueError("x"), b"last: internal error: ValueError")],
)
async def test_an_error_after_a_line_is_the_last_line(error: Exception, words: bytes) -> None:
    """Whatever it was."""

    async def lines() -> AsyncGenerator[bytes, None]:
        yield b"one\n"
        raise error

    assert b"one\n" + words == body(await send_lines(lines()))


async def test_a_daemon_that_stops_has_the_last_word() -> None:
    """The stream ends at once, and says why."""
    group = Group()

    async def lines() -> AsyncGenerator[bytes, None]:
        yield b"one\n"
        group.end()
        await asyncio.Event().wait()

    assert b"one\nlast: the daemon is shutting down" == body(await send_lines(lines(), group))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": "\xff"}', b'{"a":' * 100_000])
def test_a_body_that_is_no_json_object_is_the_callers_fault(body: bytes) -> None:
    """Also when it is no UTF-8, or nested without end."""
    with pytest.raises(InvalidRequest, match="invalid request body"):
        parse(body, dict[str, object])
