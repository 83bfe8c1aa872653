"""What is told by OpenTelemetry, as a receiver of its protocol gets it."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelrunner.recorder.process import Recorder
from modelrunner.recorder.values import Order
from tests.recorder.conftest import noted, notes


class Receiver:
    """Takes traces and metrics over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.service = ""
        self.status = 200

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.service = attributes(resource.resource.attributes)["service.name"]
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in found.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}


def attributes(found: Any) -> dict[str, Any]:
    values = {}
    for each in found:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        values[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return values


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    taken = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if taken.status == 200:
                taken.take(self.path, body)
            self.send_response(taken.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield taken
    server.shutdown()
    server.server_close()
    thread.join()


def told(*every: Any, environ: dict[str, str] | None = None, path: Path | None = None) -> None:
    order = Order(None if path is None else str(path), 1 << 20, 1e9, [("key", r"sk-\w+")], exports=True)
    recorder = Recorder(order, environ or {})
    recorder.take(notes(1, *every))
    recorder.close()


def test_a_request_becomes_a_trace_by_the_conventions(receiver: Receiver) -> None:
    body = {
        "model": "ai/tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": "end",
    }
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    told(noted(body=body, trace=trace, response={
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        "timings": {"prompt_ms": 100},
    }))  # fmt: skip

    [span] = [span for span in receiver.spans if span.name == "chat ai/tiny"]
    assert "modelrunner" == receiver.service
    assert ("ab" * 16, "cd" * 8) == (span.trace_id.hex(), span.parent_span_id.hex())
    assert 2 == span.kind  # of a server
    assert 1.25 == pytest.approx((span.end_time_unix_nano - span.start_time_unix_nano) / 1e9)
    found = attributes(span.attributes)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llama.cpp",
        "gen_ai.request.model": "ai/tiny",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ["end"],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ["stop"],
        "http.response.status_code": 200,
    }
    assert expected.items() <= found.items()
    phases = sorted(
        (each for each in receiver.spans if each.parent_span_id == span.span_id),
        key=lambda each: each.start_time_unix_nano,
    )
    assert ["queue", "load model", "read prompt", "write answer"] == [each.name for each in phases]
    assert all(span.start_time_unix_nano <= each.start_time_unix_nano for each in phases)
    assert all(each.end_time_unix_nano <= span.end_time_unix_nano for each in phases)


def test_what_was_said_is_told_only_when_wanted_and_after_redaction(receiver: Receiver) -> None:
    secret = noted("my key is sk-abc", "fine")
    told(secret)
    assert not any("messages" in key for span in receiver.spans for key in attributes(span.attributes))

    capture = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    told(secret, noted("nobody is to know", keep=False), environ=capture)

    said = [attributes(span.attributes).get("gen_ai.input.messages", "") for span in receiver.spans]
    assert [True] == ["[redacted key]" in text for text in said if text]


def test_tools_that_are_called_are_told_too(receiver: Receiver) -> None:
    def call(arguments: str) -> dict[str, Any]:
        return {"id": "t1", "type": "function", "function": {"name": "f", "arguments": arguments}}

    asked = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call('{"a":1}')]}]}
    message = {"role": "assistant", "content": "", "tool_calls": [call('{"a":'), call('{"b":2}')]}
    told(
        noted(body=asked, response={"choices": [{"message": message, "finish_reason": "tool_calls"}]}),
        environ={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"},
    )

    [found] = [found for span in receiver.spans if "url.path" in (found := attributes(span.attributes))]
    part = {"type": "tool_call", "id": "t1", "name": "f"}
    assert [{"role": "assistant", "parts": [{**part, "arguments": {"a": 1}}]}] == json.loads(
        found["gen_ai.input.messages"]
    )
    [said] = json.loads(found["gen_ai.output.messages"])
    assert [{**part, "arguments": '{"a":'}, {**part, "arguments": {"b": 2}}] == said["parts"]


@pytest.mark.parametrize(
    ("path", "mode", "operation"),
    [
        ("/v1/chat/completions", "completion", "chat"),
        ("/v1/completions", "completion", "text_completion"),
        ("/v1/embeddings", "embedding", "embeddings"),
        ("/rerank", "reranking", "rerank"),
        ("/v1/images/generations", "image-generation", "generate_content"),
    ],
)
def test_an_operation_is_called_by_what_it_is(
    receiver: Receiver, path: str, mode: str, operation: str
) -> None:
    told(noted(path=path, mode=mode))

    assert f"{operation} ai/tiny" in {span.name for span in receiver.spans}


def test_an_answer_that_breaks_off_has_no_status_for_an_error(receiver: Receiver) -> None:
    told(noted(status=200, outcome="failed", error="the engine ended"))

    [span] = [span for span in receiver.spans if span.name.startswith("chat")]
    assert "_OTHER" == attributes(span.attributes)["error.type"]


def test_a_failure_is_an_error_of_its_kind(receiver: Receiver) -> None:
    told(noted(status=503, outcome="failed", error="no memory", asked=None, first=None, last=None))

    [span] = [span for span in receiver.spans if span.name.startswith("chat")]
    assert (2, "no memory") == (span.status.code, span.status.message)
    assert "503" == attributes(span.attributes)["error.type"]
    [point] = receiver.metrics["gen_ai.server.request.duration"].histogram.data_points
    assert "503" == attributes(point.attributes)["error.type"]
    assert "gen_ai.server.time_to_first_token" not in receiver.metrics


def test_metrics_follow_the_conventions(receiver: Receiver) -> None:
    usage = b'"usage":{"prompt_tokens":10,"completion_tokens":6}'
    stream = b'data: {"choices":[{"delta":{"content":"x"}}],%b}\n\n' % usage
    told(*(noted(response=stream, answer_type="text/event-stream") for _ in range(3)))

    metrics = receiver.metrics
    assert {"{token}", "s"} == {metric.unit for metric in metrics.values()}
    tokens = {
        attributes(point.attributes)["gen_ai.token.type"]: point.sum
        for point in metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert {"input": 30, "output": 18} == tokens
    [each] = metrics["gen_ai.server.time_per_output_token"].histogram.data_points
    assert 3 == each.count
    assert 0.3 == pytest.approx(each.sum)
    [first] = metrics["gen_ai.server.time_to_first_token"].histogram.data_points
    assert 0.001 == first.explicit_bounds[0]
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llama.cpp",
        "gen_ai.request.model": "ai/tiny",
    } == attributes(first.attributes)


def test_a_receiver_that_refuses_loses_nothing_else_and_is_said_once(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 400
    order = Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, [], exports=True)
    recorder = Recorder(order)
    said = []
    for number in range(3):
        report = recorder.take(notes(number, noted()))
        assert [] != report.stored
        said += report.log
        assert recorder._telemetry is not None
        recorder._telemetry._traces.force_flush()
    said += recorder.take(notes(9)).log
    recorder.close()

    assert 1 == len(said)
    assert "OpenTelemetry" in said[0][1]
    assert [] == receiver.spans


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "modelrunner.recorder.otel", None)
    report = Recorder(Order(None, 0, 1.0, [], exports=True)).take(notes(1, noted()))

    assert "modelrunner[otel]" in report.log[0][1]
    assert (1, 0) == (report.batch, report.lost)
