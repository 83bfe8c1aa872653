"""The scheduler: the queue, what is loaded, and what to do next, as a machine without clock, task or process.

It is told what happened and when, and answers what to do. The pool tells it of real processes, the simulator
of imagined ones, and the tests of anything at all. Whom to load and whom to stop is decided in `policy.plan`.
"""

from collections.abc import Callable
from typing import Generic, Protocol

from modelrunner.runtime.scheduling import failures, policy
from modelrunner.runtime.scheduling.effects import Effects, Outlook
from modelrunner.runtime.scheduling.history import BY_VALUE, Histories, Judge
from modelrunner.runtime.scheduling.lease import Loaded, S, Stay
from modelrunner.runtime.scheduling.ledger import Amounts, larger
from modelrunner.runtime.scheduling.plan import (
    Key,
    Limits,
    Plan,
    Reason,
    Refusal,
    Resident,
    Seen,
    State,
    Step,
    Wait,
    Waiting,
    Why,
)
from modelrunner.runtime.scheduling.request_queue import ANY_TERMS, Head, RequestQueue, Terms, Ticket
from modelrunner.runtime.scheduling.sleeping import is_coming

Look = Callable[[], Amounts]  # how much of each device's memory is free now, in bytes


class Wishes(Protocol):
    """How models are to be kept, as users configured it; asked anew at each decision."""

    def keep_alive(self, key: Key) -> float | None:
        """How long an idle instance stays, in seconds; None for ever."""
        ...

    def pinned(self, key: Key) -> bool:
        """Whether it stays whatever happens."""
        ...

    def memory_check(self, key: Key) -> bool:
        """Whether it is loaded only if its memory is there."""
        ...


