"""The server that speaks, without a voice: what it reads, refuses and answers."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from modelrunner.engines.standalone.speech.piper import Order, bounded, read_order, server
from modelrunner.engines.standalone.speech.serving import Refused

PATH = "/v1/audio/speech"
VOICES = {"joe": 0, "ann": 4}
HELLO = {"model": "x", "input": "Hello.", "voice": "alloy"}


class Scripted:
    """A speaker whose sound is text, and whose files are that text."""

    def __init__(self) -> None:
        self.rate, self.voices = 22_050, dict(VOICES)
        self.asked: list[tuple[str, int | None, float]] = []
        self.fails_after: int | None = None

    def speak(self, text: str, speaker: int | None, speed: float) -> Iterator[Any]:
        self.asked.append((text, speaker, speed))
        for number, piece in enumerate(("one ", "two")):
            if number == self.fails_after:
                raise RuntimeError("no phonemes")
            yield piece

    def encoded(self, sound: Iterator[Any], form: str) -> Iterator[bytes]:
        for piece in sound:
            yield f"{form}:{piece}".encode()

    def media(self, form: str) -> str:
        return f"audio/{form}"


@pytest.fixture
def speaker() -> Scripted:
    return Scripted()


@pytest.fixture
def client(speaker: Scripted) -> Iterator[TestClient]:
    with TestClient(server(speaker), raise_server_exceptions=False) as made:
        yield made


def test_a_text_is_spoken(client: TestClient, speaker: Scripted) -> None:
    """As MP3 unless told otherwise, piece by piece."""
    answer = client.post(PATH, json=HELLO)

    assert answer.content == b"mp3:one mp3:two"
    assert answer.headers["content-type"] == "audio/mp3"
    assert speaker.asked == [("Hello.", 0, 1.0)]


def test_events_have_the_same_bytes(client: TestClient) -> None:
    """In base64, and with an end."""
    answer = client.post(PATH, json={**HELLO, "stream_format": "sse", "response_format": "wav"})
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]

    assert b"".join(base64.b64decode(event.get("audio", "")) for event in events) == b"wav:one wav:two"
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 2 + ["speech.audio.done"]


@pytest.mark.parametrize(
    ("voices", "voice", "speaker"),
    [
        (VOICES, "ann", 4),
        (VOICES, {"id": "ann"}, 4),
        (VOICES, "nova", 0),
        (VOICES, None, 0),
        ({}, "alloy", None),
        ({}, "default", None),
    ],
)
def test_a_voice_is_the_models_own(voices: dict[str, int], voice: object, speaker: int | None) -> None:
    """By its name; each of OpenAI's, one of which a client has to send, is the first."""
    order = read_order(json.dumps({"input": "Hello.", "voice": voice}).encode(), voices)

    assert order == Order("Hello.", speaker, "mp3", 1.0, events=False)


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"input": ""}, "input", "required"),
        ({"input": ["Hello."]}, "input", "required"),
        ({"input": "x" * 4097}, "input", "at most 4096"),
        ({"voice": "darth"}, "voice", "`joe`, `ann`"),
        ({"voice": {"name": "x"}}, None, ""),
        ({"speed": 5}, "speed", r"from 0\.25 to 4\.0"),
        ({"speed": True}, "speed", r"from 0\.25"),
        ({"speed": "fast"}, "speed", r"from 0\.25"),
        ({"response_format": "aac"}, "response_format", "no encoder"),
        ({"response_format": 3}, "response_format", "one of mp3, opus, flac, wav, pcm"),
        ({"instructions": "whisper"}, "instructions", "not supported"),
        ({"stream_format": "chunks"}, "stream_format", "`audio` or `sse`"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(more: dict[str, object], field: str | None, words: str) -> None:
    """Before anything is spoken; a voice without a name is the usual one."""
    body = json.dumps({**HELLO, **more}).encode()
    if field is None:
        assert read_order(body, VOICES).speaker == 0
        return
    with pytest.raises(Refused, match=words) as caught:
        read_order(body, VOICES)

    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(client: TestClient, body: bytes) -> None:
    """As the client's fault."""
    answer = client.post(PATH, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_has_an_end(client: TestClient) -> None:
    """A text that large is no text to speak."""
    assert client.post(PATH, content=b" " * (2 << 20)).status_code == 413


@given(st.text(alphabet="ab ,", max_size=200), st.integers(2, 40))
def test_a_long_sentence_is_cut(sentence: str, most: int) -> None:
    """Nothing of it is lost, and no piece is longer; it is cut where there is a pause."""
    pieces = list(bounded(list(sentence), most))

    assert "".join(letter for piece in pieces for letter in piece) == sentence
    assert all(len(piece) <= most for piece in pieces)


def test_a_sentence_is_cut_at_its_pauses() -> None:
    """A comma goes before a space, unless the piece would be short."""
    sentence = "one two three, four five six seven, eight nine ten eleven twelve"
    pieces = ["".join(piece) for piece in bounded(list(sentence), 24)]

    assert pieces == ["one two three,", " four five six seven,", " eight nine ten eleven ", "twelve"]


def test_a_failure_is_never_a_shorter_answer(client: TestClient, speaker: Scripted) -> None:
    """At first it has a status; later it is an event, or the answer breaks off."""
    speaker.fails_after = 0
    first = client.post(PATH, json=HELLO)
    speaker.fails_after = 1
    event = client.post(PATH, json={**HELLO, "stream_format": "sse"})

    assert (first.status_code, first.json()["error"]["message"]) == (500, "no phonemes")
    assert json.loads(event.text.split("data: ")[-1])["error"]["message"] == "no phonemes"
    with (
        TestClient(server(speaker)) as strict,
        pytest.raises(RuntimeError, match="no phonemes"),
    ):
        strict.post(PATH, json=HELLO)
