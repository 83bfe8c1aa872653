"""TCP ports of this machine for engines that know no Unix sockets.

Nobody can keep a port for somebody else, so one that was free may be taken before its engine listens.
"""

import errno
import socket


def free_port(host: str) -> int:
    """Find a port that nobody has now.

    Raises:
        OSError: there is none.
    """
    with _bound(host, 0) as sock:
        port: int = sock.getsockname()[1]
    return port


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens on a port; connections that have ended do not count."""
    try:
        _bound(host, port).close()
    except OSError as exc:
        return exc.errno == errno.EADDRINUSE
    return False


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        if port:
            sock.listen(1)  # two that only bind may share one
    except OSError:
        sock.close()
        raise
    return sock
