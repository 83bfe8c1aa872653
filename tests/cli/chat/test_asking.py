"""One turn, with the functions that a model calls."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import pytest

from modelrunner.cli.chat.asking import Calling, Function, Question, take_turn
from modelrunner.client import CallPart, Message, Piece
from modelrunner.errors import EngineFailed, RunnerError

QUESTION = Question("m", [{"role": "user", "content": "hi"}], {"seed": 7})


class Talker:
    """Answers with a script, and remembers what it was asked."""

    def __init__(self, *answers: list[Piece] | RunnerError) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[list[Message], dict[str, Any]]] = []
        self.closed = 0

    def chat(
        self, name: str, messages: Sequence[Message], options: Mapping[str, object] | None = None
    ) -> Generator[Piece, None, None]:
        self.asked.append((list(messages), dict(options or {})))
        answer = self._answers.pop(0)
        try:
            if isinstance(answer, RunnerError):
                raise answer
            yield from answer
        finally:
            self.closed += 1


def _call(name: str = "look", arguments: str = '{"q": "x"}', place: int = 0) -> Piece:
    return Piece(calls=(CallPart(place, name, arguments, f"id{place}"),))


def _look(arguments: Mapping[str, object]) -> str:
    if arguments.get("q") == "bad":
        raise RunnerError("no way")
    return f"saw {arguments}"


LOOK = Function("look", {"name": "look"}, _look)


def test_an_answer_passes_as_it_comes() -> None:
    """Without functions there is one request, with the options."""
    talker = Talker([Piece("a"), Piece("b")])

    assert list(take_turn(talker, QUESTION)) == [Piece("a"), Piece("b")]
    assert talker.asked == [(list(QUESTION.messages), {"seed": 7})]


def test_a_call_is_made_and_its_result_sent() -> None:
    """Parts of a call are put together; the model is asked again with what was found."""
    parts = [
        Piece(calls=(CallPart(0, "look", '{"q"', "id7"),)),
        Piece(calls=(CallPart(0, "", ': "x"}'),), finish="tool_calls"),
    ]
    talker = Talker(parts, [Piece("found")])

    seen = list(take_turn(talker, QUESTION, (LOOK,)))

    assert seen == [*parts, Calling("look", '{"q": "x"}'), Piece("found")]
    messages, options = talker.asked[1]
    call = {"id": "id7", "type": "function", "function": {"name": "look", "arguments": '{"q": "x"}'}}
    assert messages[1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "saw {'q': 'x'}", "tool_call_id": "id7"},
    ]
    assert options["tools"] == [{"type": "function", "function": {"name": "look"}}]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (_call(name="rm"), "unknown tool: rm"),
        (_call(arguments="{"), "error parsing tool arguments: "),
        (_call(arguments="[1]"), "error parsing tool arguments: the arguments are no object"),
        (_call(arguments="[" * 100_000), "error parsing tool arguments: "),
        (_call(arguments='{"q": "bad"}'), "tool execution error: no way"),
    ],
)
def test_a_wrong_call_is_told_to_the_model(call: Piece, expected: str) -> None:
    """It may do better next time."""
    talker = Talker([call], [Piece("sorry")])

    list(take_turn(talker, QUESTION, (LOOK,)))

    assert str(talker.asked[1][0][-1]["content"]).startswith(expected)


def test_calls_without_end_are_an_error() -> None:
    """After ten rounds."""
    talker = Talker(*([_call()] for _ in range(10)))

    with pytest.raises(RunnerError, match="tool call loop exceeded 10 iterations"):
        list(take_turn(talker, QUESTION, (LOOK,)))


def test_a_template_without_functions_is_asked_without() -> None:
    """From the beginning, once; also when it fails at a result."""
    failure = EngineFailed("Jinja Exception: no tools")
    talker = Talker(failure, [Piece("fine")])
    assert list(take_turn(talker, QUESTION, (LOOK,))) == [Piece("fine")]
    assert talker.asked[1] == (list(QUESTION.messages), {"seed": 7})

    later = Talker([_call()], failure, [Piece("fine")])
    assert list(take_turn(later, QUESTION, (LOOK,)))[-1] == Piece("fine")
    assert later.asked[2] == (list(QUESTION.messages), {"seed": 7})


def test_any_other_failure_is_one() -> None:
    """Whatever is offered."""
    with pytest.raises(EngineFailed, match="out of memory"):
        list(take_turn(Talker(EngineFailed("out of memory")), QUESTION, (LOOK,)))


def test_leaving_ends_the_request() -> None:
    """At once."""
    talker = Talker([Piece("a"), Piece("b")])
    turn = take_turn(talker, QUESTION)
    next(turn)

    turn.close()

    assert talker.closed == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"query": "cats", "count": 3}', "web search: cats, 3"),
        ("", "web search: "),
        ("{broken", "web search: {broken"),
        ('["x"]', "web search: ['x']"),
    ],
)
def test_a_call_is_told_to_people(arguments: str, expected: str) -> None:
    """By what it asks for."""
    assert expected == Calling("web_search", arguments).told
