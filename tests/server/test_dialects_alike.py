"""What holds for every dialect alike: names, limits, deadlines, pictures, contexts, each told in its form."""

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

JSON = dict[str, Any]
SLOW = {"tokens": 100_000, "tokens_per_second": 50}


def png(width: int, height: int) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)).decode()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one asks, looks and fails."""

    path: str
    asking: Callable[[str], JSON]
    looking: Callable[[str], JSON]
    message: Callable[[JSON], str]
    last: Callable[["Answer"], str]


def _openai(content: Any) -> JSON:
    return {"messages": [{"role": "user", "content": content}]}


def _anthropic(content: Any) -> JSON:
    return {"max_tokens": 100_000, **_openai(content)}


def _url(picture: str) -> str:
    return f"data:image/png;base64,{picture}"


DIALECTS = {
    "openai": Dialect(
        "/v1/chat/completions",
        _openai,
        lambda picture: _openai([{"type": "image_url", "image_url": {"url": _url(picture)}}]),
        lambda body: body["error"]["message"],
        lambda answer: answer.text.split("data: ")[-1],
    ),
    "responses": Dialect(
        "/v1/responses",
        lambda text: {"input": text},
        lambda picture: {
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": _url(picture)}]}]
        },
        lambda body: body["error"]["message"],
        lambda answer: answer.text.split("event: ")[-1],
    ),
    "anthropic": Dialect(
        "/anthropic/v1/messages",
        _anthropic,
        lambda picture: _anthropic(
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}]
        ),
        lambda body: body["error"]["message"],
        lambda answer: answer.text.split("event: ")[-1],
    ),
    "ollama": Dialect(
        "/api/chat",
        _openai,
        lambda picture: {"messages": [{"role": "user", "content": "", "images": [picture]}]},
        lambda body: body["error"],
        lambda answer: answer.text.splitlines()[-1],
    ),
}
each = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


async def ask(daemon: "Daemon", dialect: Dialect, *, stream: bool = False, **more: Any) -> "Answer":
    """Ask something small; `more` replaces fields of the body, `headers` are those of the request."""
    headers = more.pop("headers", {})
    body = {"model": "ai/tiny", "stream": stream, **dialect.asking("one two"), **more}
    return await daemon.ask("POST", dialect.path, json=body, headers=headers)


@each
async def test_a_model_has_the_same_names(daemon: "Daemon", dialect: Dialect) -> None:
    """Short, with a tag, with a registry, by its id or a piece of it, and Hugging Face's."""
    digest = await daemon.add("docker.io/ai/tiny:latest", "huggingface.co/org/tiny:Q4_K_M")
    names = ("tiny", "ai/tiny", "AI/Tiny:latest", "docker.io/ai/tiny", str(digest), digest.hex[:12])
    answers = [await ask(daemon, dialect, model=name) for name in (*names, "hf.co/org/tiny:Q4_K_M")]
    unknown = await ask(daemon, dialect, model="ai/absent")

    assert [200] * len(answers) == [answer.status for answer in answers]
    assert 404 == unknown.status
    assert "model not found: `ai/absent`" in dialect.message(unknown.json)
    assert 1 == len(daemon.residents)


@each
async def test_a_request_has_a_name(tiny: "Daemon", dialect: Dialect) -> None:
    """The client's own or one that is made up, whole, streamed, or refused; Anthropic's in its header too."""
    mine = {"x-request-id": "mine-7"}
    answers = [
        await ask(tiny, dialect, headers=mine),
        await ask(tiny, dialect, headers=mine, stream=True),
        await ask(tiny, dialect, headers=mine, model="ai/absent"),
    ]
    made_up = await ask(tiny, dialect)

    assert ["mine-7"] * 3 == [answer.headers["x-request-id"] for answer in answers]
    assert made_up.headers["x-request-id"].startswith("req_")
    if "anthropic" in dialect.path:
        assert {"mine-7"} == {answer.headers["request-id"] for answer in answers}


