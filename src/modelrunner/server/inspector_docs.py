"""How the routes of the inspector are described; see `route_docs`."""

from typing import Any

from modelrunner import errors, wire
from modelrunner.server.route_docs import TEXT, Doc, Errors

_FILTERS = (
    *("q", "model", "caller", "dialect", "mode", "path", "outcome", "status", "since", "until"),
    *("slower", "before"),
)
_READ: Errors = (errors.InvalidRequest, errors.StoreError)
_FIND: Errors = (*_READ, errors.RequestNotFound)

INSPECTOR: dict[tuple[str, str], Doc] = {
    ("GET", "/engines/requests"): Doc(
        "The last requests of each model, as Docker Model Runner gives them.",
        answer=list[dict[str, Any]],
        query=("model", "include_existing"),
        raises=_READ,
    ),
    ("GET", "/activity"): Doc(
        "Time series for charts.", answer=wire.ActivityView, query=("since", "step"), raises=_READ
    ),
    ("GET", "/metrics"): Doc("Metrics, for Prometheus.", media=TEXT, raises=(errors.UnknownRoute,)),
    ("GET", "/requests"): Doc(
        "Recorded requests.", answer=wire.RequestsPage, query=(*_FILTERS, "limit", "follow"), raises=_READ
    ),
    ("DELETE", "/requests"): Doc("Forget requests.", answer=dict[str, int], query=_FILTERS[1:], raises=_READ),
    ("GET", "/requests/diff"): Doc("Compare two.", answer=wire.RequestsDiff, query=("a", "b"), raises=_FIND),
    ("GET", "/requests/export"): Doc(
        "Requests for other programs.",
        media="application/x-ndjson",
        query=("format", *_FILTERS),
        raises=_READ,
    ),
    ("GET", "/requests/recorder"): Doc(
        "What the recorder keeps.", answer=wire.RecorderView, raises=(errors.StoreError,)
    ),
    ("GET", "/requests/statistics"): Doc(
        "Sums.", answer=list[wire.RequestStatistics], query=("by", *_FILTERS), raises=_READ
    ),
    ("GET", "/requests/{name}"): Doc("One request.", answer=wire.RecordedRequest, raises=_FIND),
    ("DELETE", "/requests/{name}"): Doc("Forget one.", answer=dict[str, int], raises=_FIND),
    ("GET", "/requests/{name}/export"): Doc(
        "One for another program.", media=TEXT, query=("format",), raises=_FIND
    ),
    ("POST", "/requests/{name}/replay"): Doc(
        "Ask again.",
        body=wire.ReplayRequest,
        answer=wire.RecordedRequest,
        query=("answer",),
        raises=(*_FIND, errors.Conflict, errors.RequestTooLarge),
    ),
}
