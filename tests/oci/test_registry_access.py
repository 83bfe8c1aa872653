"""Access control, on real sockets: who is sent which credential."""

from typing import Any

import pytest

from modelrunner.errors import RegistryError, Unauthorized
from modelrunner.oci.credentials import Credential
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import Access, FakeRegistry, answer
from modelrunner.testing.serving import serving

ARTIFACT = make_artifact(b"first layer", b"second layer")
REPOSITORY = "team/model"
USERS = {"ann": "s3cret"}
ANN = Credential("ann", "s3cret")


def _fake(access: Access) -> FakeRegistry:
    fake = FakeRegistry(access)
    fake.add(REPOSITORY, "v1", ARTIFACT.content, ARTIFACT.contents)
    return fake


async def _pull(client: Any, fake: FakeRegistry, memory: Any, credential: Credential | None) -> None:
    async with serving(fake) as url:
        reference = client.reference(url)
        known = {reference.registry: credential} if credential else {}
        async with client.open(known) as hub:
            source = hub.repository(reference)
            await copy(source, memory, await source.manifest(reference), [])


@pytest.mark.parametrize(
    ("access", "credential"),
    [
        (Access(USERS), ANN),
        (Access(USERS, bearer=True), ANN),
        (Access(USERS, bearer=True, post=False), ANN),
        (Access(USERS, bearer=True, refresh={"identity": "ann"}), Credential("", "identity")),
        (Access(bearer=True, public=True), None),
        (Access(USERS, bearer=True, public=True), ANN),
    ],
)
async def test_every_way_in_is_found(
    client: Any, memory: Any, access: Access, credential: Credential | None
) -> None:
    """Basic; tokens for a password the new way and the old; an identity token; nobody in particular."""
    await _pull(client, _fake(access), memory, credential)

    assert memory.blobs == ARTIFACT.contents


@pytest.mark.parametrize("bearer", [False, True])
@pytest.mark.parametrize("credential", [None, Credential("ann", "wrong"), Credential("", "wrong")])
async def test_without_the_right_credential_there_is_no_way_in(
    client: Any, memory: Any, *, bearer: bool, credential: Credential | None
) -> None:
    """The error says how to log in, and has no secret in it."""
    with pytest.raises(Unauthorized) as caught:
        await _pull(client, _fake(Access(USERS, bearer=bearer)), memory, credential)

    assert "docker login 127.0.0.1" in str(caught.value.hint)
    assert "wrong" not in f"{caught.value} {caught.value.detail}"


async def test_one_token_serves_a_whole_pull(client: Any, memory: Any) -> None:
    """It is fetched once, and sent from then on without being asked for."""
    fake = _fake(Access(USERS, bearer=True))

    await _pull(client, fake, memory, ANN)

    assert len(fake.lines("/token")) == 1
    assert [seen.headers.get("authorization", "none")[:6] for seen in fake.seen if "/v2/" in seen.path] == [
        "none",
        *["Bearer"] * 4,
    ]


async def test_a_token_that_is_revoked_in_the_middle_is_replaced(client: Any) -> None:
    """The request that is refused is repeated with a fresh one."""
    fake = _fake(Access(USERS, bearer=True))
    async with serving(fake) as url:
        reference = client.reference(url)
        async with client.open({reference.registry: ANN}) as hub:
            source = hub.repository(reference)
            await source.manifest(reference)
            fake.revoke()
            async with source.open(ARTIFACT.layers[0]) as (_, chunks):
                body = b"".join([chunk async for chunk in chunks])

    assert body == b"first layer"
    assert len(fake.lines("/token")) == 2


async def test_a_token_that_is_revoked_before_an_upload_costs_a_second_one(client: Any, memory: Any) -> None:
    """The bytes of a refused upload are gone; the copy sends them again with a fresh token."""
    fake = FakeRegistry(Access(USERS, bearer=True))
    revoked = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal revoked
        if scope["method"] == "PUT" and not revoked:
            revoked = True
            fake.revoke()
        await fake(scope, receive, send)

    async with serving(app) as url:
        reference = client.reference(url)
        async with client.open({reference.registry: ANN}) as hub:
            await copy(
                ARTIFACT,
                hub.repository(reference),
                ARTIFACT.content,
                [reference],
                parallel=1,
                retry=RetryPolicy(first=0.0),
            )

    assert fake.blobs == ARTIFACT.contents


async def test_a_credential_that_comes_with_the_request_is_used_for_it_alone(client: Any) -> None:
    """Somebody else's next request does not have its token."""
    fake = _fake(Access(USERS, bearer=True, refresh={"mine": "ann"}))
    async with serving(fake) as url, client.open() as hub:
        reference = client.reference(url)
        await hub.manifest(reference, credential=Credential("", "mine"))
        with pytest.raises(Unauthorized):
            await hub.manifest(reference)


