"""Amounts: what is left, what is missing, and whom to give up for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.runtime.scheduling.ledger import PLACE, Amounts, Room, cover, total


def test_a_room_has_what_is_left() -> None:
    """What has been taken is not there; what is given back is."""
    room = Room({"ram": 10, PLACE: 1})
    room.take({"ram": 7, PLACE: 1})

    assert not room.has({"ram": 4})
    assert {"ram": 1} == room.lack({"ram": 4})
    room.give({"ram": 1})
    assert room.has({"ram": 4})
    assert {} == room.lack({"ram": 4})


def test_what_nobody_limits_is_never_lacking() -> None:
    """A room knows only its own resources."""
    room = Room({PLACE: 1})
    room.take({"ram": 5})

    assert room.has({"ram": 10**18})
    assert {PLACE: 1} == room.left


@pytest.mark.parametrize(
    ("needs", "lack", "expected"),
    [
        ([5, 5], 0, ()),
        ([5, 5], 5, (0,)),
        ([5, 5], 6, (0, 1)),
        ([5, 5], 11, None),
        ([1, 9], 8, (1,)),
        ([3, 1, 9], 10, (0, 2)),
        ([], 1, None),
    ],
)
def test_cover_takes_from_the_front_and_spares_from_the_back(
    needs: list[int], lack: int, expected: tuple[int, ...] | None
) -> None:
    """No more than needed, and none at all when all are too few."""
    assert expected == cover([{"ram": need} for need in needs], {"ram": lack})


@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 20)), max_size=6),
    st.dictionaries(st.sampled_from("ab"), st.integers(1, 60)),
)
def test_what_cover_chooses_is_enough_and_not_too_much(needs: list[dict[str, int]], lack: Amounts) -> None:
    """Without any one of them something lacks; with none chosen, all together are too few."""
    chosen = cover(needs, lack)

    def enough(indexes: list[int]) -> bool:
        freed = total(needs[index] for index in indexes)
        return all(freed.get(name, 0) >= amount for name, amount in lack.items())

    if chosen is None:
        assert not enough(list(range(len(needs))))
    else:
        assert enough(list(chosen))
        assert not any(enough([other for other in chosen if other != one]) for one in chosen)
