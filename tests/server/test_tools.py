"""The calls that people's own tools make, replayed: what is sent, and what each reads of the answer.

Written after their own sources and documentation; their settings are in docs/guides/clients.md. A row is
a call with the tool's own headers and fields, also those that mean nothing here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon

JSON = dict[str, Any]
Reads = Callable[["Answer"], None]
WORDS = "one two three"
MODEL = "ai/tiny"
SDK = {
    "authorization": "Bearer not-needed",
    "accept": "application/json",
    "user-agent": "OpenAI/JS 4.96.0",
    "x-stainless-lang": "js",
    "x-stainless-retry-count": "0",
}
TOOL: JSON = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Reads a file.",
        "parameters": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
    },
}
PIXEL = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def user(content: Any = WORDS) -> JSON:
    return {"role": "user", "content": content}


def text(words: str = WORDS) -> JSON:
    return {"type": "text", "text": words}


SYSTEM = {"role": "system", "content": "You are a careful assistant."}


def events(answer: "Answer") -> list[str]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]


def chunks(answer: "Answer") -> None:
    """A stream of chat chunks as SDKs read it, closed by `[DONE]`."""
    *data, done = events(answer)
    found = [json.loads(each) for each in data]
    said = [choice["delta"].get("content") or "" for chunk in found for choice in chunk["choices"]]

    assert "[DONE]" == done
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in found}
    assert WORDS == "".join(said)
    assert "stop" in {choice["finish_reason"] for chunk in found for choice in chunk["choices"]}


def counted_chunks(answer: "Answer") -> None:
    """And the last one counts tokens, without a choice."""
    chunks(answer)
    last = json.loads(events(answer)[-2])

    assert [] == last["choices"]
    assert last["usage"]["prompt_tokens"] > 0
    assert 3 == last["usage"]["completion_tokens"]


def message(answer: "Answer") -> None:
    """A whole chat completion."""
    assert WORDS == answer.json["choices"][0]["message"]["content"]
    assert "stop" == answer.json["choices"][0]["finish_reason"]
    assert answer.json["usage"]["total_tokens"] > 0


def completion(answer: "Answer") -> None:
    """A whole completion."""
    assert WORDS == answer.json["choices"][0]["text"]


def completion_chunks(answer: "Answer") -> None:
    *data, done = events(answer)

    assert "[DONE]" == done
    assert WORDS == "".join(json.loads(each)["choices"][0]["text"] for each in data)


def models(answer: "Answer") -> None:
    assert [f"{MODEL}:latest"] == [each["id"] for each in answer.json["data"]]
    assert {"model"} == {each["object"] for each in answer.json["data"]}


def vectors(answer: "Answer") -> None:
    assert [0, 1] == [each["index"] for each in answer.json["data"]]
    assert all(isinstance(each["embedding"], list) for each in answer.json["data"])


def lines(answer: "Answer") -> None:
    """Ollama's lines of a chat."""
    *said, last = answer.lines

    assert WORDS == "".join(line["message"]["content"] for line in said)
    assert (True, "stop") == (last["done"], last["done_reason"])
    assert {"total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration"} <= set(
        last
    )


def generated(answer: "Answer") -> None:
    """Ollama's lines of a completion."""
    assert WORDS == "".join(line.get("response", "") for line in answer.lines)
    assert answer.lines[-1]["done"]


def shown(answer: "Answer") -> None:
    assert {"details", "model_info", "capabilities", "template"} <= set(answer.json)
    assert "completion" in answer.json["capabilities"]


def tags(answer: "Answer") -> None:
    [model] = answer.json["models"]

    assert f"{MODEL}:latest" == model["name"] == model["model"]
    assert {"size", "digest", "modified_at", "details"} <= set(model)


def messages(answer: "Answer") -> None:
    """Anthropic's events, in their order."""
    found = [json.loads(each) for each in events(answer)]
    kinds = [event["type"] for event in found]

    assert "message_start" == kinds[0]
    assert ["message_delta", "message_stop"] == kinds[-2:]
    assert 0 == found[0]["message"]["usage"]["input_tokens"]  # which is known at the end
    assert 0 < found[-2]["usage"]["input_tokens"]
    assert WORDS == "".join(event.get("delta", {}).get("text", "") for event in found)
    assert "end_turn" == found[-2]["delta"]["stop_reason"]


