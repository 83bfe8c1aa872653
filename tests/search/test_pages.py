"""Documents of a website's API, from a local server that answers as a test says."""

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelrunner.errors import RegistryError
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transport import Transport
from modelrunner.search.pages import Pages
from modelrunner.testing.serving import serving

ONCE = RetryPolicy(tries=1)


class Word(msgspec.Struct):
    """The shape that is asked for."""

    word: str


class Site:
    """Answers everything alike, and remembers who asked."""

    def __init__(self, status: int = 200, body: bytes = b'{"word": "hello"}') -> None:
        self.status = status
        self.body = body
        self.seen: list[str] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        self.seen.append(request.headers.get("authorization", ""))
        return Response(self.body, self.status)


async def _get(site: Site, token: str | None = None) -> Word:
    async with (
        serving(site.app()) as url,
        Transport(Credentials({}), user_agent="test", retry=ONCE, timeouts=Timeouts()) as transport,
    ):
        return await Pages(transport, f"{url}/", "The Site", token).get(f"{url}/page", Word)


@pytest.mark.parametrize(("token", "sent"), [(None, ""), ("secret", "Bearer secret")])
async def test_a_page_is_read_into_its_shape(token: str | None, sent: str) -> None:
    """With the token, if there is one."""
    site = Site()

    assert Word("hello") == await _get(site, token)
    assert [sent] == site.seen


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"word": 7}', b"\xff", b"[" * 100_000])
async def test_an_answer_of_another_shape_is_refused(body: bytes) -> None:
    """The message says whose it is, and nothing of its text."""
    with pytest.raises(RegistryError, match="the answer of The Site cannot be read"):
        await _get(Site(body=body))


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "The Site answers with status 404"), (403, "The Site answers with status 403")],
)
async def test_a_status_that_is_no_answer_is_told(status: int, message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        await _get(Site(status))

    assert message == caught.value.message


async def test_a_limit_on_questions_says_to_wait() -> None:
    with pytest.raises(RegistryError, match="rate limited by The Site") as caught:
        await _get(Site(429))

    assert caught.value.hint == "try again in a minute"


async def test_a_token_is_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    async with Transport(Credentials({}), user_agent="test", retry=ONCE, timeouts=Timeouts()) as transport:
        assert "secret" not in repr(Pages(transport, "http://site", "The Site", "secret"))
