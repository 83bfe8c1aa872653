"""The table of fields is true: every row is sent to a daemon, and what comes of it is what the row says."""

import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import ollama._types as ollama_types
import pytest
from anthropic.types import MessageCountTokensParams, MessageCreateParams
from openai.types import (
    CompletionCreateParams,
    EmbeddingCreateParams,
    ImageEditParams,
    ImageGenerateParams,
)
from openai.types.audio import SpeechCreateParams, TranscriptionCreateParams, TranslationCreateParams
from openai.types.chat import CompletionCreateParams as ChatParams
from openai.types.responses import InputTokenCountParams, ResponseCompactParams, ResponseCreateParams

from modelrunner.dialects.anthropic import CountRequest, MessagesRequest
from modelrunner.dialects.compaction import CompactRequest
from modelrunner.dialects.fields import Field, Fields, Treatment
from modelrunner.dialects.fields_table import ENDPOINTS
from modelrunner.dialects.ollama import ChatRequest, GenerateRequest
from modelrunner.dialects.openai_images import unpacked_edit
from modelrunner.dialects.openai_texts import DetokenizeRequest, ScoreRequest, TokenizeRequest
from modelrunner.dialects.responses import Asked
from modelrunner.engines.standalone.images.orders import Refused, read_edit, read_order
from modelrunner.engines.standalone.speech.orders import read_order as read_form_order
from modelrunner.engines.standalone.speech.piper import read_order as read_speech_order
from modelrunner.engines.standalone.speech.serving import Refused as Unheard
from modelrunner.errors import InvalidRequest
from modelrunner.models.description.kinds import Mode
from modelrunner.server.library.creating import CreateRequest
from modelrunner.server.routes import anthropic as anthropic_routes
from modelrunner.server.routes import inference
from modelrunner.server.routes import ollama as ollama_routes
from modelrunner.server.routes import openai as openai_routes

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon

IMAGES = "/v1/images/generations"
EDITS = "/v1/images/edits"
SPEECH = "/v1/audio/speech"
FORMS = {"/v1/audio/transcriptions": "transcribe", "/v1/audio/translations": "translate"}
UNSERVED = ("/v1/images/variations",)
DESCRIBED = {each.path: each for each in ENDPOINTS}
PASSED_ON = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"})
MODES = {
    "/v1/embeddings": Mode.EMBEDDING,
    "/api/embed": Mode.EMBEDDING,
    "/api/embeddings": Mode.EMBEDDING,
    "/v1/rerank": Mode.RERANKING,
    "/v1/score": Mode.RERANKING,
}
# Another test has the whole story.
ELSEWHERE = {
    ("/v1/responses", "truncation"): "test_a_conversation_that_is_too_long_is_an_error_or_shortened",
    ("/api/chat", "options.num_ctx"): "test_a_larger_context_is_given_once",
    ("/api/generate", "options.num_ctx"): "test_a_larger_context_is_given_once",
    ("/api/embed", "options.num_ctx"): "test_a_larger_context_is_given_once",
    ("/api/embeddings", "options.num_ctx"): "test_a_larger_context_is_given_once",
    ("/api/generate", "context"): "test_generate_gives_a_conversation_back",
    ("/api/embed", "truncate"): "test_a_text_that_is_too_long_for_a_vector_is_cut",
    ("/api/create", "files"): "test_a_model_is_created_from_a_file",
    ("/api/create", "adapters"): "test_an_adapter_goes_along",
}
# Endpoints that need no engine, and the tests that use all of their fields.
WITHOUT_ENGINE = {
    "/api/pull": "test_a_registry_gets_the_password_that_a_request_has",
    "/api/push": "test_a_registry_gets_the_password_that_a_request_has",
    "/api/show": "test_a_model_is_shown",
    "/api/copy": "test_a_model_is_copied_and_deleted",
    "/api/delete": "test_a_model_is_copied_and_deleted",
}
Proof = Callable[["Daemon", Fields, Field], Awaitable[bool]]


