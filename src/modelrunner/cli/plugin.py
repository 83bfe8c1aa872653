"""The socket by which docker tells its plug-in to stop when no terminal delivers the signal."""

import os
import signal
import socket
import threading
from collections.abc import Mapping

_SOCKET = "DOCKER_CLI_PLUGIN_SOCKET"


def follow_docker(environ: Mapping[str, str]) -> None:
    """Interrupt this process once docker closes the socket that it named.

    Source: docker/cli `cli-plugins/socket/socket.go`, v28; `@` marks an abstract address.
    """
    name = environ.get(_SOCKET, "")
    if not name:
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"\0{name[1:]}" if name.startswith("@") else name)
    except OSError:
        connection.close()  # an older docker, or one that has left already: nothing to follow
        return
    threading.Thread(target=_wait, args=(connection,), name="docker", daemon=True).start()


def _wait(connection: socket.socket) -> None:
    with connection:
        try:
            while connection.recv(64):
                pass
        except OSError:
            return
    os.kill(os.getpid(), signal.SIGINT)
