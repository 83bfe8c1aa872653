"""The proxy that breaks transfers, between a plain client and a registry in memory."""

import http.client
import struct
from collections.abc import Iterator
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit

import pytest

from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.faults import (
    Ending,
    Fault,
    cut,
    mislabelled,
    other_bytes,
    redirect,
    reset,
    unavailable,
    unsatisfiable,
    without_range,
)
from modelrunner.testing.proxy import FaultProxy, fault_proxy
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

CONTENT = bytes(range(256)) * 1024
ARTIFACT = make_artifact(CONTENT)
PATH = f"/v2/team/model/blobs/{ARTIFACT.layers[0].digest}"
RANGE = {"Range": "bytes=1000-1999"}


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    registry = FakeRegistry()
    registry.add("team/model", "v1", ARTIFACT.content, ARTIFACT.contents)
    with serving_in_thread(registry) as url, fault_proxy(urlsplit(url).netloc) as running:
        yield running


@pytest.fixture
def connection(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection(proxy.address, timeout=10)
    yield opened
    opened.close()


def _get(
    connection: http.client.HTTPConnection, headers: dict[str, str] | None = None, path: str = PATH
) -> tuple[int, dict[str, str], bytes]:
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def test_without_a_fault_nothing_is_changed(
    proxy: FaultProxy, connection: http.client.HTTPConnection
) -> None:
    """Whole blobs and ranges pass, one after the other on one connection, and are counted."""
    whole, part = _get(connection), _get(connection, RANGE)

    assert (whole[0], whole[2]) == (200, CONTENT)
    assert (part[0], part[2]) == (206, CONTENT[1000:2000])
    proxy.wait_until_idle()  # it counts what it has sent a moment later
    assert proxy.fetched == len(CONTENT) + 1000
    assert [exchange.request.range for exchange in proxy.blobs] == [None, (1000, 1999)]


@pytest.mark.parametrize("after", [0, 1, 1000, len(CONTENT) - 1])
def test_an_answer_ends_after_so_many_bytes(
    proxy: FaultProxy, connection: http.client.HTTPConnection, after: int
) -> None:
    """With an orderly end, exactly those bytes arrive."""
    proxy.plan = lambda _: cut(after)

    with pytest.raises(http.client.IncompleteRead) as caught:
        _get(connection)
    assert caught.value.partial == CONTENT[:after]
    assert proxy.fetched == after


@pytest.mark.parametrize("fault", [reset(), cut(1000, Ending.RESET)])
def test_a_connection_is_reset(
    proxy: FaultProxy, connection: http.client.HTTPConnection, fault: Fault
) -> None:
    """Before the answer or in the middle of it."""
    proxy.plan = lambda _: fault

    with pytest.raises(ConnectionResetError):
        _get(connection)


def test_silence_lasts_until_the_client_leaves(
    proxy: FaultProxy, connection: http.client.HTTPConnection
) -> None:
    """The proxy says when it falls silent, and notices that the client has gone, also by a reset."""
    silent: list[None] = []
    proxy.plan = lambda _: cut(1000, Ending.STALL, lambda: silent.append(None))
    connection.request("GET", PATH)
    proxy.wait_until(lambda: proxy.fetched == 1000)
    connection.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    proxy.wait_until_idle()

    assert silent == [None]


def test_a_pause_ends_when_the_proxy_is_told(
    proxy: FaultProxy, connection: http.client.HTTPConnection
) -> None:
    """The rest comes then, without a gap."""
    proxy.plan = lambda _: cut(1000, Ending.PAUSE)
    connection.request("GET", PATH)
    proxy.wait_until(lambda: proxy.fetched == 1000)
    proxy.go_on()

    assert connection.getresponse().read() == CONTENT


def test_ranges_go_wrong_in_every_way(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """Everything instead, other bytes under the right label, the right ones under another, none at all."""
    faults = iter([without_range(), other_bytes(7), mislabelled(7), unsatisfiable()])
    proxy.plan = lambda _: next(faults)
    answers = []
    for _ in range(4):
        status, headers, body = _get(connection, RANGE)
        answers.append((status, headers.get("content-range"), body))

    size = len(CONTENT)
    assert answers == [
        (200, None, CONTENT),
        (206, f"bytes 1000-1999/{size}", CONTENT[1007:2007]),
        (206, f"bytes 1007-2006/{size}", CONTENT[1000:2000]),
        (416, None, b""),
    ]


def test_a_busy_server_says_when_to_come_back(
    proxy: FaultProxy, connection: http.client.HTTPConnection
) -> None:
    """That is a header; without it nothing is said."""
    proxy.plan = lambda _: unavailable(3)
    told = _get(connection)
    proxy.plan = lambda _: unavailable()
    untold = _get(connection)

    assert [(told[0], told[1].get("retry-after")), (untold[0], untold[1].get("retry-after"))] == [
        (503, "3"),
        (503, None),
    ]


def test_a_place_expires_after_its_uses(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """The client is sent there, served as often as was said, and then refused."""
    proxy.plan = lambda _: redirect(2)
    status, headers, _ = _get(connection)
    there = urlsplit(headers["location"]).path
    answers = [_get(connection, RANGE, there)[::2] for _ in range(3)]

    assert status == 307
    assert answers == [(206, CONTENT[1000:2000])] * 2 + [(403, b"")]
    assert proxy.fetched == 2000