async def test_each_field_does_what_the_table_says(able: "Daemon") -> None:
    """Sent one by one, each with what it needs beside it."""
    wrong = []
    for path, fields in DESCRIBED.items():
        if path in {IMAGES, EDITS, SPEECH, *FORMS, *WITHOUT_ENGINE}:
            continue  # see below
        plain = None
        if path != "/api/create":
            assert 200 == (await able.ask("POST", path, json=fields.base)).status
            plain = await _asked(able, path)
        for row in fields.rows:
            fault = await _fault(able, fields, row, plain)
            if fault is not None:
                wrong.append((path, row.name, fault))

    assert [] == wrong


@pytest.mark.parametrize("path", [IMAGES, EDITS, SPEECH, *FORMS])
def test_each_field_of_images_and_sound_does_what_the_table_says(path: str) -> None:
    """It is the engines' own servers that read them, without the package around them."""
    fields = DESCRIBED[path]
    plain = _ordered(path, fields.base)
    same = {"model", "file", *(("response_format",) if path in {IMAGES, EDITS} else ())}
    for row in fields.rows:
        supported = row.treatment is Treatment.SUPPORTED
        beside = _ordered(path, {**fields.base, **row.beside}) if supported else plain
        if row.treatment is Treatment.REFUSED:
            with pytest.raises((Refused, Unheard, InvalidRequest)):
                _ordered(path, {**fields.base, **row.body})
            continue
        changes = row.name == "mask" or (supported and row.name not in same)
        assert changes == (beside != _ordered(path, {**fields.base, **row.body})), row.name


def _ordered(path: str, body: Mapping[str, Any]) -> object:
    if path == IMAGES:
        return read_order(msgspec.json.encode(body), ["ai/painter"])
    if path == EDITS:
        return read_edit(unpacked_edit(msgspec.json.encode(body), None), ["ai/painter"])
    if path == SPEECH:
        return read_speech_order(msgspec.json.encode(body), {"joe": 0, "ann": 1})
    lists = [(f"{name}[]", each) for name, value in body.items() if isinstance(value, list) for each in value]
    texts = [(name, str(value)) for name, value in body.items() if not isinstance(value, list)]
    return read_form_order(FORMS[path], [*texts, *lists])


@pytest.mark.parametrize(
    ("path", "official"),
    [
        ("/v1/chat/completions", ChatParams),
        ("/v1/completions", CompletionCreateParams),
        ("/v1/embeddings", EmbeddingCreateParams),
        ("/v1/images/generations", ImageGenerateParams),
        ("/v1/images/edits", ImageEditParams),
        ("/v1/audio/transcriptions", TranscriptionCreateParams),
        ("/v1/audio/translations", TranslationCreateParams),
        ("/v1/audio/speech", SpeechCreateParams),
        ("/v1/responses", ResponseCreateParams),
        ("/v1/messages", MessageCreateParams),
        ("/v1/messages/count_tokens", MessageCountTokensParams),
        ("/api/chat", ollama_types.ChatRequest),
        ("/api/generate", ollama_types.GenerateRequest),
        ("/api/embed", ollama_types.EmbedRequest),
        ("/api/embeddings", ollama_types.EmbeddingsRequest),
        ("/api/create", ollama_types.CreateRequest),
        ("/api/pull", ollama_types.PullRequest),
        ("/api/push", ollama_types.PushRequest),
        ("/api/show", ollama_types.ShowRequest),
        ("/api/copy", ollama_types.CopyRequest),
        ("/api/delete", ollama_types.DeleteRequest),
        ("/v1/responses", Asked),
        ("/v1/responses/compact", CompactRequest),
        ("/v1/responses/compact", ResponseCompactParams),
        ("/v1/responses/input_tokens", InputTokenCountParams),
        ("/v1/messages", MessagesRequest),
        ("/v1/messages/count_tokens", CountRequest),
        ("/api/chat", ChatRequest),
        ("/api/generate", GenerateRequest),
        ("/api/create", CreateRequest),
        ("/v1/tokenize", TokenizeRequest),
        ("/v1/detokenize", DetokenizeRequest),
        ("/v1/score", ScoreRequest),
    ],
)
def test_no_field_of_a_client_or_of_ours_is_left_out(path: str, official: Any) -> None:
    """What the official clients can send, and what is read here, all stands in the table."""
    assert set() == _names_of(official) - {row.top for row in DESCRIBED[path].rows}


