"""What a chat says of itself."""

import pytest

from modelrunner.cli.chat.help import TOPICS, fitted, overview


@pytest.mark.parametrize("text", [overview(), *TOPICS.values()])
def test_help_is_laid_out_for_eighty_columns(text: str) -> None:
    """And left alone there."""
    assert text == fitted(text, 80)


@pytest.mark.parametrize("text", [overview(), *TOPICS.values()])
@pytest.mark.parametrize("columns", [20, 40])
def test_help_fits_into_a_narrow_terminal(text: str, columns: int) -> None:
    """Broken between words, with nothing lost."""
    narrow = fitted(text, columns)

    assert max(map(len, narrow.splitlines())) <= columns
    assert "".join(text.split()) == "".join(narrow.split())
