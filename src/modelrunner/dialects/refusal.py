"""What an engine's error means, whichever of the usual shapes it has: who is at fault, and what to tell."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from modelrunner.dialects.completion import UNREADABLE
from modelrunner.errors import ContextExceeded, EngineRefused, RunnerError

_SHOWN = 2000  # characters of an engine's words
# As vLLM puts it: the most first, what was asked for next.
_VLLM_CONTEXT = re.compile(r"maximum context length is (\d+) tokens.*?(\d+)", re.DOTALL)
# As llama.cpp does of a text for a vector, which has to fit into one batch.
_LLAMACPP_BATCH = re.compile(r"input \((\d+) tokens\) is too large to process.*batch size: (\d+)", re.DOTALL)
# What llama.cpp says with status 500 although the request is at fault.
# Source: its tools/server and common/chat.cpp, where these are exceptions of the parser.
_CLIENTS_FAULT = re.compile(
    r"(image|audio|video) input is not supported|input is too large|mmproj|not supported by this model"
    r"|Failed to (load|decode) (image|audio)|failed to (load|decode) (image|audio)|Invalid url|base64"
    r"|missing (required )?(field|key|'role')|Missing '|[Ee]xpected '|must be an? |type must be"
    r"|Unsupported content|unsupported content|Failed to parse (tools|messages|grammar|input)"
    r"|[Ff]ailed to initialize samplers|JSON schema|Unrecognized schema"
)


def refusal(status: int, body: bytes) -> RunnerError:
    """Read an answer that is no success, as the error that it is; its words are the engine's."""
    try:
        said = msgspec.json.decode(body)
    except UNREADABLE:
        said = body.decode(errors="replace")
    return reported(said, status)


def reported(said: Any, status: int = 500) -> RunnerError:
    """Read an error that an engine tells of, by its content; one in a stream has no status of its own."""
    details: Mapping[str, Any] = {}
    words = said
    if isinstance(said, Mapping):
        words = said.get("error", said)
        if isinstance(words, Mapping):
            details = words
            words = details.get("message") or details.get("detail") or msgspec.json.encode(words).decode()
    words = (words if isinstance(words, str) else str(words)).strip()[:_SHOWN]
    code = details.get("code")
    if status == 500 and isinstance(code, int) and 400 <= code < 600:
        status = code
    exceeded = _exceeded(words, details)
    if exceeded is not None:
        return exceeded
    if status == 500 and _CLIENTS_FAULT.search(words):
        status = 400
    status = status if 400 <= status < 600 else 500
    return EngineRefused(words or f"the engine answered with status {status} and no words", status)


def _exceeded(words: str, details: Mapping[str, Any]) -> ContextExceeded | None:
    """The one refusal that every client has to understand: the prompt is longer than the context."""
    asked, most = details.get("n_prompt_tokens"), details.get("n_ctx")
    if match := _VLLM_CONTEXT.search(words):
        most, asked = int(match[1]), int(match[2])
    elif match := _LLAMACPP_BATCH.search(words):
        asked, most = int(match[1]), int(match[2])
    elif details.get("type") != "exceed_context_size_error":
        return None
    if not isinstance(asked, int) or not isinstance(most, int):
        return ContextExceeded(words, hint=_HINT)
    return ContextExceeded(
        f"prompt is too long: {asked} tokens > {most} maximum",
        hint=_HINT,
        detail={"prompt_tokens": asked, "context_size": most},
    )


_HINT = "shorten it, or run the model with a larger context: `dmr configure --context-size`"
