"""Small questions to an engine, whose answers are for the daemon itself."""

from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.dialects.refusal import refusal
from modelrunner.errors import EngineFailed
from modelrunner.runtime.channel.headers import Header
from modelrunner.runtime.instance import Instance
from modelrunner.server.connection.bodies import collect
from modelrunner.server.inference.renaming import renamed

_JSON = dict[str, Any]
_HEADERS: tuple[Header, ...] = ((b"content-type", b"application/json"),)
_MOST = 256 << 20  # bytes of an answer
_NO_SUCH_ROUTE = frozenset({404, 405, 501})


async def ask_json(instance: Instance, path: str, body: _JSON) -> _JSON | None:
    """Ask, and read the answer; None when the engine has no such route.

    Raises:
        RunnerError: what the engine refuses it with, or how it failed.
    """
    status, answer = await _asked(instance, path, body)
    if status in _NO_SUCH_ROUTE:
        return None
    if status != 200:
        raise refusal(status, answer)
    try:
        found: _JSON = msgspec.json.decode(answer, type=dict[str, Any])
    except UNREADABLE as exc:
        raise EngineFailed(f"the engine did not answer properly: {exc}") from exc
    return found


async def ask_bytes(instance: Instance, path: str, body: _JSON) -> bytes:
    """Ask, and give the answer as it is; raises what the engine refuses it with, or how it failed."""
    status, answer = await _asked(instance, path, body)
    if status != 200:
        raise refusal(status, answer)
    return answer


async def _asked(instance: Instance, path: str, body: _JSON) -> tuple[int, bytes]:
    raw = msgspec.json.encode(body)
    if instance.model_name is not None:
        raw = renamed(raw, instance.model_name)
    async with instance.request("POST", path, _HEADERS, raw) as upstream:
        return upstream.status, await collect(upstream.chunks(), _MOST)


async def count_tokens(instance: Instance, chat: _JSON) -> int:
    """Count the tokens of a chat in OpenAI's form, as its engine would read it.

    llama.cpp is asked first, then vLLM; an engine that cannot count reads the prompt, and says one word.

    Raises:
        RunnerError: what the engine refuses it with, or how it failed.
    """
    for path, field in (("/v1/chat/completions/input_tokens", "input_tokens"), ("/tokenize", "count")):
        answer = await ask_json(instance, path, chat)
        if answer is not None and isinstance(answer.get(field), int):
            return int(answer[field])
    answer = await ask_json(instance, "/v1/chat/completions", {**chat, "max_tokens": 1, "stream": False})
    count = ((answer or {}).get("usage") or {}).get("prompt_tokens")
    if not isinstance(count, int):
        raise EngineFailed("the engine did not answer properly: it does not count tokens")
    return count
