"""The scheduler on an imagined machine: a trace of requests goes through it, and time is only a number."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.history import BY_VALUE, Judge
from modelrunner.runtime.scheduling.lease import Loaded
from modelrunner.runtime.scheduling.ledger import ONE_PLACE, PLACE, Amounts
from modelrunner.runtime.scheduling.plan import DEFAULT_PATIENCE, Key, Limits, Reason, State
from modelrunner.runtime.scheduling.request_queue import Caller, Terms
from modelrunner.runtime.scheduling.scheduler import Scheduler
from modelrunner.runtime.scheduling.trace import Trace, TracedModel, TracedRequest

_STOPS_WITHIN = 0.1  # seconds that a process takes to end
_EVICTIONS = frozenset({Reason.PLACE_NEEDED, Reason.MEMORY_NEEDED})


@dataclass(frozen=True, slots=True)
class Machine:
    """What the requests of a trace meet: memory in bytes, and keep-alive in seconds, None for ever."""

    memory: int
    places: int = 8
    keep_alive: float | None = 300.0
    patience: float = DEFAULT_PATIENCE

    def limits(self) -> Limits:
        """What the scheduler may use."""
        return Limits({PLACE: self.places, "ram": self.memory}, self.patience)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went. `waits` are in seconds, sorted, of the requests that were served.

    `hits` are the requests whose model was ready when they came.
    """

    requests: int
    waits: tuple[float, ...]
    hits: int
    refused: int
    loads: int
    evictions: int
    seconds: float

    def wait(self, quantile: float) -> float:
        """The wait that this part of the requests did not exceed."""
        if not self.waits:
            return 0.0
        return self.waits[min(len(self.waits) - 1, int(quantile * len(self.waits)))]

    @property
    def mean_wait(self) -> float:
        """The wait of an average request."""
        return sum(self.waits) / len(self.waits) if self.waits else 0.0

    @property
    def hit_rate(self) -> float:
        """The part of the requests whose model was ready."""
        return self.hits / self.requests if self.requests else 0.0


def simulate(trace: Trace, machine: Machine, judge: Judge = BY_VALUE) -> Outcome:
    """Send a trace through a machine."""
    run = _Run(trace, machine, judge)
    run.go()
    return run.outcome()


@dataclass(slots=True)
class _Imagined:
    slots: int | None
    alive: bool = True
    obituary: str = ""


class _Wishes:
    def __init__(self, keep_alive: float | None) -> None:
        self._keep_alive = keep_alive

    def keep_alive(self, key: Key) -> float | None:  # noqa: ARG002 - the same for all
        return self._keep_alive

    def pinned(self, key: Key) -> bool:  # noqa: ARG002 - nobody is
        return False

    def memory_check(self, key: Key) -> bool:  # noqa: ARG002 - always
        return True


class _Run:
    """One trace under way: what is to happen, by time."""

    def __init__(self, trace: Trace, machine: Machine, judge: Judge) -> None:
        self._trace = trace
        self._machine = machine
        self._scheduler: Scheduler[_Imagined] = Scheduler(
            machine.limits(), _Wishes(machine.keep_alive), judge
        )
        self._keys = {
            model.name: Key("simulated", Digest.of(model.name.encode()), Mode.COMPLETION)
            for model in trace.models
        }
        self._models = {self._keys[model.name]: model for model in trace.models}
        self._asked: dict[int, TracedRequest] = {}  # by the number of the ticket
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._now = 0.0
        self._wake_at: float | None = None
        self._waits: list[float] = []
        self._counts: Counter[str] = Counter()

    def go(self) -> None:
        for request in self._trace.requests:
            self._at(request.at, lambda request=request: self._ask(request))  # type: ignore[misc]  # bound now
        while self._coming:
            self._now, _, happen = heapq.heappop(self._coming)
            happen()

    def outcome(self) -> Outcome:
        return Outcome(
            requests=len(self._trace.requests),
            waits=tuple(sorted(self._waits)),
            hits=self._counts["hit"],
            refused=self._counts["refused"],
            loads=self._counts["load"],
            evictions=self._counts["eviction"],
            seconds=self._now,
        )

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (when, next(self._numbers), happen))

    def _ask(self, request: TracedRequest) -> None:
        key = self._keys[request.model]
        terms = Terms(Caller(request.caller, request.weight))
        here = self._scheduler.residents.get(key)
        self._counts["hit"] += here is not None and here.state is State.READY
        loaded = self._scheduler.take(key, terms)
        if loaded is not None:
            self._serve(loaded, request, 0.0)
            return
        self._asked[self._scheduler.join(key, self._now, terms).number] = request
        self._settle()

    def _serve(self, loaded: Loaded[_Imagined], request: TracedRequest, waited: float) -> None:
        self._waits.append(waited)

        def end() -> None:
            self._scheduler.release(loaded, self._now)
            self._settle()

        self._at(self._now + request.seconds, end)

    def _settle(self) -> None:
        while True:
            effects = self._scheduler.settle(self._now, self._free)
            for loaded in effects.stop:
                self._counts["eviction"] += loaded.reason in _EVICTIONS
                self._at(self._now + _STOPS_WITHIN, lambda loaded=loaded: self._end(loaded))  # type: ignore[misc]  # bound now
            for loaded in effects.start:
                self._counts["load"] += 1
                ready = self._now + self._models[loaded.key].load
                self._at(ready, lambda loaded=loaded: self._become_ready(loaded))  # type: ignore[misc]  # bound now
            for ticket, _ in effects.refuse:
                del self._asked[ticket.number]
                self._counts["refused"] += 1
            for ticket, loaded in effects.grant:
                self._serve(loaded, self._asked.pop(ticket.number), self._now - ticket.since)
            for key in effects.estimate:
                self._scheduler.estimated(key, {**ONE_PLACE, "ram": self._models[key].memory})
            if not effects.estimate:
                break
        if effects.wake_at is not None and effects.wake_at != self._wake_at:
            self._wake_at = effects.wake_at
            self._at(effects.wake_at, self._wake)

    def _wake(self) -> None:
        if self._wake_at is not None and self._wake_at <= self._now:
            self._wake_at = None
            self._settle()

    def _become_ready(self, loaded: Loaded[_Imagined]) -> None:
        self._scheduler.ready(loaded, _Imagined(self._models[loaded.key].slots), self._now)
        self._settle()

    def _end(self, loaded: Loaded[_Imagined]) -> None:
        self._scheduler.gone(loaded, self._now)
        self._settle()

    def _free(self) -> Amounts:
        ready = (each for each in self._scheduler.residents.values() if each.state is not State.STARTING)
        return {"ram": self._machine.memory - sum(self._model(each.key).memory for each in ready)}

    def _model(self, key: Key) -> TracedModel:
        return self._models[key]
