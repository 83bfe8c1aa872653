"""What may be reached, and on whose behalf."""

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from modelrunner.errors import RegistryError
from modelrunner.oci.connections import Connections, Timeouts, _Observer
from modelrunner.oci.endpoint import Endpoint
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving

REGISTRY = Endpoint("r.example.com", "https://r.example.com", internal=False)


class Names(AbstractResolver):
    """A name service that gives one answer after the other, and then the last one for ever."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        kind = socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def _connections(*answers: str) -> Connections:
    return Connections(
        user_agent="test",
        timeouts=Timeouts(connect=1.0, stall=1.0, finish=1.0),
        make_resolver=lambda: Names(*answers),
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "auth.example.com"])
async def test_a_registry_outside_cannot_make_us_connect_inside(host: str) -> None:
    """Neither by an address nor by a name that leads there; no byte is sent (GHSA-x2f5-332j-9xwq)."""
    inside = FakeRegistry()
    async with serving(inside) as url, _connections("127.0.0.1") as connections:
        target = url.replace("127.0.0.1", host)
        with pytest.raises(RegistryError, match="points to a private address") as caught:
            await connections.call(REGISTRY, "GET", f"{target}/v2/?token=s3cret", {})

    assert inside.seen == []
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001"])
async def test_old_spellings_of_addresses_get_nowhere(host: str) -> None:
    """They are addresses to some, and names to others."""
    inside = FakeRegistry()
    connections = Connections(user_agent="test", timeouts=Timeouts())
    async with serving(inside) as url, connections:
        with pytest.raises(RegistryError):
            await connections.call(REGISTRY, "GET", url.replace("127.0.0.1", host), {})

    assert inside.seen == []


async def test_a_registry_that_the_user_placed_inside_may_point_anywhere() -> None:
    """Its token server may be another machine of the same network."""
    trusted = Endpoint("r.example.com", "https://r.example.com", internal=True)
    async with serving(FakeRegistry()) as url, _connections("127.0.0.1") as connections:
        reply = await connections.call(trusted, "GET", url.replace("127.0.0.1", "auth.example.com"), {})
        reply.close()

    assert reply.status == 404


async def test_a_registry_is_inside_if_its_name_leads_there() -> None:
    """Known once it has been connected to; nothing needs to be configured for it."""
    async with serving(FakeRegistry()) as url, _connections("127.0.0.1") as connections:
        base = url.replace("127.0.0.1", "r.corp")
        registry = Endpoint("r.corp", base, internal=False)
        before = connections.is_internal(registry)
        (await connections.call(registry, "GET", f"{base}/v2/", {})).close()

        assert (before, connections.is_internal(registry)) == (False, True)


@pytest.mark.parametrize(
    ("answers", "internal"),
    [
        (("10.0.0.1", "10.0.0.2"), True),
        (("8.8.8.8", "10.0.0.1"), False),
        (("10.0.0.1", "8.8.8.8"), False),
    ],
)
async def test_a_name_that_changes_sides_is_outside(answers: tuple[str, ...], *, internal: bool) -> None:
    """Whoever answers for the name could otherwise declare their registry to be one of ours."""
    observer = _Observer(Names(*answers))

    for _ in answers:
        await observer.resolve("r.example.com")

    assert observer.is_internal("r.example.com") is internal
