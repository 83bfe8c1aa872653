"""A long conversation made short: the user's messages as they were, and a summary of the rest.

The summary travels with the client, as with OpenAI's API, in `encrypted_content`, which clients do not look
into. It is no secret: whoever has it has had the conversation, too.
Source: OpenAI API reference, "Compact a response".
"""

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from modelrunner.dialects.completion import Completion
from modelrunner.dialects.responses_items import messages_of, named, sealed
from modelrunner.errors import EngineFailed, InvalidRequest

JSON = dict[str, Any]
_MOST_TOKENS = 2048
_WISH = (
    "Stop here. Write a summary of this conversation for somebody who has to go on with it and has not read"
    " it: what the user wants, what was found out and decided, names, places and figures that matter, what is"
    " done, and what is next. Write the summary and nothing else."
)


class CompactRequest(msgspec.Struct):
    """`POST /v1/responses/compact`."""

    model: str | None = None
    input: str | list[JSON] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    keep_alive: str | float | None = None

    @property
    def items(self) -> list[JSON]:
        """The input as items."""
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}]
        return self.input or []


def summary_chat(asked: CompactRequest, items: Sequence[JSON]) -> JSON:
    """Write the chat in which the model is asked for a summary of `items`.

    Raises:
        InvalidRequest: there are none, or one has no place in a chat.
    """
    if not (asked.model or "").strip():
        raise InvalidRequest("model is required", hint='name one, as in `"model": "ai/smollm2"`')
    if not items:
        raise InvalidRequest("there is nothing to make short", hint="send `input`, or `previous_response_id`")
    messages = [*messages_of(asked.instructions, items), {"role": "user", "content": _WISH}]
    thinking = {"enable_thinking": False}
    return {
        "model": asked.model,
        "messages": messages,
        "max_tokens": _MOST_TOKENS,
        "chat_template_kwargs": thinking,
    }


def reply(answer: Completion, items: Sequence[JSON], now: float) -> bytes:
    """Write the short conversation; `now` is in Unix seconds.

    Raises:
        EngineFailed: the engine said nothing.
    """
    text = answer.choices[0].said.content if answer.choices else None
    if not text:
        raise EngineFailed("the engine did not answer properly: no summary")
    said = [item for item in items if item.get("type", "message") == "message" and item.get("role") == "user"]
    compaction = {
        "id": f"cmp_{secrets.token_hex(12)}",
        "type": "compaction",
        "encrypted_content": sealed(text),
    }
    counts = answer.usage
    tokens = (counts.prompt_tokens, counts.completion_tokens) if counts is not None else (0, 0)
    return msgspec.json.encode(
        {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response.compaction",
            "created_at": int(now),
            "output": [*named(said), compaction],
            "usage": {
                "input_tokens": tokens[0],
                "input_tokens_details": {
                    "cached_tokens": counts.cached if counts else 0,
                    "cache_write_tokens": 0,
                },
                "output_tokens": tokens[1],
                "output_tokens_details": {"reasoning_tokens": counts.reasoning if counts else 0},
                "total_tokens": sum(tokens),
            },
        }
    )
