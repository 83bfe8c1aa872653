"""Which deployment is asked, and which one next when that fails."""

from collections.abc import Iterator

from modelrunner.gateway.config import Config, Deployment

_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})


class Router:
    """Gives each alias's deployments out in turn."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._next = dict.fromkeys(config.aliases, 0)
        self._deployments = {
            alias: [one for one in config.deployments if one.alias == alias] for alias in config.aliases
        }

    def knows(self, alias: str) -> bool:
        """Whether there is such a model."""
        return alias in self._deployments

    def attempts(self, alias: str) -> Iterator[Deployment]:
        """Yield whom to ask: the alias's own, one more for each retry, then each fallback once."""
        for _ in range(self._config.retries + 1):
            yield self._turn(alias)
        for other in self._config.fallbacks.get(alias, ()):
            yield self._turn(other)

    def _turn(self, alias: str) -> Deployment:
        deployments = self._deployments[alias]
        at = self._next[alias]
        self._next[alias] = (at + 1) % len(deployments)
        return deployments[at]


def is_worth_another_try(status: int) -> bool:
    """Whether somebody else, or the same a moment later, may answer what was refused so."""
    return status >= 500 or status in _WORTH_ANOTHER_TRY
