"""What the pool did, who waits in it and what it would do, in the shapes of the API; it changes nothing."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from modelrunner.errors import RunnerError
from modelrunner.oci.digest import Digest
from modelrunner.runtime.events import Event, Subscription
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.memory_needs import MemoryNeed
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.effects import Outlook
from modelrunner.runtime.scheduling.ledger import ONE_PLACE
from modelrunner.runtime.scheduling.plan import Key, Refusal, Wait, Why
from modelrunner.runtime.scheduling.refusal import refused
from modelrunner.runtime.views import FailuresView, ResidentView, WaiterView
from modelrunner.server.inspection.sentences import explain, what_happened
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.units import format_keep_alive
from modelrunner.wire.insight import (
    EventView,
    Explanation,
    Facts,
    FailuresReply,
    LoadedModel,
    RefusalView,
    WaitingRequest,
    WaitView,
    Whose,
)

UNLOADED = "unloaded"
_LATELY = 10  # events of a model that an explanation has
_KEEP_ALIVE = 15.0  # seconds; proxies close connections on which nothing comes for a minute
_STILL_HERE = b": still here\n\n"
_LET_IT_TRY = "see why with `dmr logs`; `dmr unload` or `dmr configure` lets it be tried at once"
_NOT_ESTIMATED = "not_estimated"
_UNKNOWN = MemoryNeed({})
_NOTHING = Outlook(None, starts=False, stops=(), sleeps=False, wait=None, refusal=None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody asks for: of one model, since a moment (seconds of the epoch), the last few."""

    model: Digest | None = None
    since: float = 0.0
    limit: int | None = None

    def has(self, event: Event) -> bool:
        """Whether an event is among them."""
        return event.at >= self.since and self.model in {None, event.key.model}


