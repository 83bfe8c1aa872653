"""What a request asks to be heard: the fields of a form, read and checked. Pure.

Source: OpenAI API reference, "Create transcription" and "Create translation".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .serving import Refused
from .transcripts import MEDIA

_LONGEST_PROMPT = 8192  # characters; the model itself reads the last 224 tokens
_GRANULARITIES = ("word", "segment")
# What other models of OpenAI's can do, and these cannot.
_UNSERVED = {
    "include[]": "this model tells no probabilities of tokens",
    "include": "this model tells no probabilities of tokens",
    "known_speaker_names[]": "this model does not tell speakers apart",
    "known_speaker_references[]": "this model does not tell speakers apart",
    "chunking_strategy": "this model hears all of the sound; leave `chunking_strategy` out",
}


@dataclass(frozen=True, slots=True)
class Order:
    """How to hear. `temperature` is None when the model may become bolder as long as it hears nothing."""

    task: str
    form: str = "json"
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    granularities: frozenset[str] = frozenset({"segment"})
    stream: bool = False

    @property
    def words(self) -> bool:
        """Whether single words are wanted, which takes longer."""
        return "word" in self.granularities


def read_order(task: str, fields: Iterable[tuple[str, str]]) -> Order:
    """Read the fields of a form, other than the file.

    Raises:
        Refused: one of them is wrong.
    """
    given: dict[str, str] = {}
    granularities: list[str] = []
    for name, value in fields:
        if name in _UNSERVED and value != "":
            raise Refused(f"`{name}` is not supported: {_UNSERVED[name]}", name)
        if name.removesuffix("[]") == "timestamp_granularities":
            granularities.append(value)
        else:
            given[name] = value
    form = given.get("response_format") or "json"
    if form not in MEDIA:
        raise Refused(f"response_format: `{form[:60]}`; it is one of {', '.join(MEDIA)}", "response_format")
    stream = _switch("stream", given.get("stream", ""))
    if stream and form not in {"json", "text"}:
        raise Refused(f"a stream has no form `{form}`; leave response_format out", "response_format")
    return Order(
        task=task,
        form=form,
        language=_language(given.get("language", "")),
        prompt=_prompt(given.get("prompt", "")),
        temperature=_temperature(given.get("temperature", "")),
        granularities=_chosen(granularities, form),
        stream=stream,
    )


def _switch(name: str, text: str) -> bool:
    if text.lower() not in {"", "true", "false", "1", "0"}:
        raise Refused(f"{name}: `{text[:60]}`; it is true or false", name)
    return text.lower() in {"true", "1"}


def _language(text: str) -> str | None:
    if text and not (text.isascii() and text.isalpha() and len(text) <= 3):
        raise Refused(f"language: `{text[:60]}`; it is a code of ISO 639, such as `en`", "language")
    return text.lower() or None


def _prompt(text: str) -> str | None:
    if len(text) > _LONGEST_PROMPT:
        raise Refused(f"prompt: `{len(text)}` characters; at most {_LONGEST_PROMPT} are read", "prompt")
    return text or None


def _temperature(text: str) -> float | None:
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise Refused(f"temperature: `{text[:60]}`; it is from 0 to 1", "temperature")
    return value or None


def _chosen(granularities: list[str], form: str) -> frozenset[str]:
    field = "timestamp_granularities"
    unknown = next((each for each in granularities if each not in _GRANULARITIES), None)
    if unknown is not None:
        raise Refused(f"{field}: `{unknown[:60]}`; it is `word` or `segment`", field)
    if granularities and form != "verbose_json":
        raise Refused(f"{field} needs the response_format `verbose_json`", field)
    return frozenset(granularities or ["segment"])
