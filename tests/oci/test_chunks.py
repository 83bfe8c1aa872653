from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelrunner.oci import chunks
from modelrunner.oci.chunks import Ramp, Span, missing, prefix, take, total, united

SIZE = 1000
SPANS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: Span(min(pair), max(pair)))
)


@given(SPANS)
def test_spans_and_gaps_cover_a_blob_exactly_once(spans: list[Span]) -> None:
    """Every byte is either present or missing, never both."""
    present = united(spans)

    covered = [offset for span in (*present, *missing(present, SIZE)) for offset in range(*span)]
    assert list(range(SIZE)) == sorted(covered)
    assert {offset for span in spans for offset in range(*span)} == {
        offset for span in present for offset in range(*span)
    }


@given(SPANS)
def test_united_spans_are_sorted_and_apart(spans: list[Span]) -> None:
    """Between two of them a byte is missing."""
    present = united(spans)

    assert all(one.stop < other.start for one, other in pairwise(present))


@given(SPANS, st.integers(1, SIZE))
def test_taking_chunks_takes_every_missing_byte_once_and_in_order(spans: list[Span], most: int) -> None:
    """Nothing that is here is asked for again, and no chunk is much longer than was wanted."""
    present = united(spans)
    gaps = missing(present, SIZE)
    taken = []
    while gaps:
        chunk, gaps = take(gaps, most)
        taken.append(chunk)

    assert missing(present, SIZE) == united(taken)
    assert total(missing(present, SIZE)) == sum(chunk.size for chunk in taken)
    assert sorted(taken) == taken
    assert all(chunk.size <= max(most * 3 // 2, 1) for chunk in taken)


def test_the_prefix_ends_at_the_first_gap() -> None:
    """What is behind a gap does not count."""
    assert 5 == prefix((Span(0, 5), Span(7, 9)))
    assert 0 == prefix((Span(1, 5),))
    assert 0 == prefix(())


def test_chunks_of_all_lanes_fit_into_memory() -> None:
    """Whatever their number, all but the first may have to wait there."""
    assert all(lanes * chunks.chunk_size(lanes) <= chunks.AHEAD for lanes in range(2, chunks.MOST_LANES + 1))


def _lanes_at(speed_of: dict[int, float], seconds: float = 10) -> int:
    """The number of lanes that a ramp ends with, when so many bytes per second come over so many lanes."""
    ramp = Ramp(0.0)
    now = 0.0
    while now < seconds:
        now += 0.1
        ramp.note(int(speed_of.get(ramp.lanes, max(speed_of.values())) * 0.1), now)
    return ramp.lanes


def test_lanes_are_added_as_long_as_they_bring_something() -> None:
    """A server that limits each connection gets all of them, a line that is full keeps what filled it."""
    limited_each = {lanes: lanes * 1e6 for lanes in range(1, 9)}
    full_at_three = {lanes: min(lanes, 3) * 1e6 for lanes in range(1, 9)}
    full_at_once = dict.fromkeys(range(1, 9), 1e9)

    assert [chunks.MOST_LANES, 3, chunks.FIRST_LANES] == [
        _lanes_at(limited_each),
        _lanes_at(full_at_three),
        _lanes_at(full_at_once),
    ]