class Insight:
    """Looks at the pool for those who want to know why."""

    def __init__(
        self, pool: Pool[Instance], catalogue: Catalogue, wall: Callable[[], float] = time.time
    ) -> None:
        """`wall` gives seconds since the epoch."""
        self._pool = pool
        self._catalogue = catalogue
        self._wall = wall

    # What happened

    def events(self, wanted: Wanted) -> list[EventView]:
        """Give the last events that are remembered, oldest first."""
        return [self._event(event) for event in self._recent(wanted, after=0)]

    async def follow(self, wanted: Wanted, after: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield events as server-sent ones: the remembered, or those after a number, then each that comes.

        Source: HTML Living Standard, 9.2 "Server-sent events"; a comment keeps the connection open.
        """
        with self._pool.events.subscribe() as subscription:
            yield _STILL_HERE
            for event in self._recent(wanted, after=after or 0):
                yield self._sent(event)
            lost = 0
            while True:
                latest = await _next(subscription)
                if subscription.lost > lost:
                    yield _told_lost(subscription.lost - lost)
                    lost = subscription.lost
                if latest is None:
                    yield _STILL_HERE
                elif wanted.has(latest):
                    yield self._sent(latest)

    def _recent(self, wanted: Wanted, *, after: int) -> list[Event]:
        recent = self._pool.events.recent()
        newest = recent[-1].number if recent else 0
        first = after if after <= newest else 0  # a number of another daemon's life means nothing
        found = [event for event in recent if event.number > first and wanted.has(event)]
        return found if wanted.limit is None else found[len(found) - min(wanted.limit, len(found)) :]

    def _event(self, event: Event) -> EventView:
        others = self._called(event.others)
        return {
            **self._who(event.key),
            "id": event.number,
            "at": moment(event.at),
            "kind": event.kind.value,
            "reason": event.reason.value,
            "text": what_happened(event.kind, event.reason, event.detail, others),
            "detail": event.detail,
            "others": others,
        }

    def _sent(self, event: Event) -> bytes:
        return b"id: %d\ndata: %b\n\n" % (event.number, msgspec.json.encode(self._event(event)))

    # Who waits

    def queue(self) -> list[WaitingRequest]:
        """Give those who wait, in turn."""
        return [self._waiting(waiter) for waiter in self._pool.queue()]

    def _waiting(self, waiter: WaiterView) -> WaitingRequest:
        return {
            **self._who(waiter.key),
            "id": waiter.name,
            "position": waiter.position,
            "waited": round(waiter.waited, 3),
            "reason": waiter.why,
            "text": waiter.text,
            "others": self._called(waiter.others),
        }

    # What would happen

    async def explain(self, key: Key) -> Explanation:
        """Say what a request for a model would meet now."""
        try:
            need, outlook = await self._pool.outlook(key)
        except RunnerError as exc:
            facts = self._facts(key, _UNKNOWN, _NOTHING)
            facts["refusal"] = _refusal_view(_NOT_ESTIMATED, exc)
        else:
            facts = self._facts(key, need, outlook)
        return {**facts, "sentences": explain(facts, datetime.fromtimestamp(self._wall(), UTC))}

    async def refusal(self, key: Key) -> RefusalView | None:
        """Say why a request for a model would be refused now, if it would."""
        try:
            need, outlook = await self._pool.outlook(key)
        except RunnerError as exc:
            return _refusal_view(_NOT_ESTIMATED, exc)
        return None if outlook.refusal is None else _refusal(outlook.refusal, need)

    def _facts(self, key: Key, need: MemoryNeed, outlook: Outlook) -> Facts:
        pool = self._pool
        residents = pool.residents()
        state = next((each.state.value for each in residents if each.key == key), UNLOADED)
        failures = pool.failures(key)
        wait, refusal = outlook.wait, outlook.refusal
        return {
            **self._who(key),
            "state": state,
            "need": {**need.amounts, **ONE_PLACE} if need is not _UNKNOWN else {},
            "parts": dict(need.parts),
            "capacity": dict(pool.capacity),
            "free": dict(pool.free),
            "loaded": [self._loaded(each) for each in residents],
            "starts": outlook.starts,
            "stops": self._called(outlook.stops),
            "sleeps": outlook.sleeps,
            "wait": None if wait is None else self._wait(wait),
            "refusal": None if refusal is None else _refusal(refusal, need),
            "failures": None if failures is None else _failures(failures),
            "waiting": [self._waiting(waiter) for waiter in pool.queue() if waiter.key == key],
            "events": self.events(Wanted(key.model, limit=_LATELY)),
        }

    def _loaded(self, resident: ResidentView) -> LoadedModel:
        used = resident.last_used
        return {
            "model": self._catalogue.called(resident.key.model),
            "mode": resident.key.mode.value,
            "state": resident.state.value,
            "memory": dict(resident.memory),
            "requests": resident.leases,
            "idle": None if used is None else round(max(0.0, self._wall() - used), 3),
            "keep_alive": format_keep_alive(resident.keep_alive),
            "pinned": resident.pinned,
            "load_time": round(resident.load_time, 3),
            "worth": round(resident.worth, 6),
        }

    def _wait(self, wait: Wait) -> WaitView:
        return {
            "reason": wait.why.value,
            "text": wait.why.text,
            "others": self._called(wait.others),
            "until": None if wait.until is None else round(wait.until, 3),
        }

    def _who(self, key: Key) -> Whose:
        name = self._catalogue.called(key.model)
        return {"model": name, "model_id": str(key.model), "backend": key.engine, "mode": key.mode.value}

    def _called(self, keys: Iterable[Key]) -> list[str]:
        return [self._catalogue.called(key.model) for key in keys]


def moment(at: float) -> str:
    """Print seconds since the epoch as a moment in UTC."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def told_end(exc: RunnerError) -> bytes:
    """The last event of a stream that ends before its client leaves."""
    return b"event: end\ndata: %b\n\n" % msgspec.json.encode({"reason": exc.code, "text": exc.message})


def _told_lost(count: int) -> bytes:
    return b"event: lost\ndata: %b\n\n" % msgspec.json.encode({"lost": count})


async def _next(subscription: Subscription) -> Event | None:
    """Wait for an event; None when none came for a while."""
    try:
        async with asyncio.timeout(_KEEP_ALIVE):
            return await subscription.next()
    except TimeoutError:
        return None


def _refusal(refusal: Refusal, need: MemoryNeed) -> RefusalView:
    if refusal.why is Why.FAILING:
        return {"reason": refusal.why.value, "message": refusal.why.text, "hint": _LET_IT_TRY}
    return _refusal_view(refusal.why.value, refused(refusal, advice=need.advice, failed=None, now=0.0))


def _refusal_view(reason: str, error: RunnerError) -> RefusalView:
    return {"reason": reason, "message": error.message, "hint": error.hint}


def _failures(failures: FailuresView) -> FailuresReply:
    return {
        "count": failures.count,
        "words": failures.words,
        "pause": round(failures.pause, 3),
        "refusing": failures.refusing,
    }
