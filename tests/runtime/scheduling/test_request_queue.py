"""Whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.scheduling.request_queue import Caller, RequestQueue, Terms

A, B = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b"))


def terms(caller: str, weight: float = 1.0) -> Terms:
    return Terms(Caller(caller, weight), name=caller)


def served(queue: RequestQueue, key: Key, most: int | None = None) -> str:
    return "".join(ticket.terms.name for ticket in queue.take(key, most))


def test_one_caller_is_served_in_the_order_of_arrival() -> None:
    """As anybody would expect."""
    queue = RequestQueue()
    tickets = [queue.join(A, 0.0, terms("x")) for _ in range(3)]

    assert tickets == queue.take(A)
    assert 0 == len(queue)
    assert A not in queue


def test_callers_take_turns() -> None:
    """Whoever comes later with little is not behind all of one who came with much."""
    queue = RequestQueue()
    for caller in "xxxxyz":
        queue.join(A, 0.0, terms(caller))

    assert "xyzxxx" == served(queue, A)


def test_weight_is_the_share_of_turns() -> None:
    """Twice the weight, twice the turns."""
    queue = RequestQueue()
    for _ in range(6):
        queue.join(A, 0.0, terms("h", 2.0))
        queue.join(A, 0.0, terms("l", 1.0))

    first = served(queue, A, 6)

    assert (4, 2) == (first.count("h"), first.count("l"))


def test_low_priority_is_served_although_high_priority_keeps_coming() -> None:
    """The wait is bounded by the ratio of the weights."""
    queue = RequestQueue()
    queue.join(A, 0.0, terms("low", 0.125))
    turns = 0
    while True:
        queue.join(A, 0.0, terms("high", 8.0))
        turns += 1
        if served(queue, A, 1) == "low":
            break

    assert turns <= 8 / 0.125 + 1


def test_who_leaves_is_not_served_and_owes_nothing() -> None:
    """A caller that asked and left a hundred times is not behind for it."""
    queue = RequestQueue()
    for _ in range(100):
        queue.leave(queue.join(A, 0.0, terms("x")))
    queue.join(A, 0.0, terms("y"))
    queue.join(A, 0.0, terms("x"))
    gone = queue.join(A, 0.0, terms("z"))
    queue.leave(gone)
    queue.leave(gone)

    assert "yx" == served(queue, A)


def test_the_heads_are_in_turn_and_know_the_oldest_and_who_minds_the_memory() -> None:
    """Each key once."""
    queue = RequestQueue()
    queue.join(A, 1.0, terms("x"))
    queue.join(B, 2.0, terms("x"), checked=False)
    last = queue.join(B, 3.0, terms("urgent", 8.0))
    heads = queue.heads()

    assert [(B, 2.0, False), (A, 1.0, True)] == [
        (head.ticket.key, head.since, head.checked) for head in heads
    ]
    assert last is heads[0].ticket


def test_the_line_is_seen_in_turn() -> None:
    """Over all keys."""
    queue = RequestQueue()
    first, second = queue.join(A, 0.0, terms("x")), queue.join(B, 0.0, terms("x"))
    urgent = queue.join(B, 0.0, terms("y", 8.0))

    assert [urgent, first, second] == list(queue)


@given(st.lists(st.tuples(st.sampled_from("jlts"), st.sampled_from("xyz"), st.sampled_from([A, B]))))
def test_nobody_is_lost_or_served_twice(events: list[tuple[str, str, Key]]) -> None:
    """Whatever the order of coming, leaving and being served."""
    queue = RequestQueue()
    here = []
    for what, caller, key in events:
        if what == "j":
            here.append(queue.join(key, 0.0, terms(caller)))
        elif what == "l" and here:
            queue.leave(here.pop(0))
        elif what == "t":
            for ticket in queue.take(key, 1):
                here.remove(ticket)

        assert sorted(here) == list(queue)
        assert len(here) == len(queue)
        assert {ticket.key for ticket in here} == {head.ticket.key for head in queue.heads()}
