"""What `/set` changes of requests."""

import pytest

from modelrunner.cli.chat.options import Options, switch
from modelrunner.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"), [("on", True), ("True", True), ("1", True), ("off", False), ("no", False)]
)
def test_switches_are_read(text: str, expected: bool) -> None:
    """In any case."""
    assert switch(text) is expected


@pytest.mark.parametrize("text", ["", "perhaps"])
def test_anything_else_is_no_switch(text: str) -> None:
    """It is refused."""
    with pytest.raises(InvalidRequest, match="Neither on nor off"):
        switch(text)


def test_nothing_is_sent_that_was_not_set() -> None:
    """The model's own defaults stay."""
    assert Options().fields() == {}


def test_a_wrong_value_changes_nothing() -> None:
    """The one before stays."""
    options = Options()
    options.set("seed", "7")
    with pytest.raises(InvalidRequest, match="must be a whole number of at least 0"):
        options.set("seed", "-1")

    assert options.fields() == {"seed": 7}
