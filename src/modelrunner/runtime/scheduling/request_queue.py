"""The queue of requests that wait: who waits for what, since when, and whose turn it is. Pure, with no clock.

The order is weighted fair queuing between callers. Each request gets a tag when it joins: one over its weight
after the later of its caller's last tag and the tag that was served last. The lowest tag goes first. So the
thousand requests of one caller stand behind one another, not in front of everybody; a caller of twice the
weight is served twice as often; and nobody waits for ever, because tags served only grow.
Source: Golestani, "A self-clocked fair queueing scheme for broadband applications", 1994.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.plan import Key, Reason

_MOST_CALLERS = 1024  # whose last tags are remembered before those that no longer matter are forgotten


class Caller(NamedTuple):
    """Who asks, as far as fairness goes: a name (of a key, say) and a weight."""

    name: str = ""
    weight: float = 1.0


class Terms(NamedTuple):
    """How one request wants to be served.

    `name` is what the request is called when somebody looks at the queue; `stay` and `checked` are None when
    the configuration of the model is good enough. `reason` is what its model is loaded for, if it has to be.
    """

    caller: Caller = Caller()
    name: str = ""
    stay: Stay | None = None
    checked: bool | None = None
    reason: Reason = Reason.REQUESTED


ANY_TERMS = Terms()


class Ticket:
    """One request in the queue. `since` is in seconds; `number` counts all requests that ever joined."""

    __slots__ = ("checked", "key", "left", "number", "since", "tag", "terms")

    def __init__(
        self, key: Key, terms: Terms, since: float, number: int, tag: float, *, checked: bool
    ) -> None:
        self.key = key
        self.terms = terms
        self.since = since
        self.number = number
        self.tag = tag
        self.checked = checked  # it waits for memory, not for a place only
        self.left = False  # it waits no more

    def __lt__(self, other: "Ticket") -> bool:
        return (self.tag, self.number) < (other.tag, other.number)


class _KeyQueue:
    """Those who wait for one key, by turn and by age. Who left is skipped when it comes up."""

    __slots__ = ("by_age", "by_turn", "unchecked", "waiting")

    def __init__(self) -> None:
        self.by_turn: list[Ticket] = []
        self.by_age: deque[Ticket] = deque()
        self.waiting = 0
        self.unchecked = 0

    def first(self) -> Ticket:
        while self.by_turn[0].left:
            heapq.heappop(self.by_turn)
        return self.by_turn[0]

    def oldest(self) -> Ticket:
        while self.by_age[0].left:
            self.by_age.popleft()
        return self.by_age[0]


class Head(NamedTuple):
    """A key that somebody waits for.

    It has the ticket whose turn it is, since when the oldest waits and what for, and whether all want the
    memory checked.
    """

    ticket: Ticket
    since: float
    checked: bool
    reason: Reason


def _head(first: Ticket, oldest: Ticket, queue: _KeyQueue) -> Head:
    return Head(first, oldest.since, queue.unchecked == 0, oldest.terms.reason)


class RequestQueue:
    """All who wait."""

    def __init__(self) -> None:
        self._queues: dict[Key, _KeyQueue] = {}  # never one in which nobody waits
        self._tags: dict[Caller, float] = {}
        self._served = 0.0
        self._length = 0
        self._numbers = count()

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: Key) -> bool:
        return key in self._queues

    def join(self, key: Key, now: float, terms: Terms = ANY_TERMS, *, checked: bool = True) -> Ticket:
        """Join the queue; where in it depends on the caller."""
        caller = terms.caller
        tag = max(self._served, self._tags.get(caller, 0.0)) + 1 / caller.weight
        self._tags[caller] = tag
        if len(self._tags) > _MOST_CALLERS:
            self._tags = {each: last for each, last in self._tags.items() if last > self._served}
        ticket = Ticket(key, terms, now, next(self._numbers), tag, checked=checked)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _KeyQueue()
        heapq.heappush(queue.by_turn, ticket)
        queue.by_age.append(ticket)
        queue.waiting += 1
        queue.unchecked += not checked
        self._length += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue; nothing happens to one who is not in it any more."""
        if ticket.left:
            return
        caller = ticket.terms.caller
        last = self._tags.get(caller)
        if last is not None:  # what was not served is not held against the caller
            self._tags[caller] = last - 1 / caller.weight
        self._remove(ticket)

    def take(self, key: Key, most: int | None = None) -> list[Ticket]:
        """Serve up to `most` (None: all) of those who wait for a key, in turn."""
        served: list[Ticket] = []
        while key in self._queues and (most is None or len(served) < most):
            ticket = self._queues[key].first()
            self._remove(ticket)
            self._served = max(self._served, ticket.tag)
            served.append(ticket)
        return served

    def heads(self) -> list[Head]:
        """Each key that somebody waits for, in the order of the queue."""
        heads = [_head(queue.first(), queue.oldest(), queue) for queue in self._queues.values()]
        heads.sort()
        return heads

    def __iter__(self) -> Iterator[Ticket]:
        """All who wait, in turn; sorts them, so it is for those who want to see the queue."""
        tickets = [ticket for queue in self._queues.values() for ticket in queue.by_turn if not ticket.left]
        return iter(sorted(tickets))

    def _remove(self, ticket: Ticket) -> None:
        ticket.left = True
        self._length -= 1
        queue = self._queues[ticket.key]
        queue.waiting -= 1
        queue.unchecked -= not ticket.checked
        if not queue.waiting:
            del self._queues[ticket.key]
        elif len(queue.by_turn) > 2 * queue.waiting + 16:  # most have left out of turn
            queue.by_turn = [each for each in queue.by_turn if not each.left]
            heapq.heapify(queue.by_turn)
            queue.by_age = deque(each for each in queue.by_age if not each.left)
