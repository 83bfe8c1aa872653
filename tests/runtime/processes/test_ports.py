"""Ports: which are free, and which are not."""

import socket

import pytest

from modelrunner.runtime.processes.ports import free_port, is_taken


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_can_be_listened_on(host: str) -> None:
    """It is nobody's until then."""
    port = free_port(host)
    assert not is_taken(host, port)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        assert is_taken(host, port)
    assert not is_taken(host, port)


def test_a_port_whose_connections_have_ended_is_free() -> None:
    """They linger for a minute, and nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()

    assert not is_taken("127.0.0.1", port)
