"""Tables, JSON and errors as they are printed."""

import pytest

from modelrunner.cli.output import clean, render_error, standard_json, table
from modelrunner.errors import ModelNotFound, RunnerError


def test_a_table_has_columns_as_wide_as_their_widest_cell() -> None:
    """Each cell is followed by two spaces, the last one too."""
    expected = "TYPE              SIZE     \nModels            12.34MB  \nInference engine  1.00kB   \n"
    assert expected == table(("TYPE", "SIZE"), [("Models", "12.34MB"), ("Inference engine", "1.00kB")])


def test_an_empty_table_still_has_its_header() -> None:
    """Somebody who reads columns finds them."""
    assert table(("A", "BB"), []) == "A  BB  \n"


def test_control_characters_never_reach_the_terminal() -> None:
    """A model's name cannot move the cursor or colour the screen."""
    assert clean("a\x1b[31mb\x9bc\r\n\x7f") == "a\ufffd[31mb\ufffdc\ufffd\ufffd\ufffd"
    assert "\x1b" not in table(("A",), [("\x1b[2J",)])


def test_json_is_indented_by_four_and_escapes_nothing_needlessly() -> None:
    """The form of the reference, byte for byte."""
    assert (
        standard_json({"a": ["<é>", {}], "b": []})
        == '{\n    "a": [\n        "<é>",\n        {}\n    ],\n    "b": []\n}\n'
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RunnerError("it broke"), "error: it broke\n"),
        (
            ModelNotFound("model not found: `x`", hint="did you mean `y`?"),
            "error: model not found: `x`\n\nhint: did you mean `y`?\n",
        ),
        (RunnerError("one\ntwo\x1b[2J"), "error: one\ntwo\ufffd[2J\n"),
        (RunnerError(""), "error: something went wrong\n"),
    ],
)
def test_an_error_is_a_sentence_and_a_way_out(error: RunnerError, expected: str) -> None:
    """The hint stands apart; what a registry said cannot play tricks."""
    assert expected == render_error(error)
