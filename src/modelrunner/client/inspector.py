"""The routes of recorded requests as methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING

from modelrunner.client.shape import INTEGER, TEXT, Expected
from modelrunner.client.streams import PIECE, read_event_texts, read_events
from modelrunner.client.transport import ACCEPT, Transport

if TYPE_CHECKING:
    from modelrunner.wire.requests import (
        RecordedRequest,
        RecorderView,
        ReplayRequest,
        RequestsDiff,
        RequestsPage,
        RequestStatistics,
        RequestSummary,
    )

_SUMMARY = {
    "id": INTEGER,
    "at": TEXT,
    "model": TEXT,
    "dialect": TEXT,
    "caller": TEXT,
    "status": INTEGER,
    "outcome": TEXT,
    "prompt": TEXT,
    "answer": TEXT,
    "completion_tokens": (None, INTEGER),
    "prompt_tokens": (None, INTEGER),
}
_WHOLE: Expected[RecordedRequest] = Expected(
    {
        **_SUMMARY,
        "timeline": {},
        "parameters": {},
        "messages": [{"role": TEXT, "text": TEXT}],
        "reasoning": TEXT,
        "calls": [{"name": TEXT, "arguments": TEXT}],
        "request": TEXT,
        "response": (None, TEXT),
    }
)
_LINES = [{"kind": TEXT, "text": TEXT}]
_VALUES = [{"name": TEXT}]
_DIFF: Expected[RequestsDiff] = Expected(
    {
        "a": _SUMMARY,
        "b": _SUMMARY,
        "values": _VALUES,
        "parameters": _VALUES,
        "prompt": _LINES,
        "reasoning": _LINES,
        "answer": _LINES,
    }
)
_STATISTICS: Expected[list[RequestStatistics]] = Expected(
    [{"group": TEXT, "requests": INTEGER, "failed": INTEGER, "first_token": {}, "seconds": {}}]
)
_DELETED: Expected[dict[str, int]] = Expected({"deleted": INTEGER})
_RECORDER: Expected[RecorderView] = Expected(
    {"state": TEXT, "requests": INTEGER, "size": INTEGER, "limit": INTEGER, "dropped": INTEGER}
)
_ONE: Expected[RequestSummary] = Expected(_SUMMARY)
_PAGE: Expected[RequestsPage] = Expected({"requests": [_SUMMARY], "before": (None, INTEGER)})

Query = Mapping[str, str]


class Inspector:
    """What was recorded, by the transport of a client."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def as_reference(self, model: str | None) -> bytes:
        """The last requests of each model as Docker Model Runner gives them, byte for byte."""
        query = {"model": model} if model else {}
        with self._transport.open("GET", "/engines/requests", query=query) as response:
            return response.read()

    def follow_as_reference(self, query: Query) -> Generator[tuple[str, bytes], None, None]:
        """Yield the names of its events, and their data as it is."""
        accept = {"Accept": f"text/event-stream, {ACCEPT}"}
        with self._transport.open("GET", "/engines/requests", query=query, headers=accept) as response:
            yield from read_event_texts(response)

    def page(self, query: Query) -> RequestsPage:
        """List requests that fit, the newest first."""
        return self._transport.call("GET", "/requests", _PAGE, query=query)

    def follow(
        self, query: Query, on_gap: Callable[[str], None], *, after: int | None = None
    ) -> Generator[RequestSummary, None, None]:
        """Yield requests as they are recorded, first those since the one with the number `after`.

        `on_gap` is told of what is missing, or of the end.
        """
        headers = {"Accept": f"text/event-stream, {ACCEPT}"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self._transport.open("GET", "/requests", query=query, headers=headers) as response:
            for name, data in read_events(response):
                if name == "lost":
                    on_gap(f"{data.get('lost')} requests are missing: they came too fast")
                elif name == "end":
                    on_gap(str(data.get("text", "the daemon has ended the stream")))
                else:
                    yield self._transport.checked(data, _ONE)

    def look(self, name: str) -> RecordedRequest:
        """Give one, whole."""
        return self._transport.call("GET", _path(name), _WHOLE)

    def replay(self, name: str, changes: ReplayRequest) -> RecordedRequest:
        """Ask again; returns when that is answered."""
        return self._transport.call("POST", f"{_path(name)}/replay", _WHOLE, body=changes)

    def diff(self, a: str, b: str) -> RequestsDiff:
        """Compare two."""
        return self._transport.call("GET", "/requests/diff", _DIFF, query={"a": a, "b": b})

    def statistics(self, query: Query) -> list[RequestStatistics]:
        """Sum up what fits."""
        return self._transport.call("GET", "/requests/statistics", _STATISTICS, query=query)

    def recorder(self) -> RecorderView:
        """Say what is kept, and what was lost."""
        return self._transport.call("GET", "/requests/recorder", _RECORDER)

    def export(self, name: str | None, query: Query) -> Generator[bytes, None, None]:
        """Yield one, or all that fit, for another program, in pieces."""
        path = "/requests/export" if name is None else f"{_path(name)}/export"
        with self._transport.open("GET", path, query=query) as response:
            while piece := response.read1(PIECE):
                yield piece

    def forget(self, name: str | None, query: Query) -> int:
        """Forget one, or all that fit; says how many those were."""
        path = "/requests" if name is None else _path(name)
        return self._transport.call("DELETE", path, _DELETED, query=query)["deleted"]


def _path(name: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - for those who name a request

    return f"/requests/{quote(name, safe='')}"
