"""What the scheduler answers: what to do now, and what would happen if somebody asked. Values only."""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple

from modelrunner.runtime.scheduling.lease import Loaded, S
from modelrunner.runtime.scheduling.plan import Key, Refusal, State, Wait
from modelrunner.runtime.scheduling.request_queue import Ticket


class Outlook(NamedTuple):
    """What would happen if a model were asked for now.

    `state` is that of its instance, if there is one. `starts` is whether it would be loaded at once, `stops`
    are those that would be stopped first (the first one is put to sleep instead, if `sleeps`), `wait` is why
    it would wait, and `refusal` why it would be refused. With nothing of that it would be served at once.
    """

    state: State | None
    starts: bool
    stops: tuple[Key, ...]
    sleeps: bool
    wait: Wait | None
    refusal: Refusal | None


@dataclass(slots=True)
class Effects(Generic[S]):
    """What to do, in this order; `sleep` are to fall asleep. `estimate` are keys whose need is not known."""

    gone: list[Loaded[S]] = field(default_factory=list)
    stop: list[Loaded[S]] = field(default_factory=list)
    sleep: list[Loaded[S]] = field(default_factory=list)
    start: list[Loaded[S]] = field(default_factory=list)
    wake: list[Loaded[S]] = field(default_factory=list)
    refuse: list[tuple[Ticket, Refusal]] = field(default_factory=list)
    grant: list[tuple[Ticket, Loaded[S]]] = field(default_factory=list)
    estimate: list[Key] = field(default_factory=list)
    wake_at: float | None = None
