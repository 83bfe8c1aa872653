"""Which paths lead to a model, and in which mode: the table of the data path."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelrunner.models.description.kinds import Mode
from modelrunner.server.inference.call import Endpoint

_MODES = {
    "/v1/completions": Mode.COMPLETION,
    "/v1/rerank": Mode.RERANKING,
    "/rerank": Mode.RERANKING,
    "/v1/images/generations": Mode.IMAGE,
    "/v1/audio/speech": Mode.SPEECH,
    "/v1/audio/transcriptions": Mode.TRANSCRIPTION,
    "/v1/audio/translations": Mode.TRANSCRIPTION,
}
_FORMS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
_WITH_ENGINE = re.compile(r"/engines/([^/]+)(/.*)")

# What the engines answer themselves.
OPENAI = {path: Endpoint(mode, path, form=path in _FORMS) for path, mode in _MODES.items()}


class Endpoints:
    """All paths that lead to a model; `with_engine` also exist behind `/engines` and `/engines/{engine}`."""

    def __init__(self, with_engine: Mapping[str, Endpoint], plain: Mapping[str, Endpoint]) -> None:
        self._with_engine = with_engine
        behind = {f"/engines{path}": endpoint for path, endpoint in with_engine.items()}
        self._known = {**plain, **with_engine, **behind}

    def __iter__(self) -> Iterator[str]:
        """Every path, with `{engine}` where one is named."""
        yield from self._known
        yield from (f"/engines/{{engine}}{path}" for path in self._with_engine)

    def get(self, path: str) -> Endpoint | None:
        """Look a path up that is written as it stands in the table; the first step of every request."""
        return self._known.get(path)

    def find(self, path: str) -> Endpoint | None:
        """Say where a path leads that may name an engine; None when to no model."""
        known = self._known.get(path)
        if known is not None:
            return known
        match = _WITH_ENGINE.fullmatch(path)
        endpoint = None if match is None else self._with_engine.get(match[2])
        return None if match is None or endpoint is None else replace(endpoint, engine=match[1])
