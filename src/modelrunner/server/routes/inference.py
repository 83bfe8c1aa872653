"""Which paths lead to a model, and in which mode: the table of the data path."""

import re

from modelrunner.models.kinds import Mode
from modelrunner.server.call import Endpoint

_MODES = {
    "/v1/chat/completions": Mode.COMPLETION,
    "/v1/completions": Mode.COMPLETION,
    "/v1/embeddings": Mode.EMBEDDING,
    "/v1/rerank": Mode.RERANKING,
    "/v1/score": Mode.RERANKING,
    "/rerank": Mode.RERANKING,
    "/score": Mode.RERANKING,
}
_WITH_ENGINE = re.compile(r"/engines/([^/]+)(/.*)")

# Every path that names no engine; the first look-up of every request.
ENDPOINTS = {
    prefix + path: Endpoint(mode, path) for prefix in ("", "/engines") for path, mode in _MODES.items()
}


def endpoint(path: str) -> Endpoint | None:
    """Say where a path leads that may name an engine, as `/engines/{engine}/v1/…`; None when to no model."""
    known = ENDPOINTS.get(path)
    if known is not None:
        return known
    match = _WITH_ENGINE.fullmatch(path)
    if match is None or match[2] not in _MODES:
        return None
    return Endpoint(_MODES[match[2]], match[2], match[1])
