"""Stop sequences are found wherever the text is cut, and nothing is lost when there are none."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.stopping import Stopping


def fed(sequences: list[str], *pieces: str) -> tuple[str, str | None]:
    stopping = Stopping(sequences)
    text = "".join(map(stopping.feed, pieces))
    return text + stopping.end(), stopping.found


@pytest.mark.parametrize(
    ("sequences", "text", "expected"),
    [
        ([], "abc", ("abc", None)),
        (["x"], "abc", ("abc", None)),
        (["b"], "abc", ("a", "b")),
        (["bc", "c"], "abcd", ("a", "bc")),
        (["c", "bc"], "abcd", ("a", "bc")),
        (["ab"], "aab", ("a", "ab")),
        (["aab"], "aaab", ("a", "aab")),
        (["abc"], "abab", ("abab", None)),
        (["", "b"], "abc", ("a", "b")),
        (["\n\nHuman:"], "Hi\n\nHum\n\nHuman: no", ("Hi\n\nHum", "\n\nHuman:")),
    ],
)
def test_the_first_sequence_ends_the_text(
    sequences: list[str], text: str, expected: tuple[str, str | None]
) -> None:
    """However it is cut."""
    assert expected == fed(sequences, text)
    assert expected == fed(sequences, *text)
    for cut in range(len(text)):
        assert expected == fed(sequences, text[:cut], text[cut:])


def test_only_what_may_be_a_sequence_is_held_back() -> None:
    """The rest is passed on at once."""
    stopping = Stopping(["END"])

    assert ["one", " two ", "", "", "ENough"] == [
        stopping.feed(piece) for piece in ("one", " two E", "N", "", "ough")
    ]


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.text("abc", max_size=30), st.data())
def test_it_is_as_if_the_text_had_come_at_once(sequences: list[str], text: str, data: st.DataObject) -> None:
    """For any sequences, texts and cuts."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    said, found = fed(sequences, *pieces)

    whole = [(text.find(each), -len(each), each) for each in sequences if each in text]
    if not whole:
        assert (text, None) == (said, found)
    else:
        assert text.startswith(said)
        assert found in sequences
        assert text.startswith(said + str(found))