class Scheduler(Generic[S]):
    """All state of what is loaded and who waits. Times are seconds of one clock."""

    def __init__(self, limits: Limits, wishes: Wishes, judge: Judge = BY_VALUE) -> None:
        self.limits = limits
        self.queue = RequestQueue()
        self.residents: dict[Key, Loaded[S]] = {}
        self.histories = Histories()
        self.waits: dict[Key, Wait] = {}  # as of the last decision
        self.closing = False
        self.moved_at = 0.0  # when the queue or a model last got on
        self.freed_at = float("-inf")  # when the last process was gone
        self._wishes = wishes
        self._judge = judge
        self._needs: dict[Key, Amounts] = {}
        self._asleep: dict[Key, Amounts] = {}  # of those that can sleep
        self._estimating: set[Key] = set()

    # What requests do

    def take(self, key: Key, terms: Terms = ANY_TERMS) -> Loaded[S] | None:
        """Have a lease now, if it is ready and nobody is in front; the path of nearly every request."""
        loaded = self._available(key)
        if loaded is not None:
            self._lend(loaded, terms.stay)
        return loaded

    def _available(self, key: Key) -> Loaded[S] | None:
        loaded = self.residents.get(key)
        if loaded is None or loaded.state is not State.READY or loaded.draining or self.closing:
            return None
        running = loaded.running
        if running is None or not running.alive or key in self.queue:
            return None
        slots = running.slots
        return None if slots is not None and loaded.leases >= slots else loaded

    def join(self, key: Key, now: float, terms: Terms = ANY_TERMS) -> Ticket:
        """Wait in the queue; `settle` says what comes of it."""
        checked = self._wishes.memory_check(key) if terms.checked is None else terms.checked
        if not self.queue:
            self.moved_at = now
        return self.queue.join(key, now, terms, checked=checked)

    def leave(self, ticket: Ticket, now: float) -> None:
        """Wait no more."""
        self.queue.leave(ticket)
        loaded = self.residents.get(ticket.key)
        if loaded is not None and is_coming(loaded.state) and ticket.key not in self.queue:
            loaded.idle_since = now

    def release(self, loaded: Loaded[S], now: float) -> None:
        """Give a lease back."""
        loaded.leases -= 1
        if not loaded.leases:
            loaded.idle_since = now

    # What happens to models

    def estimated(self, key: Key, need: Amounts, asleep: Amounts | None = None) -> None:
        """Know what a model needs, and what it holds while it sleeps, if it can."""
        self._estimating.discard(key)
        if key in self.queue:
            self._needs[key] = need
            if asleep is not None:
                self._asleep[key] = asleep

    def not_estimated(self, key: Key) -> list[Ticket]:
        """Give up on a model whose need cannot be found out, and say who waited for it."""
        self._estimating.discard(key)
        return self.queue.take(key)

    def ready(self, loaded: Loaded[S], running: S, now: float) -> None:
        """Have a model that was starting."""
        loaded.running = running
        loaded.state = State.READY
        loaded.ready_since = loaded.idle_since = self.moved_at = now
        history = self.histories.of(loaded.key)
        history.load_time = now - loaded.since
        loaded.stays_until = now + self._judge.stay(history)

    def asleep(self, loaded: Loaded[S], now: float) -> None:
        """Have a model that was falling asleep."""
        assert loaded.asleep is not None
        loaded.state = State.ASLEEP
        loaded.need = loaded.asleep
        self.moved_at = self.freed_at = now

    def awake(self, loaded: Loaded[S], now: float) -> None:
        """Have a model that was woken; the memory that it slept in may stay with its process."""
        took = now - loaded.since
        loaded.state = State.READY
        loaded.ready_since = loaded.idle_since = self.moved_at = now
        loaded.stays_until = now + min(took, self._judge.stay(self.histories.of(loaded.key)))

    def restless(self, loaded: Loaded[S], words: str, now: float) -> None:
        """Have a model that could not be put to sleep, or woken; it ends, and does not try again.

        Who waits for it waits for the next one.
        """
        self.histories.of(loaded.key).sleepless = True
        loaded.detail = words
        if loaded.state is State.WAKING:
            self.dismiss(loaded, Reason.RESTLESS, now)
        else:
            self.dismiss(loaded, loaded.reason, now, loaded.cause)

    def failed(self, loaded: Loaded[S], words: str, now: float, *, counts: bool) -> list[Ticket]:
        """Have a start that failed, and say who waited for it; `counts` is whether the engine is to blame."""
        if loaded.state is State.STOPPING:  # it was broken off, and who waits now waits for the next one
            return []
        loaded.reason, loaded.detail = Reason.FAILED, words
        if counts:
            self._blame(loaded.key, words, now)
        return self.queue.take(loaded.key)

    def dismiss(self, loaded: Loaded[S], reason: Reason, now: float, cause: Key | None = None) -> None:
        """Have a model stop; its room stays taken until it is gone."""
        loaded.state = State.STOPPING
        loaded.reason, loaded.cause = reason, cause
        self.moved_at = now
        if reason in {Reason.PLACE_NEEDED, Reason.MEMORY_NEEDED}:
            self.histories.of(loaded.key).evicted_at = now

    def gone(self, loaded: Loaded[S], now: float) -> bool:
        """Have nothing of a model any more; False when that was known."""
        self.moved_at = self.freed_at = now
        if self.residents.get(loaded.key) is not loaded:
            return False
        del self.residents[loaded.key]
        return True

    def forgive(self, key: Key) -> None:
        """Forget how a model failed: something has changed, or somebody wants to see it fail again."""
        history = self.histories.of(key)
        history.failures, history.sleepless = None, False
        self._needs.pop(key, None)
        self._estimating.discard(key)

    def is_idle(self, loaded: Loaded[S]) -> bool:
        """Whether it can be stopped without anybody noticing."""
        return (
            loaded.state in (State.READY, State.ASLEEP) and not loaded.leases and loaded.key not in self.queue
        )

    # Decide

    def settle(self, now: float, look: Look) -> Effects[S]:
        """Bring what is here into line with what the policy wants now, and say what to do for it."""
        effects: Effects[S] = Effects()
        if self.closing:
            self._dismiss_idle(now, effects)
        waiting = [self._entry(head) for head in self._bearable(now, effects)]
        for entry in waiting:
            if entry.need is None:
                self._find_out(entry.key, effects)
        plan = self._plan(waiting, now, look)
        effects.gone += [self._crash(key, now) for key in plan.gone]
        for step in plan.stop:
            loaded = self.residents[step.key]
            self.dismiss(loaded, step.reason, now, step.cause)
            effects.stop.append(loaded)
            if step.key in self.queue:
                self._find_out(step.key, effects)
        effects.sleep += [self._doze(step, now) for step in plan.sleep]
        effects.wake += [self._rouse(step, now) for step in plan.wake]
        effects.start += [self._load(step.key, step.reason, now) for step in plan.start]
        for refusal in plan.refuse:
            self._needs.pop(refusal.key, None)
            effects.refuse += ((ticket, refusal) for ticket in self.queue.take(refusal.key))
        for loaded in self.residents.values():
            loaded.draining = loaded.key in plan.drain
            self._serve(loaded, now, effects)
        waits = dict(plan.waits) | {step.key: Wait(Why.LOADING) for step in plan.start}
        waits |= {step.key: Wait(Why.WAKING) for step in plan.wake}
        self.waits = {key: wait for key, wait in waits.items() if key in self.queue}
        effects.wake_at = plan.wake_at
        return effects

    def outlook(self, key: Key, need: Amounts, now: float, look: Look) -> Outlook:
        """Say what would happen if a model were asked for now; nothing does."""
        loaded = self.residents.get(key)
        state = loaded.state if loaded is not None else None
        if self._available(key) is not None:
            return Outlook(state, starts=False, stops=(), sleeps=False, wait=None, refusal=None)
        failed = self.histories.of(key).failures
        waiting = [
            entry._replace(need=need) if entry.key == key and entry.need is None else entry
            for entry in map(self._entry, self.queue.heads())
        ]
        if all(entry.key != key for entry in waiting):
            checked = self._wishes.memory_check(key)
            not_before = failed.next_try if failed is not None else 0.0
            waiting.append(Waiting(key, now, need, checked, not_before, self._wishes.pinned(key)))
        plan = self._plan(waiting, now, look)
        wait = plan.waits.get(key)
        return Outlook(
            state=state,
            starts=any(step.key == key for step in (*plan.start, *plan.wake)),
            stops=wait.others
            if wait is not None and any(step.cause == key for step in (*plan.stop, *plan.sleep))
            else (),
            sleeps=any(step.cause == key for step in plan.sleep),
            wait=wait,
            refusal=self._failing(key, now) or next((each for each in plan.refuse if each.key == key), None),
        )

    def view(self, loaded: Loaded[S], now: float) -> Resident:
        """Show a model to the policy."""
        running, key = loaded.running, loaded.key
        worth = 0.0
        if not loaded.leases:
            history = self.histories.of(key)
            if loaded.served:
                history.use(loaded.served, now)
                loaded.served = 0
            worth = self._judge.worth(history, now)
        return Resident(
            key,
            loaded.state,
            loaded.need,
            loaded.leases,
            loaded.idle_since,
            loaded.ready_since,
            self.keep_alive(loaded),
            self._wishes.pinned(key),
            worth,
            loaded.stays_until,
            running is None or running.alive,
            None if loaded.asleep is None or self.histories.of(key).sleepless else loaded.asleep,
        )

    def keep_alive(self, loaded: Loaded[S]) -> float | None:
        """How long a model stays when idle, in seconds; None for ever."""
        return self._wishes.keep_alive(loaded.key) if loaded.stay is None else loaded.stay.seconds

    def _plan(self, waiting: list[Waiting], now: float, look: Look) -> Plan:
        views = [self.view(loaded, now) for loaded in self.residents.values()]
        return policy.plan(views, waiting, self.limits, now, lambda: Seen(look(), self.freed_at))

    def _bearable(self, now: float, effects: Effects[S]) -> list[Head]:
        """The queue as it is when all are turned away whose model fails again and again."""
        heads = self.queue.heads()
        for head in tuple(heads):
            refusal = self._failing(head.ticket.key, now)
            if refusal is not None:
                effects.refuse += ((each, refusal) for each in self.queue.take(refusal.key))
                heads.remove(head)
        return heads

    def _failing(self, key: Key, now: float) -> Refusal | None:
        failed = self.histories.of(key).failures
        if failed is None or key in self.residents or failed.refused_until(now) is None:
            return None
        return Refusal(key, Why.FAILING, {}, {})

    def _entry(self, head: Head) -> Waiting:
        """One of the queue as the policy wants it; its need is None while that is not known."""
        key = head.ticket.key
        loaded = self.residents.get(key)
        need = self._needs.get(key)
        if need is None and loaded is not None and _stays(loaded):
            need = loaded.awake
        failed = self.histories.of(key).failures
        not_before = failed.next_try if failed is not None else 0.0
        pinned = self._wishes.pinned(key)
        return Waiting(key, head.since, need, head.checked, not_before, pinned, head.reason)

    def _find_out(self, key: Key, effects: Effects[S]) -> None:
        if key not in self._estimating and key not in self._needs:
            self._estimating.add(key)
            effects.estimate.append(key)

    def _dismiss_idle(self, now: float, effects: Effects[S]) -> None:
        for loaded in self.residents.values():
            if self.is_idle(loaded):
                self.dismiss(loaded, Reason.SHUTDOWN, now)
                effects.stop.append(loaded)

    def _crash(self, key: Key, now: float) -> Loaded[S]:
        """Forget a model whose process is gone; its leases find out by themselves."""
        loaded = self.residents.pop(key)
        loaded.reason = Reason.CRASHED
        loaded.detail = loaded.running.obituary if loaded.running is not None else ""
        self._blame(key, loaded.detail, now, ran=now - loaded.ready_since)
        self.moved_at = self.freed_at = now
        return loaded

    def _blame(self, key: Key, words: str, now: float, *, ran: float = 0.0) -> None:
        history = self.histories.of(key)
        history.failures = failures.after(history.failures, now, words, ran=ran)

    def _load(self, key: Key, reason: Reason, now: float) -> Loaded[S]:
        loaded: Loaded[S] = Loaded(key, now, self._needs.pop(key), reason, self._asleep.pop(key, None))
        loaded.idle_since = now
        self.residents[key] = loaded
        self.histories.of(key).loads(now)
        self.moved_at = now
        return loaded

    def _doze(self, step: Step, now: float) -> Loaded[S]:
        """Have a model fall asleep: for a while it holds what it needs awake, and asleep."""
        loaded = self.residents[step.key]
        loaded.state = State.DOZING
        loaded.reason, loaded.cause = step.reason, step.cause
        loaded.need = larger(loaded.need, loaded.asleep or {})
        self.moved_at = now
        if step.reason is not Reason.IDLE:
            self.histories.of(step.key).evicted_at = now
        return loaded

    def _rouse(self, step: Step, now: float) -> Loaded[S]:
        """Have a model wake."""
        loaded = self.residents[step.key]
        loaded.state = State.WAKING
        loaded.reason, loaded.cause = step.reason, None
        loaded.need = larger(loaded.awake, loaded.need)
        loaded.since = loaded.idle_since = self.moved_at = now
        self._needs.pop(step.key, None)
        self.histories.of(step.key).loads(now)
        return loaded

    def _serve(self, loaded: Loaded[S], now: float, effects: Effects[S]) -> None:
        running = loaded.running
        if loaded.state is not State.READY or loaded.draining or running is None or not running.alive:
            return
        if loaded.key not in self.queue:
            return
        free = None if running.slots is None else running.slots - loaded.leases
        for ticket in self.queue.take(loaded.key, free):
            self._lend(loaded, ticket.terms.stay)
            effects.grant.append((ticket, loaded))
            self.moved_at = now

    def _lend(self, loaded: Loaded[S], stay: Stay | None) -> None:
        loaded.leases += 1
        loaded.served += 1
        loaded.stay = stay


def _stays(loaded: Loaded[S]) -> bool:
    """Whether it is not on its way out."""
    return loaded.state is not State.STOPPING and (loaded.running is None or loaded.running.alive)
