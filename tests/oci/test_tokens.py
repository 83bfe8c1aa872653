import asyncio

import pytest

from modelrunner.errors import RegistryError, Unauthorized
from modelrunner.oci.auth import Access, TokenRequest
from modelrunner.oci.credentials import Credential
from modelrunner.oci.endpoint import Endpoint, endpoint
from modelrunner.oci.tokens import Tokens

HOST = endpoint("r.example.com")
PULL = Access(HOST, "team/model")
BEARER = 'Bearer realm="https://r.example.com/token",service="s",scope="repository:team/model:pull"'


class Server:
    """A token server that gives numbered tokens, and a clock moved by hand."""

    def __init__(self, credential: Credential | None = None) -> None:
        self.asked: list[TokenRequest] = []
        self.replies: list[tuple[int, bytes]] = []
        self.looked_up: list[str] = []
        self.credential = credential
        self.now = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.tokens = Tokens(self, self.exchange, clock=lambda: self.now)

    def lookup(self, registry: str) -> Credential | None:
        self.looked_up.append(registry)
        return self.credential

    async def exchange(self, request: TokenRequest, asker: Endpoint) -> tuple[int, bytes]:
        self.asked.append(request)
        self.called.set()
        await self.gate.wait()
        number = len(self.asked)
        return self.replies.pop(0) if self.replies else (200, b'{"token":"t%d","expires_in":60}' % number)


async def test_nothing_is_sent_before_a_registry_asks() -> None:
    """Anonymous registries never see a credential, and no helper program is run for them."""
    server = Server(Credential("ann", "pw"))

    assert await server.tokens.header(PULL) is None
    assert server.looked_up == []


async def test_a_token_is_fetched_once_and_kept() -> None:
    """Later requests have it from the start."""
    server = Server()

    answer = await server.tokens.answer(PULL, [BEARER], refused=None)

    assert answer == "Bearer t1"
    assert await server.tokens.header(PULL) == "Bearer t1"
    assert len(server.asked) == 1


async def test_a_token_is_renewed_before_it_expires() -> None:
    """Requests do not run into a 401 just because time passed."""
    server = Server()
    await server.tokens.answer(PULL, [BEARER], refused=None)

    server.now = 56.0

    assert await server.tokens.header(PULL) == "Bearer t2"


async def test_a_refused_token_is_replaced_once() -> None:
    """Whoever was refused with the old token gets the new one, without fetching another."""
    server = Server()
    old = await server.tokens.answer(PULL, [BEARER], refused=None)

    first = await server.tokens.answer(PULL, [BEARER], refused=old)
    second = await server.tokens.answer(PULL, [BEARER], refused=old)

    assert (old, first, second) == ("Bearer t1", "Bearer t2", "Bearer t2")


async def test_many_requests_wait_for_one_token() -> None:
    """Four blobs that are refused at once fetch one token."""
    server = Server()
    server.gate.clear()
    waiting = [asyncio.create_task(server.tokens.answer(PULL, [BEARER], None)) for _ in range(4)]
    await server.called.wait()

    server.gate.set()

    assert await asyncio.gather(*waiting) == ["Bearer t1"] * 4
    assert len(server.asked) == 1


async def test_every_access_has_a_token_of_its_own() -> None:
    """Another repository, other actions, or a credential that came with the request."""
    server = Server()
    await server.tokens.answer(PULL, [BEARER], refused=None)

    others = [
        await server.tokens.header(Access(HOST, "team/other")),
        await server.tokens.header(Access(HOST, "team/model", "pull,push")),
        await server.tokens.header(Access(HOST, "team/model", credential=Credential("", "mine"))),
        await server.tokens.header(Access(endpoint("other.example.com"), "team/model")),
    ]

    assert others == ["Bearer t2", "Bearer t3", "Bearer t4", None]


