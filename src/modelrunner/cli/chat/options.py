"""What `/set` changes of the requests: sampling, thinking, the form of the answer. Pure."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from modelrunner.errors import InvalidRequest

_ON, _OFF = frozenset({"on", "true", "yes", "1"}), frozenset({"off", "false", "no", "0"})


class Parameter(NamedTuple):
    """A field of a request: how its value is read, and what that has to be."""

    read: Callable[[str], object]
    expected: str


def _between(low: float, high: float) -> Parameter:
    def read(text: str) -> float:
        number = float(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return Parameter(read, f"a number from {low:g} to {high:g}")


def _whole(low: int) -> Parameter:
    def read(text: str) -> int:
        number = int(text[:20])
        if not low <= number < 2**31:
            raise ValueError(text)
        return number

    return Parameter(read, f"a whole number of at least {low}")


def _strings(text: str) -> list[str]:
    return text.split()


# By the names of OpenAI's API and of llama.cpp's; Ollama's are understood too.
PARAMETERS: Mapping[str, Parameter] = {
    "temperature": _between(0, 5),
    "top_p": _between(0, 1),
    "top_k": _whole(0),
    "min_p": _between(0, 1),
    "max_tokens": _whole(1),
    "seed": _whole(0),
    "frequency_penalty": _between(-2, 2),
    "presence_penalty": _between(-2, 2),
    "repeat_penalty": _between(0, 5),
    "stop": Parameter(_strings, "words, parted by spaces"),
}
_ALIASES = {"temp": "temperature", "num_predict": "max_tokens"}


class Options:
    """The fields that go along with every request."""

    def __init__(self) -> None:
        self.parameters: dict[str, object] = {}
        self.think: bool | None = None
        self.json = False

    def fields(self) -> dict[str, object]:
        """What to add to a request."""
        fields = dict(self.parameters)
        if self.think is not None:
            fields["chat_template_kwargs"] = {"enable_thinking": self.think}
        if self.json:
            fields["response_format"] = {"type": "json_object"}
        return fields

    def set(self, name: str, text: str) -> str:
        """Set a parameter, or take it back with an empty text; returns the parameter's name.

        Raises:
            InvalidRequest: there is none of that name, or its value is none.
        """
        name = _ALIASES.get(name, name)
        parameter = PARAMETERS.get(name)
        if parameter is None:
            known = ", ".join(["num_ctx", *PARAMETERS])
            raise InvalidRequest(f"Unknown parameter: {name}\nAvailable parameters: {known}")
        if not text:
            self.parameters.pop(name, None)
            return name
        try:
            self.parameters[name] = parameter.read(text)
        except ValueError as exc:
            raise InvalidRequest(f"Invalid value for {name}: {text} (must be {parameter.expected})") from exc
        return name


def switch(text: str) -> bool:
    """Read `on` or `off`.

    Raises:
        InvalidRequest: it is neither.
    """
    word = text.lower()
    if word in _ON or word in _OFF:
        return word in _ON
    raise InvalidRequest(f"Neither on nor off: {text or 'nothing'}")
