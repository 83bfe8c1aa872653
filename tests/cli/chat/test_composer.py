"""How lines become messages."""

import pytest

from modelrunner.cli.chat.composer import Composer, Pastes, as_paste


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["hello"], "hello"),
        (['"""a"""'], "a"),
        (['"""', "a", "", "b", '"""'], "a\n\nb"),
        (['"""a', 'b"""'], "a\nb"),
        (['"""', "  indented", '"""  '], "  indented"),
    ],
)
def test_triple_quotes_hold_a_message_together(lines: list[str], expected: str) -> None:
    """Line breaks and empty lines inside are kept; the quotes are not."""
    composer = Composer()

    *unfinished, message = [composer.feed(line) for line in lines]

    assert (unfinished, message) == ([None] * (len(lines) - 1), expected)
    assert not composer.is_open


def test_an_unfinished_message_can_be_dropped() -> None:
    """The next line begins anew."""
    composer = Composer()
    composer.feed('"""a')
    assert composer.is_open

    composer.discard()

    assert composer.feed("b") == "b"


@pytest.mark.parametrize("text", ["x" * 1000, "\n".join("abcdefgh"), ""])
def test_a_short_paste_stays_as_it_is(text: str) -> None:
    """It can be edited."""
    assert text == Pastes().shorten(text)


def test_a_long_paste_stands_as_one_word() -> None:
    """Until it is sent; a placeholder that is not known is only text."""
    pastes = Pastes()
    lines, wide = "\n".join("abcdefghi"), "x" * 1001

    first, second = pastes.shorten(lines), pastes.shorten(wide)

    assert first.startswith("[pasted 9 lines, ")
    assert second.startswith("[pasted 1001 characters, ")
    assert pastes.restore(f"see {first} and {second}") == f"see {lines} and {wide}"
    assert Pastes().restore(first) == first


def test_pasted_line_ends_become_those_of_text() -> None:
    """Terminals send a carriage return for each."""
    assert as_paste("a\rb\r\nc\nd") == "a\nb\nc\nd"
