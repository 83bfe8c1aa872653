"""Vectors of texts that may be too long: cut to what the engine takes where that is asked for, and told."""

from collections.abc import Sequence
from typing import Any

from modelrunner.errors import ContextExceeded
from modelrunner.runtime.instance import Instance
from modelrunner.server.inference.asking import ask_bytes, ask_json

_PATH = "/v1/embeddings"
_Inputs = list[str | list[int]]


async def embed(
    instance: Instance, model: str, texts: Sequence[str], *, truncate: bool
) -> tuple[bytes, list[int]]:
    """Ask for vectors; with `truncate` texts lose what is too much for the engine.

    Returns OpenAI's answer, and which texts were cut, counted from 0.

    Raises:
        ContextExceeded: a text is too long, and must not be cut, or the engine cannot say where.
        RunnerError: what else the engine has against it.
    """
    body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    try:
        return await ask_bytes(instance, _PATH, body), []
    except ContextExceeded as exc:
        most = exc.detail.get("context_size")
        if not truncate or not isinstance(most, int):
            raise
        inputs, cut = await _shortened(instance, texts, most)
        if not cut:
            raise
    return await ask_bytes(instance, _PATH, {**body, "input": inputs}), cut


async def _shortened(instance: Instance, texts: Sequence[str], most: int) -> tuple[_Inputs, list[int]]:
    """Texts as tokens, where they have more than `most`; and which those are. The last token stays the last.

    Source: llama.cpp, tools/server/README.md, `/tokenize`; its `/v1/embeddings` takes tokens for texts.
    """
    inputs: _Inputs = []
    cut: list[int] = []
    for place, text in enumerate(texts):
        answer = await ask_json(instance, "/tokenize", {"content": text, "add_special": True})
        tokens = (answer or {}).get("tokens")
        if isinstance(tokens, list) and len(tokens) > most:
            inputs.append([*tokens[: most - 1], tokens[-1]])
            cut.append(place)
        else:
            inputs.append(text)
    return inputs, cut
