"""Requests about texts that OpenAI has no route for: tokens, and how well texts fit; vLLM's form of them."""

from typing import Annotated, Any

import msgspec

from modelrunner.errors import EngineFailed, InvalidRequest

JSON = dict[str, Any]
_MOST_PAIRS = 1024


class TokenizeRequest(msgspec.Struct):
    """A text, as `prompt` or llama.cpp's `content`, or the messages of a chat."""

    model: str = ""
    prompt: str | None = None
    content: str | None = None
    messages: list[msgspec.Raw] | None = None
    add_special_tokens: bool = True

    @property
    def text(self) -> str | None:
        """The text, by whichever name."""
        return self.content if self.prompt is None else self.prompt


class DetokenizeRequest(msgspec.Struct):
    """Tokens by their numbers."""

    model: str = ""
    tokens: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]] = []


class ScoreRequest(msgspec.Struct):
    """One text to compare with others, or as many as there are others."""

    text_1: str | list[str]
    text_2: str | list[str]
    model: str = ""

    def groups(self) -> list[tuple[str, list[str]]]:
        """Give each first text with those that it is compared with.

        Raises:
            InvalidRequest: the lists do not pair, or are too many.
        """
        others = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(others) > _MOST_PAIRS:
            raise InvalidRequest(f"text_2: `{len(others)}` texts", hint=f"at most {_MOST_PAIRS} at a time")
        if isinstance(self.text_1, str):
            return [(self.text_1, others)]
        if len(self.text_1) == 1:
            return [(self.text_1[0], others)]
        if len(self.text_1) != len(others):
            raise InvalidRequest(
                f"text_1 has `{len(self.text_1)}` texts, text_2 `{len(others)}`", hint="give one, or as many"
            )
        return [(first, [other]) for first, other in zip(self.text_1, others, strict=True)]


def tokens_reply(answer: JSON) -> bytes:
    """Write tokens and their number.

    Raises:
        EngineFailed: the engine gave none.
    """
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise EngineFailed("the engine did not answer properly: no tokens")
    return msgspec.json.encode({"tokens": tokens, "count": len(tokens)})


def text_reply(answer: JSON) -> bytes:
    """Write the text of tokens, by both names that clients look for.

    Raises:
        EngineFailed: the engine gave none.
    """
    text = answer.get("content", answer.get("prompt"))
    if not isinstance(text, str):
        raise EngineFailed("the engine did not answer properly: no text")
    return msgspec.json.encode({"prompt": text, "content": text})


def ranked(answer: JSON, count: int) -> list[float]:
    """Read the scores of a ranking, in the order of the documents.

    Raises:
        EngineFailed: one is missing.
    """
    try:
        found = {item["index"]: float(item["relevance_score"]) for item in answer["results"]}
        return [found[index] for index in range(count)]
    except (KeyError, TypeError, ValueError) as exc:
        raise EngineFailed("the engine did not answer properly: no scores") from exc


def scores_reply(model: str, scores: list[float]) -> bytes:
    """Write scores as vLLM does."""
    data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
    return msgspec.json.encode({"object": "list", "model": model, "data": data})
