"""What the data path noted becomes what is stored."""

import json
from typing import Any

import pytest

from modelrunner.recorder.reading import read_noted
from modelrunner.recorder.redaction import Rules, rules_of
from modelrunner.recorder.values import Entry
from tests.recorder.conftest import entry, noted

_STREAM = "text/event-stream"


def test_a_request_is_read_with_its_counts_and_its_times() -> None:
    found = entry()

    assert "hello" == found.prompt
    assert "Hi there!" == found.answer
    summary = found.summary
    assert (10, 5, 15, 4096) == (
        summary["prompt_tokens"],
        summary["completion_tokens"],
        summary["context_used"],
        summary["context_size"],
    )
    assert ("openai", "ok", "OpenAI/Python", "stop") == (
        summary["dialect"],
        summary["outcome"],
        summary["caller"],
        summary["finish_reason"],
    )


@pytest.mark.parametrize(
    ("asked", "phases"),
    [
        (0.5, {"queued": 0.2, "loading": 0.3, "prompt": 0.2, "tokens": 0.5, "end": 0.05}),
        (0.6, {"queued": 0.3, "loading": 0.3, "prompt": 0.1, "tokens": 0.5, "end": 0.05}),
        (None, {"queued": 0.2, "loading": 0.3, "prompt": None, "tokens": None, "end": 0.75}),
    ],
    ids=["queued at once", "understood first", "never asked"],
)
def test_the_phases_of_a_stream_add_up_to_its_time(
    asked: float | None, phases: dict[str, float | None]
) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "x"}}]}
    stream = b"data: %b\n\n" % json.dumps(chunk).encode()
    found = entry(answer_type=_STREAM, response=stream, asked=asked)

    timeline = found.detail["timeline"]
    assert phases == pytest.approx(timeline)
    assert found.summary["seconds"] == pytest.approx(sum(each or 0.0 for each in timeline.values()))


def test_a_whole_answer_has_its_first_token_where_the_engine_says() -> None:
    found = entry(
        response={
            "choices": [],
            "timings": {"prompt_ms": 100, "predicted_ms": 400, "predicted_per_second": 10},
        }
    )

    assert found.summary["first_token"] == pytest.approx(0.6)
    assert 10 == found.summary["tokens_per_second"]
    assert found.detail["timeline"]["prompt"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("read", "first"), [(300, 0.8), (100, 0.7), (9000, 1.2)], ids=["later", "earlier", "longer than all"]
)
def test_the_first_token_of_a_stream_is_no_piece_that_only_announces_it(read: float, first: float) -> None:
    """Anthropic's begins before its prompt is read, with how far that is."""
    stream = b'data: {"type": "message_start", "message": {"type": "message"}}\n\n'
    words = b'data: {"timings":{"prompt_ms":%d,"predicted_per_second":10}}\n\n' % read
    found = entry(path="/anthropic/v1/messages", answer_type=_STREAM, response=stream, engine=words)

    timeline = found.detail["timeline"]
    assert first == pytest.approx(found.summary["first_token"])
    assert (first - 0.5, 1.2 - first) == pytest.approx((timeline["prompt"], timeline["tokens"]))


_ERROR = {"error": {"message": "it broke"}}


@pytest.mark.parametrize(
    "what",
    [
        {"status": 404, "asked": None, "response": _ERROR},
        {"status": 500, "asked": None, "response": b"the engine ended"},
        {"status": 400, "response": _ERROR},
        {"asked": None, "answer_type": _STREAM, "response": b"data: %b\n\n" % json.dumps(_ERROR).encode()},
        {"answer_type": _STREAM, "response": b"data: %b\n\n" % json.dumps(_ERROR).encode()},
        {
            "outcome": "cancelled",
            "path": "/anthropic/v1/messages",
            "answer_type": _STREAM,
            "response": b'data: {"type": "message_start", "message": {"type": "message"}}\n\n',
        },
    ],
    ids=[
        *("refused", "no engine", "the engine's error", "a stream without an engine", "a stream of an error"),
        "left while the prompt was read",
    ],
)
def test_what_has_no_token_has_no_first_one(what: dict[str, Any]) -> None:
    found = entry(**{"outcome": "failed", **what})

    assert found.summary["first_token"] is None
    assert found.detail["timeline"]["prompt"] is None


