"""What a request asks to be heard: the fields of a form, read and checked. Pure.

Source: OpenAI API reference, "Create transcription" and "Create translation".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .serving import Refused
from .transcripts import MEDIA

_LONGEST_PROMPT = 8192  # characters; the model itself reads the last 224 tokens
_LONGEST_KEYWORD = 100
_LISTS = {"languages": 20, "keywords": 100}  # fields that may be there so many times
_GRANULARITIES = ("word", "segment")
# What other models of OpenAI's can do, and these cannot.
_UNSERVED = {
    "include": "this model tells no probabilities of tokens",
    "known_speaker_names": "this model does not tell speakers apart",
    "known_speaker_references": "this model does not tell speakers apart",
    "chunking_strategy": "this model hears all of the sound; leave `chunking_strategy` out",
}


@dataclass(frozen=True, slots=True)
class Order:
    """How to hear. `temperature` is None when the model may become bolder as long as it hears nothing.

    Of `languages` it is one, or with none any; `keywords` are words that may be said.
    """

    task: str
    form: str = "json"
    languages: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
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
    lists: dict[str, list[str]] = {name: [] for name in ("timestamp_granularities", *_LISTS)}
    for name, value in fields:
        plain = name.removesuffix("[]")
        if plain in _UNSERVED and value:
            raise Refused(f"`{plain}` is not supported: {_UNSERVED[plain]}", plain)
        if plain in lists:
            lists[plain] += [value] if value else []
        else:
            given[name] = value
    for name, most in _LISTS.items():
        if len(lists[name]) > most:
            raise Refused(f"{name}: `{len(lists[name])}` of them; at most {most}", name)
    form = given.get("response_format") or "json"
    if form not in MEDIA:
        raise Refused(f"response_format: `{form[:60]}`; it is one of {', '.join(MEDIA)}", "response_format")
    stream = _switch("stream", given.get("stream", ""))
    if stream and form not in {"json", "text"}:
        raise Refused(f"a stream has no form `{form}`; leave response_format out", "response_format")
    return Order(
        task=task,
        form=form,
        languages=_languages([given.get("language", ""), *lists["languages"]]),
        keywords=tuple(_within("keywords", each, _LONGEST_KEYWORD) for each in lists["keywords"]),
        prompt=_within("prompt", given.get("prompt", ""), _LONGEST_PROMPT) or None,
        temperature=_temperature(given.get("temperature", "")),
        granularities=_chosen(lists["timestamp_granularities"], form),
        stream=stream,
    )


def _switch(name: str, text: str) -> bool:
    if text.lower() not in {"", "true", "false", "1", "0"}:
        raise Refused(f"{name}: `{text[:60]}`; it is true or false", name)
    return text.lower() in {"true", "1"}


def _languages(texts: list[str]) -> tuple[str, ...]:
    found = [text.lower() for text in texts if text]
    for text in found:
        if not (text.isascii() and text.isalpha() and len(text) <= 3):
            raise Refused(f"language: `{text[:60]}`; it is a code of ISO 639, such as `en`", "language")
    return tuple(dict.fromkeys(found))


def _within(name: str, text: str, most: int) -> str:
    if len(text) > most:
        raise Refused(f"{name}: `{len(text)}` characters; at most {most} are read", name)
    return text


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
