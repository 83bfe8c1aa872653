"""Decisions about saved states: what to restore, to save, and to give up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.engines.states import Slot
from modelrunner.runtime.states.saved_states import (
    WORTHWHILE,
    Kept,
    Saved,
    best,
    common,
    covered,
    free,
    held,
    hopeless,
    surplus,
    worth_saving,
)

LONG = tuple(range(1000))
SHORT = st.lists(st.integers(0, 2), max_size=12)


def test_the_state_that_spares_most_is_restored() -> None:
    """By the tokens with which it and the prompt begin."""
    states = [Saved("a", LONG[:200]), Saved("b", LONG[:400]), Saved("c", (7, *LONG))]

    assert best(states, LONG) == (states[1], 400)


def test_of_two_that_spare_the_same_the_smaller_is_restored() -> None:
    """It is read sooner."""
    states = [Saved("a", (*LONG[:300], *range(2000, 2500))), Saved("b", LONG[:300])]

    assert best(states, LONG) == (states[1], 300)


@pytest.mark.parametrize(
    ("tokens", "prompt"),
    [
        (LONG, LONG[: WORTHWHILE - 1]),
        (LONG[: WORTHWHILE - 1], LONG),
        (LONG, (5, *LONG)),
        (tuple(range(20 * WORTHWHILE)), tuple(range(WORTHWHILE))),
        ((), LONG),
        (LONG, ()),
    ],
)
def test_a_state_that_spares_little_is_left_alone(tokens: tuple[int, ...], prompt: tuple[int, ...]) -> None:
    """Too few tokens in common, or a small part of what would have to be read."""
    assert best([Saved("a", tokens)], prompt) is None


@given(SHORT, SHORT)
def test_tokens_in_common_are_counted_from_the_start(left: list[int], right: list[int]) -> None:
    """As many as are equal before the first that differs."""
    count = common(left, right)

    assert left[:count] == right[:count]
    assert count == min(len(left), len(right)) or left[count] != right[count]


def test_idle_slots_with_much_in_them_are_saved_the_fullest_first() -> None:
    """What is left when the time runs out is the least."""
    slots = [
        Slot(0, 500, busy=True),
        Slot(1, 10, busy=False),
        Slot(2, 200, busy=False),
        Slot(3, 900, busy=False),
    ]

    assert [slot.number for slot in worth_saving(slots)] == [3, 2]


def test_a_state_goes_where_the_least_is_lost() -> None:
    """Never into a slot that is at work."""
    slots = [Slot(0, 0, busy=True), Slot(1, 50, busy=False), Slot(2, 5, busy=False)]

    assert free(slots) == slots[2]
    assert free(slots[:1]) is None


def test_a_state_makes_those_needless_that_it_begins_with() -> None:
    """Not itself, and not those that went another way."""
    states = [Saved("a", (1, 2)), Saved("b", (1, 9)), Saved("c", (1, 2, 3, 4)), Saved("d", (1, 2, 3))]

    assert covered(states, states[3]) == [states[0]]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 9))), st.integers(0, 500))
def test_what_was_used_longest_ago_goes_first(sizes: list[tuple[int, int]], limit: int) -> None:
    """Exactly as much as needed: what stays fits, and one fewer gone would not."""
    kept = [Kept(str(number), size, used) for number, (size, used) in enumerate(sizes)]
    gone = surplus(kept, limit)
    stays = [entry for entry in kept if entry not in gone]

    assert sum(entry.size for entry in stays) <= limit
    assert all(old.used <= new.used for old in gone for new in stays)
    assert not gone or sum(entry.size for entry in [*stays, gone[-1]]) > limit


def test_the_engines_own_count_decides_whether_a_state_was_of_use() -> None:
    """Half of what was expected; two disappointments in a row are enough."""
    assert held(500, 1000)
    assert not held(24, 1000)
    assert [hopeless(misses) for misses in (0, 1, 2)] == [False, False, True]