def test_the_engine_s_times_are_known_where_the_dialect_has_no_place_for_them() -> None:
    words = (
        b'...:1}],"timings":{"prompt_n":3,"prompt_ms":30.0,"predicted_per_second":12.5}}\n\ndata: [DONE]\n\n'
    )
    found = entry(path="/anthropic/v1/messages", response={"type": "message", "content": []}, engine=words)

    assert 12.5 == found.summary["tokens_per_second"]


def test_callers_with_an_api_key_are_told_apart_without_it() -> None:
    one, same, other = (entry(key=key).summary["caller"] for key in ("Bearer a", "Bearer a", "Bearer b"))

    assert one == same != other
    assert one.startswith("OpenAI/Python key:")
    assert "Bearer" not in one


def test_the_body_is_kept_byte_for_byte_when_nothing_in_it_is_replaced() -> None:
    body = b'{"model": "ai/tiny",  "messages": [], "x": 1.50}'

    assert body.decode() == entry(body=body).request


@pytest.mark.parametrize("path", ["/engines/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize("field", ["prompt", "input"])
@pytest.mark.parametrize("tokens", [list(range(100)), [list(range(100)), list(range(70))]])
def test_a_prompt_in_tokens_is_kept_whole(path: str, field: str, tokens: list[object]) -> None:
    """It is what a replay sends; only of an answer's vectors are the first numbers enough."""
    body = {"model": "ai/tiny", field: tokens}
    found = entry(path=path, body=body, response={"data": [{"embedding": [0.5] * 768}]})

    assert body == json.loads(found.request)
    assert found.response is not None
    assert [0.5] * 8 == json.loads(found.response)["data"][0]["embedding"]


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "x" * 10_000_000, "\x00"],
)
def test_a_prompt_may_be_anything(text: str) -> None:
    assert text == entry(prompt=text).prompt


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    found = entry(body=b'{"messages": [{"role": "user", "content": "a\\ud800b"}]}')

    assert "a?b" == found.prompt
    found.request.encode()


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"nonsense", b"[1, 2", b"[" * 100_000, b"null", b"3"])
def test_a_body_may_be_no_json_at_all(body: bytes) -> None:
    found = entry(body=body, response=body or b"x")

    assert "" == found.prompt
    assert isinstance(found, Entry)


def test_an_error_makes_it_failed_and_is_found() -> None:
    answer = {"error": {"message": "it broke"}}
    found = entry(status=500, outcome="failed", error="it broke", response=answer)

    assert ("failed", "it broke") == (found.summary["outcome"], found.summary["error"])


def test_of_a_form_the_fields_are_kept_and_of_its_files_what_stands_for_them() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nai/whisper\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\x00\x01\x02\r\n--b--\r\n"
    )
    found = entry(
        path="/v1/audio/transcriptions",
        request_type='multipart/form-data; boundary="b"',
        body=body,
        response={"text": "hello"},
    )

    request = json.loads(found.request)
    assert "ai/whisper" == request["model"]
    assert "3 bytes, audio/wav" in request["file"]
    assert "hello" == found.answer


def test_an_answer_of_sound_becomes_a_digest_and_a_size() -> None:
    found = entry(response=b"\x00\x01" * 1000, answer_type="audio/mpeg")

    assert found.response is not None
    assert "2000 bytes, audio/mpeg" in found.response


_KEY = "sk-proj-abcdefghijklmnopqrstuv"


