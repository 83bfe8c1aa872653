"""How wide text is."""

import pytest

from modelrunner.cli.cells import crop, width_of, wrap


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", 3),
        ("", 0),
        ("日本", 4),
        ("e\u0301", 1),
        ("\x1b[1;31mab\x1b[0m", 2),
        ("🎉", 2),
        ("a\u200bb", 2),
    ],
)
def test_columns_are_counted(text: str, expected: int) -> None:
    """Wide characters take two, marks and colours none."""
    assert expected == width_of(text)


@pytest.mark.parametrize(
    ("width", "expected"), [(11, "日本語 text"), (10, "日本語 te…"), (6, "日本…"), (1, "…"), (0, "")]
)
def test_a_line_is_cut(width: int, expected: str) -> None:
    """A wide character is not cut in two."""
    assert crop("日本語 text", width) == expected


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one\n\ntwo", 7, ["one", "", "two"]),
        ("abcdefgh ij", 4, ["abcd", "efgh", "ij"]),
        ("日本語", 4, ["日本", "語"]),
        ("", 4, [""]),
    ],
)
def test_text_is_broken_between_words(text: str, width: int, expected: list[str]) -> None:
    """Where it can be."""
    assert expected == wrap(text, width)