@each
async def test_a_body_has_a_limit(make_daemon: "Make", dialect: Dialect) -> None:
    """413, and the setting that raises it."""
    daemon = await make_daemon(DMR_BODY_LIMIT="1KiB")
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await ask(daemon, dialect, **dialect.asking("x" * 2000))

    assert 413 == answer.status
    assert "request too large" in dialect.message(answer.json)
    assert "DMR_BODY_LIMIT" in answer.text


@each
async def test_a_request_has_a_deadline(make_daemon: "Make", dialect: Dialect) -> None:
    """Its own by a header: 504, or in a stream its last event; the engine stops, and the lease is free."""
    daemon = await make_daemon(engine=SLOW)
    await daemon.add("docker.io/ai/tiny:latest")
    await ask(daemon, dialect, headers={"x-request-timeout": "20", "x-preload-only": "true"})
    soon = {"x-request-timeout": "0.3"}
    whole, streamed = [await ask(daemon, dialect, headers=soon, stream=stream) for stream in (False, True)]

    assert 504 == whole.status
    assert "deadline" in dialect.message(whole.json)
    assert 200 == streamed.status
    assert "deadline" in dialect.last(streamed)
    assert [0] == [resident.leases for resident in daemon.residents]


@each
@pytest.mark.parametrize("size", [(20_000, 8), (16_384, 16_384)])
async def test_a_picture_may_be_too_large(able: "Daemon", dialect: Dialect, size: tuple[int, int]) -> None:
    """Its few bytes would be unfolded to gigabytes; no engine sees them."""
    answer = await ask(able, dialect, **dialect.looking(png(*size)))

    assert 400 == answer.status
    assert f"image too large: `{size[0]}` x `{size[1]}` pixels" in dialect.message(answer.json)
    assert () == able.residents


@each
async def test_a_picture_may_be_none(able: "Daemon", dialect: Dialect) -> None:
    """400 as well."""
    answer = await ask(able, dialect, **dialect.looking("AAAA"))

    assert 400 == answer.status
    assert "no PNG" in dialect.message(answer.json)


@each
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_may_not_fit(make_daemon: "Make", dialect: Dialect, stream: bool) -> None:
    """400 with both lengths, also when a stream was asked for; OpenAI's clients look at the code."""
    daemon = await make_daemon(engine={"context": 3})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await ask(daemon, dialect, stream=stream, **dialect.asking("word " * 9))

    assert 400 == answer.status
    assert "prompt is too long: 9 tokens > 3 maximum" in dialect.message(answer.json)
    if dialect.path.startswith("/v1/"):
        assert "context_length_exceeded" == answer.json["error"]["code"]


@each
async def test_a_wrong_field_is_named(tiny: "Daemon", dialect: Dialect) -> None:
    """With what it should be."""
    answer = await ask(tiny, dialect, model=7)

    assert 400 == answer.status
    assert "`model`: expected `str" in dialect.message(answer.json)


@each
async def test_a_model_for_vectors_does_not_talk(daemon: "Daemon", dialect: Dialect) -> None:
    """422, and where it is of use."""
    await daemon.add("docker.io/ai/tiny:latest", architecture="bert")
    answer = await ask(daemon, dialect)

    assert 422 == answer.status
    assert "embedding" in dialect.message(answer.json)


@each
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_may_break_off(make_daemon: "Make", dialect: Dialect, stream: bool) -> None:
    """Its last words come with a status, or as the last event of a stream; nobody holds a lease."""
    daemon = await make_daemon(engine={"tokens": 9, "crash_after_tokens": 3})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await ask(daemon, dialect, stream=stream)

    assert (200 if stream else 500) == answer.status
    assert "crashed on purpose" in (dialect.last(answer) if stream else dialect.message(answer.json))
    assert {0} >= {resident.leases for resident in daemon.residents}
