"""A connection to the Docker Engine that a command means; the SDK is imported when somebody wants one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelrunner.cli.session import Session

if TYPE_CHECKING:
    from modelrunner.containers.runner import Runners


@contextmanager
def opened(session: Session) -> Iterator["Runners"]:
    """Connect to the Docker Engine that is meant, for as long as the block lasts."""
    from modelrunner.containers import engine
    from modelrunner.containers.runner import Runners

    where = session.docker
    certificates = where.certificates
    paths = [str(path or "") for path in (certificates[:3] if certificates else ("", "", ""))]
    client = engine.connect(
        where.url,
        *paths,
        tls=certificates is not None,
        verify=certificates is not None and certificates.verify,
    )
    try:
        yield Runners(client)
    finally:
        client.close()
