"""One turn: the request, and as many more as the model calls functions. Knows no terminal."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol

from modelrunner.client import CallPart, Message, Piece
from modelrunner.errors import RunnerError

_ROUNDS = 10  # requests of one turn
_MOST_CALLS = 16  # of one answer
# Words in an engine's error which mean that its template knows no functions.
_TEMPLATE_WORDS = ("jinja", "template")


class Talker(Protocol):
    """Whom a chat talks to."""

    def chat(
        self, name: str, messages: Sequence[Message], options: Mapping[str, object] | None = None
    ) -> Generator[Piece, None, None]:
        """Ask, and yield the answer as it comes."""
        ...


class Function(NamedTuple):
    """Something that a model may call: how it is described in a request, and what does it."""

    name: str
    schema: Mapping[str, object]
    call: Callable[[Mapping[str, object]], str]


class Calling(NamedTuple):
    """A function is about to be called; `arguments` is the model's own JSON."""

    name: str
    arguments: str

    @property
    def told(self) -> str:
        """Say it to people: `web search: cats`."""
        try:
            given = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            given = self.arguments
        values = given.values() if isinstance(given, dict) else [given]
        return f"{self.name.replace('_', ' ')}: {', '.join(map(str, values))}"


class Question(NamedTuple):
    """What is asked: a model, everything said so far, and further fields of the request."""

    model: str
    messages: Sequence[Message]
    options: Mapping[str, object]


def take_turn(
    talker: Talker, question: Question, functions: Sequence[Function] = ()
) -> Generator[Piece | Calling, None, None]:
    """Yield an answer as it comes, and the calls that lead to it. Closing this ends the request.

    Raises:
        RunnerError: the request failed, or the model calls without end.
    """
    options = dict(question.options)
    if functions:
        options["tools"] = [{"type": "function", "function": function.schema} for function in functions]
    messages = list(question.messages)
    for _ in range(_ROUNDS):
        gathered: dict[int, CallPart] = {}
        try:
            yield from _listen(talker, question.model, messages, options, gathered)
        except RunnerError as exc:
            if not ("tools" in options and any(word in exc.message.lower() for word in _TEMPLATE_WORDS)):
                raise
            # The model's template knows no functions, so it is asked without.
            del options["tools"]
            messages = list(question.messages)
            continue
        if not gathered or "tools" not in options:
            return
        calls = [gathered[place] for place in sorted(gathered)][:_MOST_CALLS]
        messages.append(Message(role="assistant", content="", tool_calls=[_call(part) for part in calls]))
        for part in calls:
            yield Calling(part.name, part.arguments)
            result = _result(part, functions)
            messages.append(Message(role="tool", content=result, tool_call_id=part.id))
    raise RunnerError(f"tool call loop exceeded {_ROUNDS} iterations", hint="ask again, or turn the tool off")


def _listen(
    talker: Talker,
    model: str,
    messages: Sequence[Message],
    options: Mapping[str, object],
    gathered: dict[int, CallPart],
) -> Iterator[Piece]:
    with closing(talker.chat(model, messages, options)) as pieces:
        for piece in pieces:
            for part in piece.calls:
                before = gathered.get(part.place, CallPart(part.place))
                gathered[part.place] = CallPart(
                    part.place,
                    before.name + part.name,
                    before.arguments + part.arguments,
                    before.id or part.id or f"call_{part.place}",
                )
            yield piece


def _call(part: CallPart) -> dict[str, object]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _result(part: CallPart, functions: Sequence[Function]) -> str:
    """What the function says; what is wrong with a call is for the model to read."""
    function = next((function for function in functions if function.name == part.name), None)
    if function is None:
        return f"unknown tool: {part.name}"
    try:
        arguments = json.loads(part.arguments or "{}")
        if not isinstance(arguments, dict):
            raise TypeError("the arguments are no object")  # noqa: TRY301 - told like other bad arguments
    except (ValueError, TypeError, RecursionError) as exc:
        return f"error parsing tool arguments: {exc}"
    try:
        return function.call(arguments)
    except RunnerError as exc:
        return f"tool execution error: {exc.message}"