def responses(answer: "Answer") -> None:
    """The Responses API's events: the last has the whole response."""
    found = [json.loads(each) for each in events(answer)]
    last = found[-1]["response"]

    assert "response.created" == found[0]["type"]
    assert "response.completed" == found[-1]["type"]
    assert WORDS == last["output"][-1]["content"][0]["text"]
    assert last["usage"]["total_tokens"] > 0
    done = [event["item"]["type"] for event in found if event["type"] == "response.output_item.done"]
    assert ["message"] == done


def counted(answer: "Answer") -> None:
    assert answer.json["input_tokens"] > 0


def runs(answer: "Answer") -> None:
    assert "Docker Model Runner is running" in answer.text
    assert "The service is running" in answer.text


def native_models(answer: "Answer") -> None:
    [model] = answer.json

    assert [f"{MODEL}:latest"] == model["tags"]
    assert isinstance(model["created"], int)


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool sends, and what it reads of the answer."""

    tool: str
    method: str
    path: str
    reads: Reads
    body: JSON | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def openai_chat(tool: str, base: str, reads: Reads = counted_chunks, **more: Any) -> Call:
    """A streamed chat as OpenAI's SDK for JavaScript sends it."""
    body = {"model": MODEL, "messages": [SYSTEM, user()], "stream": True, **more}
    if reads is counted_chunks:
        body["stream_options"] = {"include_usage": True}
    return Call(tool, "POST", f"{base}/chat/completions", reads, body, SDK)


ENGINES, V1 = "/engines/v1", "/v1"
OLLAMA = {"model": MODEL, "messages": [user()], "options": {"temperature": 0.7, "num_ctx": 2048}}
CLAUDE = {
    "x-api-key": "sk-docker-model-runner",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
    "x-app": "cli",
}
CACHED = {"cache_control": {"type": "ephemeral"}}
CLAUDE_BODY: JSON = {
    "model": MODEL,
    "max_tokens": 32000,
    "temperature": 1,
    "stream": True,
    "system": [
        {**text("x-anthropic-billing-header: cc_version=2.1"), **CACHED},
        {**text("Be careful."), **CACHED},
    ],
    "messages": [
        user([text("<system-reminder>Today is Monday.</system-reminder>"), {**text(WORDS), **CACHED}]),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": "/a"}}],
        },
        user(
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [text("1: hello")],
                    "is_error": False,
                },
                {**text(WORDS), **CACHED},
            ]
        ),
    ],
    "tools": [{"name": "Read", "description": "Reads.", "input_schema": TOOL["function"]["parameters"]}],
    "metadata": {"user_id": "user_abc_account__session_def"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "medium"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}
CODEX = {
    "authorization": "Bearer sk-docker-model-runner",
    "accept": "text/event-stream",
    "originator": "codex_cli_rs",
    "session_id": "0199e0c4-0000-7000-8000-000000000000",
    "openai-beta": "responses=experimental",
}
CODEX_BODY: JSON = {
    "model": MODEL,
    "instructions": "You are a coding agent.",
    "input": [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "<permissions/>"}],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment/>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": WORDS}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
        {
            "type": "function_call",
            "name": "exec_command",
            "arguments": '{"cmd":"ls"}',
            "call_id": "call_1",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "README.md"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": WORDS}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs.",
            "strict": False,
            "parameters": {},
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199e0c4-0000-7000-8000-000000000000",
    "text": {"verbosity": "low"},
}
WEBUI = {
    "authorization": "Bearer not-needed",
    "content-type": "application/json",
    "x-openwebui-user-name": "Ann",
    "x-openwebui-user-role": "admin",
}

