"""One run of the command line: how it was called, its settings, and the way to its daemon.

Settings and client are imported once a command asks for them, so that help costs neither.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from modelrunner import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from modelrunner.cli.docker_flags import DockerFlags
    from modelrunner.cli.docker_host import DockerHost
    from modelrunner.cli.endpoint import Endpoint
    from modelrunner.client import Client
    from modelrunner.settings.table import Settings


_QUICK = 30.0  # seconds


class Session:
    """What a command is given besides its own arguments."""

    def __init__(self, program: str, environ: Mapping[str, str], flags: "DockerFlags | None" = None) -> None:
        """`program` is how people call us: `docker model` or `dmr`; `flags` are docker's own, given to it."""
        self.program = program
        self.environ = environ
        self._flags = flags

    @property
    def is_plugin(self) -> bool:
        """Whether we are `docker model`, which goes where docker goes."""
        return self._flags is not None

    @cached_property
    def settings(self) -> "Settings":
        """Everything from the environment, read once."""
        from modelrunner.settings.loading import load

        return load({}, self.environ)

    @cached_property
    def endpoint(self) -> "Endpoint":
        """Where the daemon is."""
        from modelrunner.cli.endpoint import find

        if self.settings.model_runner_host:  # nothing else is looked at, so nothing else can be wrong
            return self._told(find(self.settings))
        from modelrunner.cli import installed

        asks_docker = self.is_plugin or installed.path_in(self.docker_config).exists()
        found = find(
            self.settings,
            self.docker_config,
            self.docker if asks_docker else None,
            elsewhere=self.is_plugin,
        )
        return self._told(found)

    def _told(self, found: "Endpoint") -> "Endpoint":
        if self._flags is not None and self._flags.debug:
            from modelrunner.cli.output import note

            note(f"debug: the model runner is at {found.address.url}")
        return found

    @cached_property
    def docker_config(self) -> "Path":
        """Docker's configuration folder, which is ours too."""
        from modelrunner.cli.docker_host import config_dir

        return config_dir(self.environ)

    @cached_property
    def docker(self) -> "DockerHost":
        """The Docker Engine that the docker client would talk to."""
        from modelrunner.cli.docker_flags import DockerFlags
        from modelrunner.cli.docker_host import find

        return find(self._flags or DockerFlags(), self.environ)

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
            hint=where.hint,
        )

    def quick_client(self) -> "Client":
        """Make a client for questions that take no work: who does not answer them in time is no daemon."""
        return self.client(patience=_QUICK)

    def _revival(self) -> Callable[[], None]:
        def revive() -> None:
            from modelrunner.cli.daemon import ensure_running

            ensure_running(self.endpoint.address, self.settings.log_dir, self.environ)

        return revive