async def test_a_token_is_asked_for_with_the_scope_of_its_own_request() -> None:
    """The scope that a challenge named belonged to the request which it answered."""
    server = Server()
    await server.tokens.answer(PULL, [BEARER], refused=None)

    await server.tokens.header(Access(HOST, "team/other"))

    assert "scope=repository%3Ateam%2Fother%3Apull" in server.asked[1].url
    assert "team%2Fmodel" not in server.asked[1].url


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_a_server_that_does_not_know_posts_is_asked_the_old_way(status: int) -> None:
    """First the form, then basic authentication."""
    server = Server(Credential("ann", "pw"))
    server.replies = [(status, b"")]

    assert await server.tokens.answer(PULL, [BEARER], refused=None) == "Bearer t2"
    assert [request.form is None for request in server.asked] == [False, True]


async def test_a_credential_of_the_request_replaces_the_one_on_file() -> None:
    """Nothing is looked up."""
    server = Server(Credential("ann", "pw"))

    await server.tokens.answer(Access(HOST, "x", credential=Credential("", "mine")), [BEARER], None)

    assert server.looked_up == []
    assert server.asked[0].form is not None
    assert server.asked[0].form["refresh_token"] == "mine"


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([(401, b"s3cret"), (401, b"s3cret")], Unauthorized),
        ([(403, b"s3cret")], Unauthorized),
        ([(500, b"s3cret")], RegistryError),
        ([(302, b"s3cret")], RegistryError),
        ([(200, b"s3cret")], RegistryError),
    ],
)
async def test_the_words_of_a_token_server_are_not_repeated(
    replies: list[tuple[int, bytes]], error: type[Exception]
) -> None:
    """A registry could point us to any server; what that says is nobody's business."""
    server = Server(Credential("ann", "pw"))
    server.replies = replies

    with pytest.raises(error) as caught:
        await server.tokens.answer(PULL, [BEARER], refused=None)

    assert "s3cret" not in f"{caught.value} {getattr(caught.value, 'hint', '')}"


async def test_a_password_goes_straight_to_a_registry_that_wants_basic_authentication() -> None:
    """And is not sent twice when it is refused."""
    server = Server(Credential("ann", "pw"))

    answer = await server.tokens.answer(PULL, ['Basic realm="x"'], refused=None)

    assert answer == "Basic YW5uOnB3"
    assert await server.tokens.answer(PULL, ['Basic realm="x"'], refused=answer) is None


@pytest.mark.parametrize("credential", [None, Credential("", "identity")])
async def test_basic_authentication_needs_a_password(credential: Credential | None) -> None:
    """An identity token is none."""
    server = Server(credential)

    assert await server.tokens.answer(PULL, ["Basic"], refused=None) is None


@pytest.mark.parametrize("headers", [[], ["Negotiate"], ["Bearer"]])
async def test_a_challenge_that_we_cannot_meet_has_no_answer(headers: list[str]) -> None:
    """The refusal then goes to the user."""
    assert await Server().tokens.answer(PULL, headers, refused=None) is None


async def test_a_way_in_that_leads_nowhere_is_not_kept() -> None:
    """One bad 401 does not cost the following requests anything."""
    server = Server()
    server.replies = [(500, b"")]
    with pytest.raises(RegistryError):
        await server.tokens.answer(PULL, [BEARER], refused=None)

    assert await server.tokens.header(PULL) is None
    assert len(server.asked) == 1


async def test_a_way_in_that_leads_nowhere_any_more_is_forgotten() -> None:
    """The request goes without a header, so that the registry can say anew what it wants."""
    server = Server()
    await server.tokens.answer(PULL, [BEARER], refused=None)
    server.now = 100.0
    server.replies = [(401, b"")]

    assert await server.tokens.header(PULL) is None
    assert await server.tokens.header(PULL) is None
    assert len(server.asked) == 2
    assert await server.tokens.answer(PULL, [BEARER], refused=None) == "Bearer t3"
