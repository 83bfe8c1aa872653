import socket
from pathlib import Path

import pytest

from modelrunner.testing.docker_registry import docker_registry


@pytest.mark.registry
def test_the_server_answers_as_soon_as_its_address_is_known(tmp_path: Path) -> None:
    """And is gone when the test is over."""
    with docker_registry(tmp_path) as address:
        host, _, port = address.partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