@pytest.mark.parametrize(
    "body",
    [
        f'{{"messages": [{{"role": "user", "content": "{_KEY}"}}',
        f'{{"messages": [{{"role": "user", "content": "{_KEY}"}},]}}',
        f'{{"content": "{_KEY}", "x": {"[" * 5000}{"]" * 5000}}}',
        f'{{"content": "{_KEY}", "x": {"[" * 800}{"]" * 800}}}',
        f'{{"content": "{_KEY}", "content": "hello"}}',
        f'{{"messages": [], "content": "{_KEY}"}} and so on',
        f'{{"x": {"[" * 5000}{"]" * 5000}, "content": "{_KEY.replace("-", chr(92) + "u002d")}"}}',
        f'{{"content": "{_KEY.replace("-", chr(92) + "u002D")}"',
        f"\ufeff{{'content': '{_KEY}'}}",
        "\0".join(f'{{"content": "{_KEY}"}}'),
    ],
    ids=[
        *("broken off", "a comma too many", "deep", "just readable", "one name twice", "more after it"),
        *("deep and escaped", "broken off and escaped", "a mark before it", "of two bytes a letter"),
    ],
)
def test_no_body_is_kept_with_a_secret(body: str) -> None:
    """Nor an answer, whether it can be read or not."""
    rules = Rules(rules_of(["secrets"], None))
    found = read_noted(noted(body=body.encode(), response=body.encode()), rules, b"salt")

    kept = str(found).replace("\\\\", "\\").replace("\\x00", "").replace("\0", "").lower()
    assert _KEY not in kept
    assert _KEY.replace("-", "\\u002d") not in kept
    assert found.request


def test_a_long_token_is_redacted_before_anything_is_cut() -> None:
    """Of one whose middle was cut out, no rule would know the rest."""
    mail, signature = "YWRhQGV4YW1wbGUuY29t" * 30, "c2lnbmF0dXJl" * 4
    body = f'{{"content": "eyJhbGciOiJIUzI1NiJ9.eyJ{mail}.{signature}"'.encode()
    found = read_noted(noted(body=body), Rules(rules_of(["secrets"], None)), b"salt")

    assert mail[:40] not in str(found)
    assert signature not in str(found)


@pytest.mark.parametrize("kind", ["multipart/form-data", "Multipart/Form-Data", " multipart/form-data"])
def test_a_file_in_a_form_is_not_kept(kind: str) -> None:
    """However its client writes what the body is."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        b"what was said in the room\r\n--x--\r\n"
    )
    found = entry(body=body, request_type=f"{kind}; boundary=x")

    assert "what was said" not in str(found)
    assert "25 bytes" in found.request


def test_a_medium_in_a_body_that_cannot_be_read_is_not_kept() -> None:
    picture = "iVBORw0KGgo" * 400
    found = entry(body=f'{{"x": {"[" * 5000}{"]" * 5000}, "image": "{picture}"}}'.encode())

    assert picture not in found.request
    assert "truncated" in found.request


def test_a_stream_of_one_line_is_kept_as_it_was_read() -> None:
    """What is not read of it, and so not looked at, is not kept either."""
    line = {"model": "m", "message": {"role": "assistant", "content": "hi", "note": _KEY}, "done": True}
    rules = Rules(rules_of(["secrets"], None))
    found = read_noted(
        noted(path="/api/chat", answer_type="application/x-ndjson", response=json.dumps(line).encode()),
        rules,
        b"salt",
    )

    assert "hi" == found.answer
    assert _KEY not in str(found)


def test_a_stream_of_chunks_that_are_nested_too_deeply_is_kept_as_a_text() -> None:
    """Where each can be read as JSON, but nobody can walk through all of it."""
    stream = f'data: {{"choices": [], "x": {"[" * 800}{"]" * 800}}}\n\ndata: [DONE]\n\n'

    found = entry(answer_type="text/event-stream", response=stream.encode())

    assert found.response is not None
    assert "[" * 800 in found.response


def test_a_secret_in_a_header_is_not_kept() -> None:
    rules = Rules(rules_of(["secrets"], None))
    found = read_noted(noted(user_agent=f"tool/1 {_KEY}"), rules, b"salt")

    assert ("tool/1 [redacted key]", "tool") == (found.summary["user_agent"], found.summary["caller"])
