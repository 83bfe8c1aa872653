"""Code that came with a model: found, so that no engine gets to see it. Nothing of it is read but names.

Engines of Python load what a model brings along, some without being told to: modules that its configuration
names, libraries, and pickles, which are programs. Weights in safetensors need none of it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelrunner.errors import UnsupportedModel

_PROGRAM = re.compile(r".*\.(?:py|pyc|pyo|pyd|pyw|pyz|dll|dylib|so(?:\.[0-9]+)*)", re.IGNORECASE | re.DOTALL)
_PICKLE = re.compile(r".*\.(?:bin|pt|pth|pkl|pickle|ckpt|joblib|dill)", re.IGNORECASE | re.DOTALL)
# What makes an engine load a module of the model's: Hugging Face's libraries, and MLX.
_KEYS = ("auto_map", "custom_pipelines", "model_file", "trust_remote_code")
_MOST = 4 << 20  # bytes of a configuration
_HINT = "an engine would run code that came with the model; take a version without it, or one in GGUF"


def check(directory: Path) -> None:
    """Refuse a model whose directory holds code, or a configuration that asks for some. Blocks.

    Raises:
        UnsupportedModel: it does; the message names the file.
        OSError: the directory cannot be read.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(directory).as_posix()
        reason = _by_name(path.name)
        if reason is None and path.name.lower().endswith("config.json"):
            reason = _by_contents(path)
        if reason is not None:
            raise UnsupportedModel(f"refused: `{name}` {reason}", hint=_HINT)


def _by_name(name: str) -> str | None:
    if _PROGRAM.fullmatch(name):
        return "is a program"
    return "is a pickle, which is a program" if _PICKLE.fullmatch(name) else None


def _by_contents(path: Path) -> str | None:
    if path.stat().st_size > _MOST:
        return f"is larger than {_MOST >> 20} MiB"
    try:
        document = json.loads(
            path.read_bytes()
        )  # with the parser of those engines, so that both read the same
    except (ValueError, RecursionError):
        return "is no JSON"
    key = next(_asking(document), None)
    return None if key is None else f"has `{key}`, which names code of the model's own"


def _asking(document: object) -> Iterator[str]:
    """The keys, at any depth, that have a module loaded; empty or false ones do not."""
    if isinstance(document, Mapping):
        yield from (key for key in _KEYS if document.get(key))
        for value in document.values():
            yield from _asking(value)
    elif isinstance(document, list):
        for value in document:
            yield from _asking(value)
