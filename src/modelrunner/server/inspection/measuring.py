"""The daemon's metrics of models and transfers, counted as it happens; the recorder counts requests."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from itertools import chain

from modelrunner.runtime.events import Event, Kind
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.telemetry.metrics import Family, Histogram
from modelrunner.wire.transfers import ProgressLine

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_SPEED = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
_MODEL = ("model",)
_UNKNOWN = ""
_EVICTIONS = frozenset(
    {
        Reason.PLACE_NEEDED,
        Reason.MEMORY_NEEDED,
        Reason.IDLE,
        Reason.UNLOADED,
        Reason.RECONFIGURED,
        Reason.SHUTDOWN,
    }
)


class Measuring:
    """Counts loads, unloads, failures and transfers. `called` says what a model is called."""

    def __init__(self, called: Callable[[Key], str]) -> None:
        self._called = called
        self._names: dict[Key, str] = {}
        self._starting: dict[Key, float] = {}
        self._crashed: set[Key] = set()
        self._load = Histogram(
            "modelrunner_model_load_seconds", "How long models took to load.", _LONG, _MODEL
        )
        self._evictions = Family(
            "modelrunner_model_unloads_total",
            "counter",
            "Models that left memory, by why.",
            ("model", "reason"),
        )
        self._failures = Family(
            "modelrunner_engine_failures_total",
            "counter",
            "Engines that crashed, or did not come up.",
            ("model", "backend", "reason"),
        )
        self._restarts = Family(
            "modelrunner_engine_restarts_total",
            "counter",
            "Engines that were started again after they failed.",
            ("model", "backend"),
        )
        self._refused = Family(
            "modelrunner_requests_refused_total", "counter", "Requests that were turned away.", ("reason",)
        )
        self._transfers = Family(
            "modelrunner_transfers_total",
            "counter",
            "Pulls and pushes, by how they ended.",
            ("kind", "outcome"),
        )
        self._moved = Family(
            "modelrunner_transfer_bytes_total",
            "counter",
            "Bytes of layers that were brought or sent.",
            ("kind",),
        )

    @property
    def families(self) -> tuple[Family | Histogram, ...]:
        """All of them."""
        return tuple(each for each in vars(self).values() if isinstance(each, Family | Histogram))

    def lines(self) -> str:
        """Write all."""
        return "".join(chain.from_iterable(each.lines() for each in self.families))

    def offer(self, event: Event) -> None:
        """Count what happened to a model in memory."""
        key, name = event.key, self._name(event.key, anew=event.kind is Kind.STARTING)
        if event.kind is Kind.STARTING:
            self._starting[key] = event.at
            if key in self._crashed:
                self._crashed.discard(key)
                self._restarts.add(1, name, key.engine)
        elif event.kind is Kind.READY:
            began = self._starting.pop(key, None)
            if began is not None:
                self._load.observe(max(0.0, event.at - began), name)
        elif event.kind is Kind.REFUSED:
            self._refused.add(1, event.reason.value)
        elif event.kind is Kind.GONE:
            self._starting.pop(key, None)
            if event.reason in {Reason.CRASHED, Reason.FAILED}:
                self._crashed.add(key)
                self._failures.add(1, name, key.engine, event.reason.value)
            elif event.reason in _EVICTIONS:
                self._evictions.add(1, name, event.reason.value)

    async def counted(
        self, kind: str, lines: AsyncGenerator[ProgressLine, None]
    ) -> AsyncGenerator[ProgressLine, None]:
        """Pass the lines of a transfer on, and count it and its bytes."""
        done: dict[str, int] = {}
        outcome = "failed"
        try:
            async with aclosing(lines) as all_lines:
                async for line in all_lines:
                    if line["type"] == "progress":
                        layer = line["layer"]
                        name, current = layer.get("id", ""), layer["current"]
                        self._moved.add(max(0, current - done.get(name, 0)), kind)
                        done[name] = current
                    elif line["type"] == "success":
                        outcome = "ok"
                    yield line
        except GeneratorExit:
            outcome = outcome if outcome == "ok" else "cancelled"
            raise
        finally:
            self._transfers.add(1, kind, outcome)

    def _name(self, key: Key, *, anew: bool = False) -> str:
        name = self._names.get(key)
        if name is None or anew:
            name = self._names[key] = self._called(key)
        return name
