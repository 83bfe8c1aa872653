"""How the routes of the inspector are described; see `route_docs`."""

from typing import Any

from modelrunner import errors
from modelrunner.server.inspection.queries import FILTERS
from modelrunner.server.route_docs import TEXT, Doc, Errors
from modelrunner.wire.requests import (
    ActivityView,
    RecordedRequest,
    RecorderView,
    ReplayRequest,
    RequestsDiff,
    RequestsPage,
    RequestStatistics,
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
        "Time series for charts.", answer=ActivityView, query=("since", "step"), raises=_READ
    ),
    ("GET", "/metrics"): Doc("Metrics, for Prometheus.", media=TEXT, raises=(errors.UnknownRoute,)),
    ("GET", "/requests"): Doc(
        "Recorded requests.", answer=RequestsPage, query=(*FILTERS, "limit", "follow"), raises=_READ
    ),
    ("DELETE", "/requests"): Doc("Forget requests.", answer=dict[str, int], query=FILTERS[1:], raises=_READ),
    ("GET", "/requests/diff"): Doc("Compare two.", answer=RequestsDiff, query=("a", "b"), raises=_FIND),
    ("GET", "/requests/export"): Doc(
        "Requests for other programs.",
        media="application/x-ndjson",
        query=("format", *FILTERS),
        raises=_READ,
    ),
    ("GET", "/requests/recorder"): Doc(
        "What the recorder keeps.", answer=RecorderView, raises=(errors.StoreError,)
    ),
    ("GET", "/requests/statistics"): Doc(
        "Sums.", answer=list[RequestStatistics], query=("by", *FILTERS), raises=_READ
    ),
    ("GET", "/requests/{name}"): Doc("One request.", answer=RecordedRequest, raises=_FIND),
    ("DELETE", "/requests/{name}"): Doc("Forget one.", answer=dict[str, int], raises=_FIND),
    ("GET", "/requests/{name}/export"): Doc(
        "One for another program.", media=TEXT, query=("format",), raises=_FIND
    ),
    ("POST", "/requests/{name}/replay"): Doc(
        "Ask again.",
        body=ReplayRequest,
        answer=RecordedRequest,
        query=("answer",),
        raises=(*_FIND, errors.Conflict, errors.RequestTooLarge),
    ),
}
