"""Whether the daemon gets on with its work: the line of requests moves, or something explains why not."""

from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.loader import Loader
from modelrunner.wire.daemon import HealthReply


class Health:
    """Judges the pool. A large model may load for long; its engine explains that by going on talking."""

    def __init__(
        self, pool: Pool[Instance], loader: Loader, catalogue: Catalogue, *, patience: float
    ) -> None:
        """`patience` is for how long (in seconds) nothing may happen."""
        self._pool = pool
        self._loader = loader
        self._catalogue = catalogue
        self._patience = patience

    def check(self) -> HealthReply:
        """Say whether all is well, and if not for what requests wait in vain."""
        seconds = min(self._pool.stalled(), self._loader.quiet())
        line = self._pool.queue()
        if seconds <= self._patience or not line:
            return {"status": "ok"}
        first = line[0]
        return {
            "status": "stalled",
            "seconds": round(seconds, 1),
            "waiting": len(line),
            "model": self._catalogue.called(first.key.model),
            "reason": first.why,
            "text": first.text,
        }