CALLS = (
    openai_chat("Cline", ENGINES, temperature=0, messages=[SYSTEM, user([text()])]),
    openai_chat(
        "Cline with a screenshot",
        ENGINES,
        temperature=0,
        messages=[
            SYSTEM,
            user([text(), {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{PIXEL}"}}]),
        ],
    ),
    Call("Continue", "GET", f"{ENGINES}/models", models, headers=SDK),
    openai_chat("Continue", ENGINES, chunks, max_tokens=4096, tools=[TOOL], parallel_tool_calls=False),
    Call(
        "Continue, completing",
        "POST",
        f"{ENGINES}/completions",
        completion_chunks,
        {
            "model": MODEL,
            "prompt": WORDS,
            "max_tokens": 64,
            "temperature": 0.01,
            "stop": ["\n\n"],
            "stream": True,
        },
        SDK,
    ),
    Call(
        "Continue, indexing",
        "POST",
        f"{ENGINES}/embeddings",
        vectors,
        {"model": MODEL, "input": ["a", "b"]},
        SDK,
    ),
    Call("Continue (Ollama)", "GET", "/api/tags", tags),
    Call("Continue (Ollama)", "POST", "/api/show", shown, {"name": MODEL}),
    Call("Continue (Ollama)", "POST", "/api/chat", lines, {**OLLAMA, "stream": True, "keep_alive": 1800}),
    Call(
        "Continue (Ollama), completing",
        "POST",
        "/api/generate",
        generated,
        {"model": MODEL, "prompt": WORDS, "raw": True, "options": {"num_predict": 64, "stop": ["\n\n"]}},
    ),
    Call("Cursor, verifying", "GET", f"{ENGINES}/models", models, headers=SDK),
    openai_chat(
        "Cursor", ENGINES, chunks, temperature=0, user="google-oauth2|1", tools=[TOOL], tool_choice="auto"
    ),
    openai_chat(
        "Zed",
        ENGINES,
        messages=[SYSTEM, user([text()])],
        stop=[],
        temperature=1.0,
        max_completion_tokens=4096,
        parallel_tool_calls=False,
        tools=[TOOL],
        tool_choice="auto",
        prompt_cache_key="thread-1",
    ),
    Call("Open WebUI (Ollama)", "GET", "/api/version", lambda answer: answer.json["version"]),
    Call("Open WebUI (Ollama)", "GET", "/api/tags", tags, headers=WEBUI),
    Call("Open WebUI (Ollama)", "GET", "/api/ps", lambda answer: answer.json["models"], headers=WEBUI),
    Call("Open WebUI (Ollama)", "POST", "/api/show", shown, {"model": MODEL}, WEBUI),
    Call("Open WebUI (Ollama)", "POST", "/api/chat", lines, {**OLLAMA, "stream": True}, WEBUI),
    Call(
        "Open WebUI (Ollama), titles",
        "POST",
        "/api/chat",
        lambda answer: answer.json["message"]["content"],
        {**OLLAMA, "stream": False, "options": {"num_predict": 1000}},
        WEBUI,
    ),
    Call("Open WebUI (OpenAI)", "GET", f"{ENGINES}/models", models, headers=WEBUI),
    Call(
        "Open WebUI (OpenAI)",
        "POST",
        f"{ENGINES}/chat/completions",
        counted_chunks,
        {"model": MODEL, "messages": [user()], "stream": True, "stream_options": {"include_usage": True}},
        WEBUI,
    ),
    Call(
        "Open WebUI (OpenAI), embedding",
        "POST",
        f"{ENGINES}/embeddings",
        vectors,
        {"model": MODEL, "input": ["a", "b"]},
        WEBUI,
    ),
    openai_chat("Aider", ENGINES, chunks, temperature=0),
    Call(
        "Aider, committing",
        "POST",
        f"{ENGINES}/chat/completions",
        message,
        {"model": MODEL, "messages": [SYSTEM, user()], "stream": False, "temperature": 0},
        {**SDK, "user-agent": "OpenAI/Python 1.99.1", "x-stainless-lang": "python"},
    ),
    openai_chat("LangChain", ENGINES, n=1, temperature=0.7),
    openai_chat("LangChain.js", ENGINES, n=1, temperature=0.7, tools=[TOOL], tool_choice="auto"),
    Call(
        "LlamaIndex",
        "POST",
        f"{ENGINES}/completions",
        completion,
        {"model": MODEL, "prompt": WORDS, "max_tokens": 256, "temperature": 0.1, "stream": False},
        SDK,
    ),
    Call(
        "LlamaIndex, as a chat",
        "POST",
        f"{ENGINES}/chat/completions",
        message,
        {"model": MODEL, "messages": [user()], "temperature": 0.1, "stream": False},
        SDK,
    ),
    openai_chat(
        "OpenCode", V1, max_tokens=32000, temperature=0.55, top_p=1, tools=[TOOL], tool_choice="auto"
    ),
    *(
        call
        for base in ("", "/anthropic")
        for call in (
            Call("Claude Code", "POST", f"{base}/v1/messages?beta=true", messages, CLAUDE_BODY, CLAUDE),
            Call(
                "Claude Code, counting",
                "POST",
                f"{base}/v1/messages/count_tokens?beta=true",
                counted,
                {name: CLAUDE_BODY[name] for name in ("model", "messages", "system", "tools", "thinking")},
                CLAUDE,
            ),
        )
    ),
    Call("Claude Code, models", "GET", "/anthropic/v1/models?limit=1000", lambda answer: answer.json["data"]),
    Call("Codex", "GET", "/v1/models", models, headers=CODEX),
    Call("Codex", "POST", "/v1/responses", responses, CODEX_BODY, CODEX),
    Call("AnythingLLM", "GET", f"{ENGINES}/models", models, headers=SDK),
    Call("AnythingLLM", "GET", "/models", native_models),
    openai_chat("AnythingLLM", ENGINES, temperature=0.7),
    Call("Testcontainers", "GET", "/", runs),
    Call("Testcontainers", "GET", "/status", runs),
    Call("Testcontainers", "GET", "/models", native_models),
    Call("Testcontainers", "GET", f"{ENGINES}/models", models),
    Call("Testcontainers", "GET", "/models/ai/tiny:latest", lambda answer: answer.json["id"]),
    openai_chat("Compose, with its slash", "/engines/v1/", chunks),
    Call(
        "A container", "GET", "/engines/v1/models", models, headers={"host": "model-runner.docker.internal"}
    ),
    Call("A container", "GET", "/v1/models", models, headers={"host": "host.docker.internal:12434"}),
    openai_chat("Docker's socket", "/exp/vDD4.40/engines/v1", chunks),
    Call("Docker's socket", "GET", "/exp/vDD4.40/models", native_models),
    Call("Docker's socket", "GET", "/exp/vDD4.40/v1/models", models),
    Call(
        "GitHub Actions",
        "POST",
        "/engines/llama.cpp/v1/chat/completions",
        message,
        {"model": MODEL, "messages": [SYSTEM, user()]},
        {"content-type": "application/json", "user-agent": "curl/8.5.0"},
    ),
)


async def test_the_calls_of_tools_give_what_they_read(able: "Daemon") -> None:
    """Each is answered with 200, in the form that its tool takes apart."""
    for call in CALLS:
        options: JSON = {"headers": {"content-type": "application/json", **call.headers}}
        if call.body is not None:
            options["data"] = json.dumps(call.body)
        answer = await able.ask(call.method, call.path, **options)
        what = f"{call.tool}: {call.method} {call.path}: {answer.status} {answer.text[:300]}"

        assert 200 == answer.status, what
        try:
            call.reads(answer)
        except (AssertionError, LookupError, ValueError, TypeError) as exc:
            raise AssertionError(what) from exc


@pytest.mark.parametrize("path", ["/api/pull", "/models/create"])
async def test_tools_that_pull_read_lines(able: "Daemon", path: str) -> None:
    """Open WebUI and Testcontainers; a model that is nowhere has a status, which both look at."""
    body = {"model": "127.0.0.1:1/team/nothing", "from": "127.0.0.1:1/team/nothing"}
    answer = await able.ask("POST", path, data=json.dumps(body))

    assert answer.status >= 400
    assert "127.0.0.1:1" in answer.text


async def test_what_an_agent_brings_that_is_not_here_is_told(able: "Daemon") -> None:
    """Codex sends a search of OpenAI's along: the model gets the functions, and a header says so."""
    answer = await able.ask("POST", "/v1/responses", json=CODEX_BODY)
    alone = await able.ask("POST", "/v1/responses", json={**CODEX_BODY, "tools": CODEX_BODY["tools"][1:]})

    assert (200, "web_search") == (answer.status, answer.headers["x-tools-left-out"])
    assert 400 == alone.status