def test_what_is_told_elsewhere_is_there() -> None:
    """The tests that the table of exceptions names."""
    tests = Path(__file__).parent.rglob("test_*.py")
    found = {name for path in tests for name in re.findall(r"def (test_\w+)", path.read_text())}

    assert set() == {*ELSEWHERE.values(), *WITHOUT_ENGINE.values()} - found


def test_options_are_told_of_one_by_one() -> None:
    """All that the official client knows."""
    told = {row.name.removeprefix("options.") for row in DESCRIBED["/api/chat"].rows}

    assert set() == set(ollama_types.Options.model_fields) - told


def test_every_path_that_leads_to_a_model_is_told_of() -> None:
    """Behind its prefixes, unless no engine does what it is for."""
    paths = {path.removeprefix("/anthropic") for _, path in _paths_to_models()}
    short = {f"/v1{path}" if f"/v1{path}" in DESCRIBED else path for path in paths}

    assert set() == {path for path in short - set(DESCRIBED) if path not in UNSERVED}


def _names_of(official: Any) -> set[str]:
    """The fields of a typed dictionary or of a model; an alternative has those of all."""
    if alternatives := typing.get_args(official):
        return set().union(*map(_names_of, alternatives))
    if hasattr(official, "model_fields"):
        return {name.rstrip("_") for name in official.model_fields}
    if hasattr(official, "__struct_encode_fields__"):
        return set(official.__struct_encode_fields__)
    bases = [base for base in getattr(official, "__orig_bases__", ()) if hasattr(base, "__annotations__")]
    return set(official.__annotations__).union(*map(_names_of, bases))


def _paths_to_models() -> list[tuple[str, str]]:
    """All that the relay serves, as the application joins it."""
    services: Any = None
    plain = {**ollama_routes.endpoints(services), **anthropic_routes.plain_endpoints(services)}
    return [
        ("POST", path)
        for path in (*inference.OPENAI, *openai_routes.endpoints(services, remote_media=False), *plain)
    ]


async def _fault(daemon: "Daemon", fields: Fields, row: Field, plain: Any) -> str | None:
    """Say what is not as the row has it."""
    if row.becomes is None and row.treatment is Treatment.TRANSLATED:
        is_proven = (fields.path, row.name) in ELSEWHERE or await PROOFS[row.name](daemon, fields, row)
        return None if is_proven else "no effect"
    answer = await daemon.ask(fields.method, fields.path, json={**fields.base, **row.body})
    if row.treatment is Treatment.REFUSED:
        return None if 400 <= answer.status < 500 and _message(fields.path, answer) else "not refused"
    if answer.status not in {200, 201}:
        return f"status {answer.status}: {answer.text[:200]}"
    if row.treatment is Treatment.WITHOUT_EFFECT:
        if fields.path in PASSED_ON:
            return None
        return None if await _asked(daemon, fields.path) == plain else "the engine is asked something else"
    asked = await _asked(daemon, fields.path)
    return None if _has(asked, row.becomes) else f"the engine was asked {asked}"


async def _asked(daemon: "Daemon", path: str) -> Any:
    """What the engine was asked last, by what this path leads to."""
    mode = MODES.get(path, Mode.COMPLETION)
    [key] = [resident.key for resident in daemon.residents if resident.key.mode is mode]
    lease = daemon.services.pool.try_lease(key)
    assert lease is not None
    try:
        async with lease.running.request("GET", "/asked", (), b"") as upstream:
            return msgspec.json.decode(b"".join([piece async for piece in upstream.chunks()]))
    finally:
        lease.release()


