"""OpenAI's routes that are more than a body passed on, and the form of their errors."""

import base64
import math
import struct
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

PREFIXES = ["", "/engines", "/engines/llama.cpp"]
CHAT = "/v1/chat/completions"


def picture(url: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/v1/score", "/score"])
async def test_texts_are_scored_where_an_engine_only_ranks(tiny: "Daemon", prefix: str, path: str) -> None:
    """In the order of the texts, as vLLM writes it."""
    body = {"model": "ai/tiny", "text_1": "a b", "text_2": ["a", "c", "b a"]}
    answer = await tiny.ask("POST", f"{prefix}{path}", json=body)

    assert (200, [1.0, 0.0, 2.0]) == (answer.status, [item["score"] for item in answer.json["data"]])


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_vectors_are_made_shorter(tiny: "Daemon", form: str) -> None:
    """As long as one again, in the form that was asked for, although llama.cpp gives whole ones."""
    body = {"model": "ai/tiny", "input": ["a", "b"], "dimensions": 2, "encoding_format": form}
    answer = await tiny.ask("POST", "/v1/embeddings", json=body)
    vectors = [item["embedding"] for item in answer.json["data"]]
    if form == "base64":
        vectors = [struct.unpack("<2f", base64.b64decode(vector)) for vector in vectors]

    assert [2, 2] == [len(vector) for vector in vectors]
    assert all(math.isclose(1.0, math.hypot(*vector), abs_tol=1e-6) for vector in vectors)
    assert answer.json["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    ("more", "field"), [({"dimensions": 0}, "dimensions"), ({"dimensions": "x"}, "dimensions")]
)
async def test_a_length_that_is_none_is_refused(tiny: "Daemon", more: dict[str, object], field: str) -> None:
    """With the field."""
    answer = await tiny.ask("POST", "/v1/embeddings", json={"model": "ai/tiny", "input": "a", **more})

    assert (400, field) == (answer.status, answer.json["error"]["param"])


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_documents_are_ranked(tiny: "Daemon", prefix: str, path: str) -> None:
    """The engine's answer passes as it is."""
    body = {"model": "ai/tiny", "query": "a", "documents": ["a", "b"]}
    answer = await tiny.ask("POST", f"{prefix}{path}", json=body)

    assert {0: 1.0, 1: 0.0} == {r["index"]: r["relevance_score"] for r in answer.json["results"]}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/audio/speech", "no backend can serve this model for speech"),
        ("/v1/images/variations", "no backend varies images"),
        ("/v1/images/generations", "no backend can serve this model for image-generation"),
    ],
)
async def test_what_no_engine_serves_says_so(tiny: "Daemon", prefix: str, path: str, words: str) -> None:
    """With 422 and a code, on every path; an unknown model comes first."""
    known = await tiny.ask("POST", f"{prefix}{path}", json={"model": "ai/tiny"})
    unknown = await tiny.ask("POST", f"{prefix}{path}", json={"model": "ai/absent"})

    assert (422, "unsupported_model") == (known.status, known.json["error"]["code"])
    assert words in known.json["error"]["message"]
    assert (404, "model_not_found") == (unknown.status, unknown.json["error"]["code"])


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
async def test_a_form_names_its_model(tiny: "Daemon", prefix: str, path: str) -> None:
    """As clients send audio; one without a model is refused, and so is a body that is no form."""
    answers = []
    for fields in ({"model": "ai/tiny"}, {"model": "ai/absent"}, {"language": "en"}):
        form = aiohttp.FormData(fields)
        form.add_field("file", b"RIFF", filename="a.wav")
        answers.append(await tiny.ask("POST", f"{prefix}{path}", data=form))
    answers.append(await tiny.ask("POST", f"{prefix}{path}", json={"model": "ai/tiny"}))

    assert [422, 404, 400, 400] == [answer.status for answer in answers]
    assert "for transcription" in answers[0].json["error"]["message"]
    assert "use /v1/chat/completions" in answers[0].json["error"]["hint"]
    assert "model is required" in answers[2].json["error"]["message"]
    assert "has to be a form" in answers[3].json["error"]["message"]


async def test_an_image_that_is_none_does_not_reach_the_engine(tiny: "Daemon") -> None:
    """400 in OpenAI's form, and no model is loaded for it."""
    body = {"model": "ai/tiny", "messages": picture("data:image/png;base64,AAAA")}
    answer = await tiny.ask("POST", CHAT, json=body)

    assert (400, "invalid_request_error") == (answer.status, answer.json["error"]["type"])
    assert () == tiny.residents


async def test_addresses_of_images_are_the_operators_choice(make_daemon: "Make") -> None:
    """Refused, unless `DMR_REMOTE_MEDIA` says otherwise."""
    for allowed, status in (("false", 400), ("true", 200)):
        daemon = await make_daemon(DMR_REMOTE_MEDIA=allowed)
        await daemon.add("docker.io/ai/tiny:latest")
        body = {"model": "ai/tiny", "messages": picture("https://example.com/a.png")}
        body["messages"] += daemon.chat()["messages"]

        assert status == (await daemon.ask("POST", CHAT, json=body)).status


async def test_an_error_of_the_engine_has_type_and_code(tiny: "Daemon") -> None:
    """Both are texts, as OpenAI's are; status and message are the engine's."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(fake={"status": 429}))
    error = answer.json["error"]

    assert (429, "refused on purpose") == (answer.status, error["message"])
    assert ("invalid_request_error", "engine_refused") == (error["type"], error["code"])


@pytest.mark.parametrize(("method", "path"), [("GET", "/engines/v1/nothing"), ("POST", "/v1/nothing")])
async def test_a_path_that_leads_nowhere_is_told_in_the_form_of_openai(
    tiny: "Daemon", method: str, path: str
) -> None:
    """404 with a code."""
    answer = await tiny.ask(method, path)

    assert (404, "unknown_route") == (answer.status, answer.json["error"]["code"])


async def test_an_engine_that_cannot_tokenize_says_so(tiny: "Daemon") -> None:
    """501; and a request for nothing is the client's fault."""
    answer = await tiny.ask("POST", "/tokenize", json={"model": "ai/tiny", "prompt": "x"})
    nothing = await tiny.ask("POST", "/v1/tokenize", json={"model": "ai/tiny"})

    assert (501, 400) == (answer.status, nothing.status)
