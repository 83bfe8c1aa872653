"""`run` with one prompt."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

CHAT = "/engines/v1/chat/completions"


@pytest.fixture(autouse=True)
def _here(request: pytest.FixtureRequest) -> None:
    daemon = request.getfixturevalue("daemon")
    daemon.json("GET", "/models/m", {"id": "sha256:" + "a" * 64, "created": 0, "config": None})


def _asked(daemon: "Daemon") -> object:
    document = daemon.chats[-1].json
    assert isinstance(document, dict)
    return [message["content"] for message in document["messages"]]


def test_a_prompt_is_answered_on_stdout(daemon: "Daemon", dmr: "Run") -> None:
    """The answer and a final newline, nothing else."""
    daemon.says("Hel", "lo")

    outcome = dmr("run", "m", "say", "hello")

    assert (outcome.code, outcome.out, outcome.err) == (0, "Hello\n", "")
    assert daemon.chats[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "say hello"}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        ([], "piped text\n", "piped text"),
        (["sum", "up"], "a\nb\n", "sum up\n\na\nb"),
        (["typed"], "", "typed"),
    ],
)
def test_what_is_piped_in_is_part_of_the_prompt(
    daemon: "Daemon", dmr: "Run", words: list[str], stdin: str, expected: str
) -> None:
    """After a blank line when something was typed too."""
    daemon.says("ok")

    dmr("run", "m", *words, stdin=stdin)

    assert _asked(daemon) == [expected]


def test_files_are_read_for_typed_names_only(daemon: "Daemon", dmr: "Run", tmp_path: Path) -> None:
    """A text from elsewhere cannot have local files sent along."""
    (tmp_path / "secret.txt").write_text("SECRET")
    daemon.says("ok")

    dmr("run", "m", f"see @{tmp_path}/secret.txt", stdin=f"@{tmp_path}/secret.txt")

    assert _asked(daemon) == [f"see SECRET\n\n@{tmp_path}/secret.txt"]


def test_a_missing_model_is_pulled_first(daemon: "Daemon", dmr: "Run") -> None:
    """What happens is told on stderr; the answer stays alone on stdout."""
    daemon.text("GET", "/models/m", "model not found\n", status=404)
    daemon.lines("/models/create", {"type": "success", "message": "Model pulled successfully"})
    daemon.says("hi")

    outcome = dmr("run", "m", "hello")

    assert outcome.out == "hi\n"
    assert outcome.err == (
        "Unable to find model 'm' locally. Pulling from the server.\nModel pulled successfully\n"
    )


def test_detach_loads_and_leaves(daemon: "Daemon", dmr: "Run") -> None:
    """The request asks for loading only; nothing is read or printed."""
    outcome = dmr("run", "-d", "m", stdin="not read")

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert daemon.paths == ["GET /models/m", f"POST {CHAT}"]
    assert daemon.seen[1].headers["X-Preload-Only"] == "true"
    assert json.loads(daemon.seen[1].body)["messages"] == []


def test_no_prompt_and_no_terminal_is_an_error(dmr: "Run") -> None:
    """There is nobody to ask."""
    outcome = dmr("run", "m")

    assert outcome.code == 2
    assert outcome.err.startswith("error: no prompt was given")


def test_an_engine_s_failure_is_told(daemon: "Daemon", dmr: "Run") -> None:
    """Before the answer: the daemon's own words."""
    daemon.refuses(CHAT, "engine_failed", "the engine crashed: out of memory", status=500)

    outcome = dmr("run", "m", "x")

    assert outcome.code == 1
    assert "error: the engine crashed: out of memory\n" in outcome.err


def test_a_failure_in_the_middle_keeps_what_came(daemon: "Daemon", dmr: "Run") -> None:
    """The text so far, then the error event's message."""
    daemon.stream(
        b'data: {"choices":[{"delta":{"content":"Once upon"}}]}\n\n',
        b'data: {"error":{"message":"the engine died","code":"engine_failed"}}\n\n',
    )

    outcome = dmr("run", "m", "x")

    assert (outcome.code, outcome.out, outcome.err) == (1, "Once upon\n", "error: the engine died\n")


