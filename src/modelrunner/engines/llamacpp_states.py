"""How llama.cpp saves what it computed of a prompt, and reads it back: its routes, its file, its words.

Source: llama.cpp tools/server/README.md, "POST /slots/{id_slot}?action=save", "GET /slots", "POST
/apply-template", "POST /tokenize"; the head of the file: src/llama-context.cpp `state_seq_save_file`, and
`server_tokens` in tools/server/server-common.cpp.
"""

import re
import sys
from array import array
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from modelrunner.engines.ask import Answer, Ask
from modelrunner.engines.states import Dialogue, Slot, T, Tokens

_MAGIC = b"qsgg"
_HEAD = 12  # bytes: magic, version, count of words
_MOST_WORDS = 1 << 24
_WRAPPED = -1  # the first word of newer files, whose tokens come after a version and their count
_CACHED = re.compile(rb'"cache_n"\s*:\s*(\d{1,10})')
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Slot(msgspec.Struct):
    id: int
    is_processing: bool = False
    n_prompt_tokens: int = 0


class _Saved(msgspec.Struct):
    n_written: int


class _Restored(msgspec.Struct):
    n_restored: int


class _Templated(msgspec.Struct):
    prompt: str


class _Completion(msgspec.Struct):
    prompt: str | list[int] | None = None


class _Tokenized(msgspec.Struct):
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class LlamaCppStates:
    """Satisfies `states.States`."""

    key: str

    def slots(self) -> Dialogue[tuple[Slot, ...]]:
        """Ask for the slots."""
        found = _read((yield Ask("GET", "/slots")), list[_Slot])
        return tuple(Slot(slot.id, slot.n_prompt_tokens, slot.is_processing) for slot in found or ())

    def save(self, slot: int, file: str) -> Dialogue[int | None]:
        """Ask to save; the engine answers when the file is written."""
        saved = _read((yield _action(slot, "save", file)), _Saved)
        return None if saved is None else saved.n_written

    def restore(self, slot: int, file: str) -> Dialogue[bool]:
        """Ask to restore; what counts is what the next answer says of cached tokens."""
        restored = _read((yield _action(slot, "restore", file)), _Restored)
        return restored is not None and restored.n_restored > 0

    def prompt(self, target: str, body: bytes) -> Dialogue[Tokens | None]:
        """Let the engine apply its template and its vocabulary."""
        path = target.partition("?")[0]
        text: str | list[int] | None = None
        if path.endswith("/chat/completions"):
            templated = _read((yield Ask("POST", "/apply-template", body)), _Templated)
            text = None if templated is None else templated.prompt
        elif path.endswith("/completions"):
            completion = _read(Answer(200, body), _Completion)
            text = None if completion is None else completion.prompt
        if not isinstance(text, str):
            return text
        words = msgspec.json.encode({"content": text, "add_special": True, "parse_special": True})
        tokenized = _read((yield Ask("POST", "/tokenize", words)), _Tokenized)
        return None if tokenized is None else tokenized.tokens

    def tokens(self, state: BinaryIO) -> Tokens | None:
        """Read the head of the file."""
        head = state.read(_HEAD)
        count = int.from_bytes(head[8:], "little")
        if head[:4] != _MAGIC or not count <= _MOST_WORDS:
            return None
        words = array("i", b"")
        data = state.read(count * words.itemsize)
        if len(data) != count * words.itemsize:
            return None
        words.frombytes(data)
        if sys.byteorder != "little":
            words.byteswap()
        if not words or words[0] != _WRAPPED:
            return words
        inner = words[3 : 3 + words[2]] if len(words) > 3 else words[:0]
        return inner if len(words) > 3 and len(inner) == words[2] else None

    def cached(self, tail: bytes) -> int | None:
        """Look for the timings, which end every answer, streamed or not."""
        found = _CACHED.findall(tail)
        return int(found[-1]) if found else None


def _action(slot: int, action: str, file: str) -> Ask:
    return Ask("POST", f"/slots/{slot}?action={action}", msgspec.json.encode({"filename": file}))


def _read(answer: Answer, kind: type[T]) -> T | None:
    """Read an answer; None for errors, and for what older builds answer."""
    if answer.status != 200:
        return None
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except _UNREADABLE:
        return None
