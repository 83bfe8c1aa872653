"""Tells of requests by OpenTelemetry: a trace of each with its phases, and metrics, by the GenAI conventions.

It runs in the recorder's process, so that exporting delays nothing. What was said is told only when
`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is true, and after redaction.
Source: OpenTelemetry semantic conventions 1.38 for generative AI, "Spans" and "Metrics"; W3C Trace Context.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from modelrunner import __version__
from modelrunner.recorder.documents import JSON, list_of, number_of, read_json, text_of
from modelrunner.recorder.values import Entry, Said

_NANO = 1_000_000_000
_CLOSE_WITHIN = 2.0  # seconds
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_USAGE, _DURATION = "gen_ai.client.token.usage", "gen_ai.server.request.duration"
_TO_FIRST, _PER_TOKEN = "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"
_BOUNDS = {_USAGE: _TOKENS, _DURATION: _SECONDS, _TO_FIRST: _FIRST, _PER_TOKEN: _EACH}
_NUMBERS = (
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("top_k", "gen_ai.request.top_k"),
    ("frequency_penalty", "gen_ai.request.frequency_penalty"),
    ("presence_penalty", "gen_ai.request.presence_penalty"),
)
_COUNTS = (
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("max_completion_tokens", "gen_ai.request.max_tokens"),
    ("max_output_tokens", "gen_ai.request.max_tokens"),
    ("num_predict", "gen_ai.request.max_tokens"),
    ("seed", "gen_ai.request.seed"),
    ("n", "gen_ai.request.choice.count"),
)
# By modes of engines; the conventions have no name for "rerank", and allow it.
_OPERATIONS = {
    "embedding": "embeddings",
    "reranking": "rerank",
    "image-generation": "generate_content",
    "transcription": "generate_content",
    "speech": "generate_content",
}
_FAILED = 400  # statuses from here on; an answer that began well may still break off
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_PHASES = (
    ("queued", "queue"),
    ("loading", "load model"),
    ("prompt", "read prompt"),
    ("tokens", "write answer"),
)


class Telemetry:
    """Exports as the variables `OTEL_…` of the environment say."""

    def __init__(self, environ: Mapping[str, str], complain: Callable[[str], None]) -> None:
        """`complain` is told what goes wrong with the export."""
        _send_complaints(complain)
        resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "modelrunner")})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._traces.get_tracer("modelrunner", __version__)
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
            for name, bounds in _BOUNDS.items()
        ]
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._metrics = MeterProvider(
            metric_readers=[reader], resource=resource, views=views, shutdown_on_exit=False
        )
        meter = self._metrics.get_meter("modelrunner", __version__)
        self._usage = meter.create_histogram(_USAGE, "{token}", "Tokens of prompts and answers")
        self._duration = meter.create_histogram(_DURATION, "s", "How long requests took")
        self._first = meter.create_histogram(_TO_FIRST, "s", "Time to the first token")
        self._each = meter.create_histogram(_PER_TOKEN, "s", "Time of each token after the first")
        self._captures = environ.get(_CAPTURE, "").lower() in {"true", "1", "span_only", "span_and_event"}

    def tell(self, entry: Entry, *, content: bool) -> None:
        """Tell of a request; `content` is whether what was said may be told."""
        summary, timeline = entry.summary, entry.detail["timeline"]
        began = int(summary["at"] * _NANO)
        ended = began + int(summary["seconds"] * _NANO)
        operation = _operation(summary)
        attributes = dict(_attributes(summary, entry.parameters, operation))
        if content and self._captures:
            attributes |= _said(entry)
        parent = (
            TraceContextTextMapPropagator().extract({"traceparent": entry.trace}) if entry.trace else None
        )
        span = self._tracer.start_span(
            f"{operation} {summary['model']}".strip(),
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=began,
        )
        if summary["outcome"] != "ok":
            span.set_status(Status(StatusCode.ERROR, summary["error"] or summary["outcome"]))
        inside, at = trace.set_span_in_context(span), began
        for name, title in _PHASES:
            took = timeline[name]
            if took:
                phase = self._tracer.start_span(title, context=inside, start_time=at)
                at = min(ended, at + int(took * _NANO))
                phase.end(at)
        span.end(ended)
        self._count(summary, timeline, operation)

    def close(self) -> None:
        """Send what is left, within a moment: the library goes on trying for long when nobody answers."""
        last = threading.Thread(target=self._send_rest, daemon=True)
        last.start()
        last.join(_CLOSE_WITHIN)

    def _send_rest(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown()

    def _count(self, summary: JSON, timeline: JSON, operation: str) -> None:
        common: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": summary["backend"] or "unknown",
            "gen_ai.request.model": summary["model"],
        }
        failed = {} if summary["outcome"] == "ok" else {"error.type": _error_type(summary)}
        self._duration.record(summary["seconds"], {**common, **failed})
        for name, kind in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            if summary[name]:
                self._usage.record(summary[name], {**common, "gen_ai.token.type": kind})
        if failed or summary["first_token"] is None:
            return
        self._first.record(summary["first_token"], common)
        tokens = summary["completion_tokens"]
        if tokens and tokens > 1 and timeline["tokens"]:
            self._each.record(timeline["tokens"] / (tokens - 1), common)


def _attributes(summary: JSON, parameters: JSON, operation: str) -> Iterator[tuple[str, Any]]:
    yield "gen_ai.operation.name", operation
    yield "gen_ai.provider.name", summary["backend"] or "unknown"
    yield "gen_ai.request.model", summary["model"]
    yield "http.request.method", summary["method"]
    yield "url.path", summary["path"]
    yield "http.response.status_code", summary["status"]
    yield "user_agent.original", summary["user_agent"]
    yield "modelrunner.request.id", summary["request_id"]
    if summary["model_id"]:
        yield "gen_ai.response.model", summary["model_id"]
    if summary["outcome"] != "ok":
        yield "error.type", _error_type(summary)
    yield from _parameters(parameters)
    for name, attribute in (
        ("prompt_tokens", "gen_ai.usage.input_tokens"),
        ("completion_tokens", "gen_ai.usage.output_tokens"),
        ("cached_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ):
        if summary[name] is not None:
            yield attribute, summary[name]
    if summary["finish_reason"]:
        yield "gen_ai.response.finish_reasons", [summary["finish_reason"]]


def _parameters(parameters: JSON) -> Iterator[tuple[str, Any]]:
    options = {**parameters, **(parameters["options"] if isinstance(parameters.get("options"), dict) else {})}
    for name, attribute in _NUMBERS:
        number = number_of(options.get(name))
        if number is not None:
            yield attribute, number
    for name, attribute in _COUNTS:
        number = number_of(options.get(name))
        if number is not None:
            yield attribute, int(number)
    stop = options.get("stop", options.get("stop_sequences"))
    stops = [stop] if isinstance(stop, str) else [text for each in list_of(stop) if (text := text_of(each))]
    if stops:
        yield "gen_ai.request.stop_sequences", stops


def _said(entry: Entry) -> dict[str, str]:
    asked = [{"role": said.role, "parts": _parts(said)} for said in entry.messages]
    parts = _parts(Said("assistant", entry.answer, entry.calls))
    if entry.reasoning:
        parts.insert(0, {"type": "reasoning", "content": entry.reasoning})
    answered = [
        {"role": "assistant", "parts": parts, "finish_reason": entry.summary["finish_reason"] or "stop"}
    ]
    return {
        "gen_ai.input.messages": msgspec.json.encode(asked).decode(),
        "gen_ai.output.messages": msgspec.json.encode(answered).decode(),
    }


def _parts(said: Said) -> list[JSON]:
    parts: list[JSON] = [{"type": "text", "content": said.text}] if said.text or not said.calls else []
    for call in said.calls:
        given = read_json(call.arguments)
        arguments = call.arguments if given is None else given
        parts.append({"type": "tool_call", "id": call.id or None, "name": call.name, "arguments": arguments})
    return parts


def _operation(summary: JSON) -> str:
    if summary["mode"] in _OPERATIONS:
        return _OPERATIONS[summary["mode"]]
    path = summary["path"]
    if path.endswith(("/completions", "/generate")) and not path.endswith("/chat/completions"):
        return "text_completion"
    return "chat"


def _error_type(summary: JSON) -> str:
    if summary["outcome"] == "cancelled":
        return "cancelled"
    return str(summary["status"]) if summary["status"] >= _FAILED else "_OTHER"


class _Complaints(logging.Handler):
    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        self._complain(record.getMessage())


def _send_complaints(complain: Callable[[str], None]) -> None:
    """Have the library tell us, and not the terminal, what goes wrong."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [_Complaints(complain)]