def test_a_stream_that_just_stops_is_an_error(daemon: "Daemon", dmr: "Run") -> None:
    """Silence is no end of an answer."""
    daemon.stream(b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n')

    outcome = dmr("run", "m", "x")

    assert (outcome.code, outcome.out) == (1, "Once\n")
    assert outcome.err.startswith("error: the answer was cut off")


def test_colour_renders_code_blocks(daemon: "Daemon", dmr: "Run") -> None:
    """Only when it was asked for."""
    daemon.says("```python\nx = 1\n```\n")

    out = dmr("run", "--color", "yes", "m", "x").out

    assert "```" not in out
    assert "\x1b[" in out


def test_an_unknown_choice_of_colour_is_refused(dmr: "Run") -> None:
    """The three that exist are named."""
    outcome = dmr("run", "--color", "maybe", "m", "x")

    assert outcome.code == 2
    assert "must be one of: auto, yes, no (got `maybe`)" in outcome.err


def test_an_answer_comes_as_lines_of_json(daemon: "Daemon", dmr: "Run") -> None:
    """Token counts are asked for; an error is a line too."""
    daemon.says("Hel", "lo")

    outcome = dmr("run", "--json", "m", "x")

    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err) == (0, "")
    assert lines == [
        {"type": "content", "text": "Hel"},
        {"type": "content", "text": "lo"},
        {"type": "done", "finish_reason": "stop"},
    ]
    asked = daemon.chats[0].json
    assert isinstance(asked, dict)
    assert asked["stream_options"] == {"include_usage": True}

    daemon.replies.clear()
    daemon.json("GET", "/models/m", {"id": "sha256:" + "a" * 64, "created": 0, "config": None})
    daemon.refuses(CHAT, "engine_failed", "out of memory", status=500)
    outcome = dmr("run", "--json", "m", "x")

    assert (outcome.code, outcome.err) == (1, "")
    assert json.loads(outcome.out) == {
        "type": "error",
        "message": "out of memory",
        "code": "engine_failed",
        "hint": "do better",
    }


def test_another_server_is_asked_directly(daemon: "Daemon", dmr: "Run", tmp_path: Path) -> None:
    """Nothing is pulled, and files are not looked for."""
    daemon.stream(b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n')
    daemon.replies["POST", "/v1/chat/completions"] = daemon.replies.pop(("POST", CHAT))
    (tmp_path / "a.txt").write_text("ALPHA")

    outcome = dmr("run", "--openaiurl", f"{daemon.url}/v1", "m", f"see @{tmp_path}/a.txt")

    assert (outcome.code, outcome.out) == (0, "hi\n")
    assert daemon.paths == ["POST /v1/chat/completions"]
    assert f"see @{tmp_path}/a.txt" in daemon.seen[0].body.decode()
    assert "Authorization" not in daemon.seen[0].headers


def test_the_web_is_searched_only_when_that_is_asked_for(daemon: "Daemon", dmr: "Run") -> None:
    """The model is offered the function by a flag."""
    daemon.says("ok")

    dmr("run", "m", "x")
    dmr("run", "--websearch", "m", "x")

    first, second = [seen.json for seen in daemon.chats]
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert "tools" not in first
    assert [tool["function"]["name"] for tool in second["tools"]] == ["web_search"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--detach", "--openaiurl", "http://x", "m"], "--detach flag cannot be used with --openaiurl flag"),
        (["--openaiurl", "nonsense", "m", "x"], "--openaiurl is no address: `nonsense`"),
    ],
)
def test_flags_that_make_no_sense_are_refused(dmr: "Run", arguments: list[str], expected: str) -> None:
    """By name."""
    outcome = dmr("run", *arguments)

    assert outcome.code == 2
    assert f"error: {expected}\n" in outcome.err


def test_a_model_searches_the_web(daemon: "Daemon", dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for is told on stderr, and it answers with what was found."""
    monkeypatch.setenv("DMR_WEBSEARCH", daemon.url)
    daemon.json("GET", "/search", {"results": [{"title": "Cats", "url": "http://c", "content": "meow"}]})
    call = {"index": 0, "id": "c1", "function": {"name": "web_search", "arguments": '{"query": "cats"}'}}
    event = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    daemon.stream(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())
    daemon.says("They say meow.")

    outcome = dmr("run", "--websearch", "m", "what do cats say?")

    assert outcome.out == "They say meow.\n"
    assert outcome.err == '[tool] calling web_search with args: {"query": "cats"}\n'
    assert [seen.query for seen in daemon.seen if seen.path == "/search"] == [{"q": "cats", "format": "json"}]
    second = daemon.chats[1].json
    assert isinstance(second, dict)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][2]["content"].endswith("Cats\nhttp://c\nmeow")


def test_bytes_that_are_no_text_are_replaced(daemon: "Daemon", dmr: "Run") -> None:
    """As a shell hands them over, or a pipe; what is no text at all is refused."""
    daemon.says("ok")

    assert dmr("run", "m", "typed \udcff", stdin="piped \udce9").code == 0
    assert _asked(daemon) == ["typed \ufffd\n\npiped \ufffd"]
    outcome = dmr("run", "m", "see", stdin="\udc89PNG\0\0")

    assert outcome.code == 2
    assert "error: what was piped in is no text\n" in outcome.err
