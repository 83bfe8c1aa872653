"""The user's token for Hugging Face, where its own tools keep it."""

from collections.abc import Mapping
from pathlib import Path

_MOST_BYTES = 4096
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def find_token(environ: Mapping[str, str]) -> str | None:
    """Find the token: in the environment, else in the file that `hf auth login` writes; None without one.

    Source: huggingface_hub v0.27, "Environment variables": HF_TOKEN, HF_TOKEN_PATH, HF_HOME.
    """
    for variable in _VARIABLES:
        if token := environ.get(variable, "").strip():
            return token
    path = _path(environ)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "ignore").strip() or None
    except OSError:
        return None


def _path(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("HF_TOKEN_PATH"):
        return Path(named)
    if home := environ.get("HF_HOME"):
        return Path(home) / "token"
    if cache := environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "huggingface" / "token"
    user = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(user) / ".cache" / "huggingface" / "token" if user else None
