"""Whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.line import Caller, Line, Terms
from modelrunner.runtime.plan import Key

A, B = (Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b"))


def terms(caller: str, weight: float = 1.0) -> Terms:
    return Terms(Caller(caller, weight), name=caller)


def served(line: Line, key: Key, most: int | None = None) -> str:
    return "".join(ticket.terms.name for ticket in line.take(key, most))


def test_one_caller_is_served_in_the_order_of_arrival() -> None:
    """As anybody would expect."""
    line = Line()
    tickets = [line.join(A, 0.0, terms("x")) for _ in range(3)]

    assert tickets == line.take(A)
    assert 0 == len(line)
    assert A not in line


def test_callers_take_turns() -> None:
    """Whoever comes later with little is not behind all of one who came with much."""
    line = Line()
    for caller in "xxxxyz":
        line.join(A, 0.0, terms(caller))

    assert "xyzxxx" == served(line, A)


def test_weight_is_the_share_of_turns() -> None:
    """Twice the weight, twice the turns."""
    line = Line()
    for _ in range(6):
        line.join(A, 0.0, terms("h", 2.0))
        line.join(A, 0.0, terms("l", 1.0))

    first = served(line, A, 6)

    assert (4, 2) == (first.count("h"), first.count("l"))


def test_low_priority_is_served_although_high_priority_keeps_coming() -> None:
    """The wait is bounded by the ratio of the weights."""
    line = Line()
    line.join(A, 0.0, terms("low", 0.125))
    turns = 0
    while True:
        line.join(A, 0.0, terms("high", 8.0))
        turns += 1
        if served(line, A, 1) == "low":
            break

    assert turns <= 8 / 0.125 + 1


def test_who_leaves_is_not_served_and_owes_nothing() -> None:
    """A caller that asked and left a hundred times is not behind for it."""
    line = Line()
    for _ in range(100):
        line.leave(line.join(A, 0.0, terms("x")))
    line.join(A, 0.0, terms("y"))
    line.join(A, 0.0, terms("x"))
    gone = line.join(A, 0.0, terms("z"))
    line.leave(gone)
    line.leave(gone)

    assert "yx" == served(line, A)


def test_the_heads_are_in_turn_and_know_the_oldest_and_who_minds_the_memory() -> None:
    """Each key once."""
    line = Line()
    line.join(A, 1.0, terms("x"))
    line.join(B, 2.0, terms("x"), checked=False)
    last = line.join(B, 3.0, terms("urgent", 8.0))
    heads = line.heads()

    assert [(B, 2.0, False), (A, 1.0, True)] == [
        (head.ticket.key, head.since, head.checked) for head in heads
    ]
    assert last is heads[0].ticket


def test_the_line_is_seen_in_turn() -> None:
    """Over all keys."""
    line = Line()
    first, second = line.join(A, 0.0, terms("x")), line.join(B, 0.0, terms("x"))
    urgent = line.join(B, 0.0, terms("y", 8.0))

    assert [urgent, first, second] == list(line)


@given(st.lists(st.tuples(st.sampled_from("jlts"), st.sampled_from("xyz"), st.sampled_from([A, B]))))
def test_nobody_is_lost_or_served_twice(events: list[tuple[str, str, Key]]) -> None:
    """Whatever the order of coming, leaving and being served."""
    line = Line()
    here = []
    for what, caller, key in events:
        if what == "j":
            here.append(line.join(key, 0.0, terms(caller)))
        elif what == "l" and here:
            line.leave(here.pop(0))
        elif what == "t":
            for ticket in line.take(key, 1):
                here.remove(ticket)

        assert sorted(here) == list(line)
        assert len(here) == len(line)
        assert {ticket.key for ticket in here} == {head.ticket.key for head in line.heads()}
