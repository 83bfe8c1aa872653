import asyncio
import urllib.error
import urllib.request
from typing import Any

import pytest

from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving, serving_in_thread


async def test_an_application_is_served_from_the_loop_of_the_test() -> None:
    """State is shared with the test, without locks."""
    fake = FakeRegistry()
    async with serving(fake) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert fake.lines() == ["GET /v2/"]


def test_an_application_is_served_to_a_test_that_blocks() -> None:
    """From a thread, which ends with the test."""
    with serving_in_thread(FakeRegistry()) as url, urllib.request.urlopen(f"{url}/v2/") as answer:
        body = answer.read()

    assert body == b"{}"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


async def test_a_response_without_an_end_breaks_the_connection() -> None:
    """This is how a cut body is made."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"123", "more_body": True})

    async with serving(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer.endswith(b"\r\n\r\n123")
