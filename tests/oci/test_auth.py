import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import RegistryError
from modelrunner.oci.auth import (
    Challenge,
    Token,
    TokenRequest,
    basic,
    choose,
    parse_challenges,
    parse_token,
    token_requests,
)
from modelrunner.oci.credentials import Credential

HUB = Challenge("bearer", {"realm": "https://auth.docker.io/token", "service": "registry.docker.io"})
PULL = "repository:ai/m:pull"


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('BASIC Realm="a \\"quoted\\" one"', [Challenge("basic", {"realm": 'a "quoted" one'})]),
        ("Basic", [Challenge("basic", {})]),
        ("Bearer realm=token , service = x", [Challenge("bearer", {"realm": "token", "service": "x"})]),
        (
            'Basic realm="x", Bearer realm="y",error="invalid_token"',
            [
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y", "error": "invalid_token"}),
            ],
        ),
        (
            'Negotiate abc==, Basic realm="x"',
            [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})],
        ),
        ("Negotiate, NTLM", [Challenge("negotiate", {}), Challenge("ntlm", {})]),
        ('Bearer realm="a", realm="b"', [Challenge("bearer", {"realm": "a"})]),
        ('Bearer realm="unfinished', [Challenge("bearer", {})]),
        ("", []),
        (", ,", []),
        ('="x"', []),
    ],
)
def test_challenges_are_read_as_the_standard_says(header: str, challenges: list[Challenge]) -> None:
    """Quoting, several in one header, opaque tokens, and sloppiness."""
    assert [each for each in parse_challenges([header]) if each.scheme][: len(challenges)] == challenges


@given(st.text(alphabet='Bearer realm="x",\\=/ ', max_size=200))
def test_any_header_is_read_in_one_pass(header: str) -> None:
    """Garbage gives some challenges or none, and no error."""
    assert all(isinstance(each, Challenge) for each in parse_challenges([header]))


def test_a_bearer_token_is_better_than_a_password() -> None:
    """What sends no password to the registry is chosen, in whatever order it is offered."""
    offered = parse_challenges(['Basic realm="x"', 'Negotiate, Bearer realm="y"'])

    assert choose(offered) == Challenge("bearer", {"realm": "y"})


def test_a_bearer_challenge_without_a_token_server_comes_last() -> None:
    """Only a token that we have already can meet it; a scheme that we do not know cannot be met."""
    bare = Challenge("bearer", {"service": "x"})

    assert choose(parse_challenges(["Negotiate", 'Bearer service="x"'])) == bare
    assert choose(parse_challenges(['Bearer service="x", Basic realm="y"'])) == Challenge(
        "basic", {"realm": "y"}
    )
    assert choose(parse_challenges(["Negotiate"])) is None


def test_basic_authentication_is_utf8_in_base64() -> None:
    """A colon in the password is no trouble."""
    header = basic(Credential("ann", "p:ä"))

    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ann:p:ä"


def test_an_anonymous_token_is_asked_for_with_a_get() -> None:
    """Service and scope go into the query."""
    (request,) = token_requests(HUB, PULL, None)
    query = parse_qs(urlsplit(request.url).query)

    assert (request.form, request.basic) == (None, None)
    assert query == {"service": ["registry.docker.io"], "scope": [PULL]}


def test_a_query_in_the_realm_is_kept() -> None:
    """Ours is appended."""
    challenge = Challenge("bearer", {"realm": "https://a.example.com/token?tenant=7"})

    (request,) = token_requests(challenge, PULL, None)

    assert request.url.startswith("https://a.example.com/token?tenant=7&scope=repository")


def test_the_scopes_are_those_of_the_challenge_and_our_own() -> None:
    """Sorted, each once."""
    challenge = Challenge("bearer", {"realm": "https://a", "scope": f"{PULL} repository:ai/z:pull"})

    (request,) = token_requests(challenge, PULL, None)

    assert parse_qs(urlsplit(request.url).query)["scope"] == [PULL, "repository:ai/z:pull"]


def test_a_password_is_posted_first_and_then_sent_as_basic_authentication() -> None:
    """Not every token server knows the newer form."""
    credential = Credential("ann", "s3cret")

    post, get = token_requests(HUB, PULL, credential)

    assert post == TokenRequest(
        "https://auth.docker.io/token",
        form={
            "service": "registry.docker.io",
            "scope": PULL,
            "client_id": "model-runner",
            "grant_type": "password",
            "username": "ann",
            "password": "s3cret",
        },
    )
    assert (get.form, get.basic) == (None, credential)


def test_an_identity_token_is_a_refresh_token() -> None:
    """It is exchanged, and not sent to the registry."""
    post, _ = token_requests(HUB, PULL, Credential("", "identity"))

    assert post.form is not None
    assert (post.form["grant_type"], post.form["refresh_token"]) == ("refresh_token", "identity")


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"token":"a","expires_in":300}', Token("a", 1295.0)),
        (b'{"access_token":"b","token":"a","expires_in":300,"issued_at":"x"}', Token("b", 1295.0)),
        (b'{"token":"a"}', Token("a", 1055.0)),  # 60 s, as the specification says
        (b'{"token":"a","expires_in":0}', Token("a", 1055.0)),
        (b'{"token":"a","expires_in":4}', Token("a", 1002.0)),
    ],
)
def test_a_token_is_given_up_a_little_before_its_end(body: bytes, token: Token) -> None:
    """The time is on the caller's clock."""
    assert parse_token(body, now=1000.0) == token


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"token":""}', b'{"token":"a\\r\\nX: y"}', b'{"token":7}', b"<s3cret>"]
)
def test_a_useless_answer_of_a_token_server_is_not_repeated(body: bytes) -> None:
    """The error says that there was no token, and nothing of what there was."""
    with pytest.raises(RegistryError) as caught:
        parse_token(body, now=0.0)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("body", [b'{"token":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_an_answer_that_cannot_be_decoded_is_no_token(body: bytes) -> None:
    """Neither bytes that are no UTF-8 nor brackets without end are more than that."""
    with pytest.raises(RegistryError, match="is not a token"):
        parse_token(body, now=0.0)