async def test_a_push_asks_for_the_right_to_push(client: Any) -> None:
    """Anybody may pull here; pushing needs a user."""
    fake = FakeRegistry(Access(USERS, bearer=True, public=True))
    async with serving(fake) as url:
        reference = client.reference(url)
        async with client.open() as hub:
            with pytest.raises(Unauthorized):
                await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
        async with client.open({reference.registry: ANN}) as hub:
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])

    assert fake.blobs == ARTIFACT.contents


@pytest.mark.parametrize("bearer", [False, True])
async def test_credentials_do_not_follow_a_redirect(client: Any, memory: Any, *, bearer: bool) -> None:
    """Neither a password nor a token goes to another origin, not even on the same address."""
    fake = _fake(Access(USERS, bearer=bearer))
    storage = FakeRegistry()
    storage.fault("/elsewhere", answer(200, b"first layer"))
    async with serving(storage) as there:
        fake.fault(str(ARTIFACT.layers[0].digest), answer(307, Location=f"{there}/elsewhere"))
        await _pull(client, fake, memory, ANN)

    assert len(storage.seen) == 1
    assert "authorization" not in storage.seen[0].headers


async def test_credentials_stay_with_a_redirect_on_the_same_origin(client: Any, memory: Any) -> None:
    """A registry may move things about in itself."""
    fake = _fake(Access(USERS))
    fake.fault("manifests/v1", answer(307, Location=f"/v2/{REPOSITORY}/manifests/{ARTIFACT.id}"), times=2)

    await _pull(client, fake, memory, ANN)

    moved = [seen for seen in fake.seen if seen.path.endswith(str(ARTIFACT.id))]
    assert moved[-1].headers["authorization"].startswith("Basic")
    assert memory.blobs == ARTIFACT.contents


@pytest.mark.parametrize("challenge", ['Basic realm="please"', 'Bearer realm="{there}/token",service="x"'])
async def test_another_host_that_asks_for_a_password_does_not_get_ours(
    client: Any, memory: Any, challenge: str
) -> None:
    """A challenge counts only from the registry itself, and only that may name a token server."""
    fake = _fake(Access(USERS))
    thief = FakeRegistry()
    async with serving(thief) as there:
        thief.fault("", answer(401, WWW_Authenticate=challenge.format(there=there)), times=9)
        fake.fault(str(ARTIFACT.layers[0].digest), answer(307, Location=f"{there}/steal"), times=9)
        with pytest.raises(Unauthorized):
            await _pull(client, fake, memory, ANN)

    assert {seen.path for seen in thief.seen} == {"/steal"}
    assert all("authorization" not in seen.headers for seen in thief.seen)


async def test_a_realm_that_redirects_gets_no_further(client: Any) -> None:
    """The password went to the realm; it does not travel on."""
    fake = _fake(Access(USERS, bearer=True))
    thief = FakeRegistry()
    async with serving(thief) as there, serving(fake) as url:
        fake.fault("/token", answer(307, Location=f"{there}/steal"), times=9)
        reference = client.reference(url)
        async with client.open({reference.registry: ANN}) as hub:
            with pytest.raises(RegistryError, match="status 307"):
                await hub.manifest(reference)

    assert thief.seen == []


async def test_a_realm_that_is_no_web_address_is_refused(client: Any) -> None:
    """Nothing is sent anywhere."""
    fake = _fake(Access(USERS, bearer=True, realm="ftp://127.0.0.1/token"))
    async with serving(fake) as url:
        reference = client.reference(url)
        async with client.open({reference.registry: ANN}) as hub:
            with pytest.raises(RegistryError, match="realm URL rejected"):
                await hub.manifest(reference)


async def test_a_token_server_with_passing_trouble_is_asked_again(client: Any, memory: Any) -> None:
    """The retry policy holds for it as well."""
    fake = _fake(Access(USERS, bearer=True))
    fake.fault("/token", answer(503), times=2)

    await _pull(client, fake, memory, ANN)

    assert len(fake.lines("/token")) == 3


async def test_an_answer_of_a_token_server_has_a_limit(client: Any) -> None:
    """A flood is cut off and is no token."""
    fake = _fake(Access(USERS, bearer=True))
    fake.fault("/token", answer(200, b"x" * (8 << 20)))
    async with serving(fake) as url:
        reference = client.reference(url)
        async with client.open({reference.registry: ANN}) as hub:
            with pytest.raises(RegistryError, match="not a token"):
                await hub.manifest(reference)
