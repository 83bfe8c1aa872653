"""One run of the command line: how it was called, its settings, and the way to its daemon.

Settings and client are imported once a command asks for them, so that help costs neither.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from modelrunner import __version__

if TYPE_CHECKING:
    from modelrunner.cli.endpoint import Endpoint
    from modelrunner.client import Client
    from modelrunner.settings import Settings


class Session:
    """What a command is given besides its own arguments."""

    def __init__(self, program: str, environ: Mapping[str, str]) -> None:
        """`program` is how people call us: `docker model` or `dmr`."""
        self.program = program
        self.environ = environ

    @cached_property
    def settings(self) -> "Settings":
        """Everything from the environment, read once."""
        from modelrunner.settings import load

        return load({}, self.environ)

    @cached_property
    def endpoint(self) -> "Endpoint":
        """Where the daemon is."""
        from modelrunner.cli.endpoint import find

        return find(self.settings)

    @cached_property
    def user_agent(self) -> str:
        """How requests name us, and on whose behalf we run: Compose sets `USER_AGENT`."""
        return f"docker-model-cli/{__version__} {self.settings.user_agent or ''}".strip()

    def client(self, *, start: bool = True, patience: float | None = None) -> "Client":
        """Make a client; with `start`, a daemon at the default address is started when none answers.

        `patience` bounds the wait for each piece of an answer, in seconds; None waits for ever.
        """
        from modelrunner.client import Client

        where = self.endpoint
        return Client(
            where.address,
            user_agent=self.user_agent,
            revive=self._revival() if start and where.may_start else None,
            patience=patience,
        )

    def _revival(self) -> Callable[[], None]:
        def revive() -> None:
            from modelrunner.cli.daemon import ensure_running

            ensure_running(self.endpoint.address, self.settings.log_dir, self.environ)

        return revive