def _has(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; objects may have more."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and _has(found[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_has, found, wanted))
    return bool(found == wanted)


def _message(path: str, answer: "Answer") -> str:
    """The sentence of an error in the form of the path's dialect."""
    if path.startswith("/api/"):
        return str(answer.json["error"])
    if "messages" in path:
        assert "error" == answer.json["type"]
    return str(answer.json["error"]["message"])


async def _keeps(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    await daemon.ask("POST", fields.path, json={**fields.base, **row.body})
    running = (await daemon.ask("GET", "/engines/ps")).json
    mode = MODES.get(fields.path, Mode.COMPLETION)
    return bool(["10m0s"] == [each.get("keep_alive") for each in running if each["mode"] == mode])


async def _names(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    """A name that nobody has is not found."""
    if fields.path == "/api/create":
        return await _shows(daemon, fields, row)
    body = {**fields.base, "model": "", row.name: "ai/absent"}
    return 404 == (await daemon.ask("POST", fields.path, json=body)).status


async def _streams(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    whole = await daemon.ask("POST", fields.path, json={**fields.base, "stream": False})
    pieces = await daemon.ask("POST", fields.path, json={**fields.base, "stream": True})
    return isinstance(whole.json, dict) and len(pieces.text.splitlines()) > 1


async def _stops(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    said = [{"role": "user", "content": "one zzz two"}]
    answer = (await daemon.ask("POST", fields.path, json={**fields.base, **row.body, "messages": said})).json
    return bool(["stop_sequence", "zzz"] == [answer["stop_reason"], answer["stop_sequence"]])


async def _chains(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    first = (await daemon.ask("POST", "/v1/responses", json=fields.base)).json["id"]
    await daemon.ask("POST", fields.path, json={**fields.base, row.name: first})
    # What was said and answered before, what is asked, and what a summary is asked for with.
    wanted = 4 if fields.path.endswith("/compact") else 3
    return wanted == len((await _asked(daemon, fields.path))["messages"])


async def _forgets(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    made = (await daemon.ask("POST", fields.path, json={**fields.base, **row.body})).json["id"]
    return 404 == (await daemon.ask("GET", f"{fields.path}/{made}")).status


async def _answers_at_once(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    made = (await daemon.ask("POST", fields.path, json={**fields.base, **row.body})).json
    return bool(made["status"] == "queued")


async def _compares(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    answer = (await daemon.ask("POST", fields.path, json=fields.base)).json
    scores: list[float] = [each["score"] for each in answer["data"]]
    return [1.0, 0.0] == scores


async def _tokenizes_a_chat(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    answer = (await daemon.ask("POST", fields.path, json={**fields.base, **row.body})).json
    return bool([len("user:hi")] == answer["tokens"])


async def _shortens(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    answer = (await daemon.ask("POST", fields.path, json={**fields.base, **row.body})).json
    vectors = answer["embeddings"] if fields.path == "/api/embed" else [answer["data"][0]["embedding"]]
    return 2 == len(vectors[0])


async def _shows(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    """What a model was created with is shown of it."""
    await daemon.ask("POST", fields.path, json={**fields.base, **row.body})
    shown = (await daemon.ask("POST", "/api/show", json={"model": "mine"})).json
    wanted = {
        "template": "ns.prompt",
        "system": "be brief",
        "parameters": "temperature",
        "messages": "MESSAGE user hi",
        "license": "MIT",
    }
    return bool(wanted.get(row.name, "llama") in msgspec.json.encode(shown).decode())


async def _shows_or_tokenizes(daemon: "Daemon", fields: Fields, row: Field) -> bool:
    return await (_shows if fields.path == "/api/create" else _tokenizes_a_chat)(daemon, fields, row)


PROOFS: dict[str, Proof] = {
    **dict.fromkeys(("from", "template", "system", "parameters", "license"), _shows),
    "keep_alive": _keeps,
    "model": _names,
    "name": _names,
    "stream": _streams,
    "stop_sequences": _stops,
    "previous_response_id": _chains,
    "store": _forgets,
    "background": _answers_at_once,
    "text_1": _compares,
    "text_2": _compares,
    "messages": _shows_or_tokenizes,
    "dimensions": _shortens,
}
