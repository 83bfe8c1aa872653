"""What watches the daemon at work: the recorder and what is read of it, metrics, samples for charts."""

from collections.abc import Mapping
from dataclasses import dataclass

from modelrunner.engines.registry import Engines
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.inspection.activity import Activity
from modelrunner.server.inspection.archive import Archive
from modelrunner.server.inspection.attribution import Attribution
from modelrunner.server.inspection.gauges import Metrics
from modelrunner.server.inspection.measuring import Measuring
from modelrunner.server.inspection.recording import Recording, order_of
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.loader import Loader
from modelrunner.server.transfers.transfers import Lines, uncounted
from modelrunner.settings.table import Settings


@dataclass(frozen=True, slots=True)
class Observing:
    """All of it. `measuring` and `metrics` are None when nobody wants metrics."""

    recording: Recording
    archive: Archive
    activity: Activity
    measuring: Measuring | None
    metrics: Metrics | None

    @classmethod
    def create(
        cls,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        engines: Engines,
        catalogue: Catalogue,
        configurations: Configurations,
        loader: Loader,
        pool: Pool[Instance],
    ) -> "Observing":
        """Build it from the settings.

        Raises:
            InvalidRequest: a rule for what is not recorded cannot be used.
        """
        attribution = Attribution(engines, catalogue, configurations, loader)
        recording = Recording(order_of(settings), environ, attribution.of)
        archive = Archive(recording)
        measuring = metrics = None
        if not settings.disable_metrics:
            measuring = Measuring(lambda key: catalogue.called(key.model))
            pool.events.attend(measuring)
            metrics = Metrics(pool, catalogue, recording, measuring)
        return cls(recording, archive, Activity(pool, catalogue, archive), measuring, metrics)

    def counted(self, kind: str, lines: Lines) -> Lines:
        """Pass the lines of a transfer on, and count it."""
        return uncounted(kind, lines) if self.measuring is None else self.measuring.counted(kind, lines)

    def begin(self) -> None:
        """Begin to watch."""
        self.activity.begin()

    async def close(self) -> None:
        """Write down what was seen, and end."""
        await self.activity.close()
        await self.recording.close()
        await self.archive.close()
