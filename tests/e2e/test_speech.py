"""Whisper and Piper for real, in a daemon: what the one says, the other hears."""

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import psutil
import pytest
import requests

from modelrunner.testing.daemon import Runner, running

# Engines that start on two cores, beside other tests.
pytestmark = [pytest.mark.speech, pytest.mark.timeout(180)]

HEARS, SPEAKS = "ai/whisper-tiny.en", "ai/joe"
TEXT = "The quick brown fox jumps over the lazy dog."
WORDS = ("quick", "brown", "fox", "jump", "over", "lazy", "dog")
MOST = 5  # of them: each time the voice is another, and so small a model mishears a word now and then


@pytest.fixture(scope="module")
def runner(
    tmp_path_factory: pytest.TempPathFactory, speech_models: Path, speech_engines_folder: Path
) -> Iterator[Runner]:
    """A daemon with both engines, and a model for each."""
    with running(
        tmp_path_factory.mktemp("speech"), DMR_ENGINES_PATH=str(speech_engines_folder), DMR_SANDBOX="auto"
    ) as made:
        made.must("package", "--whisper", speech_models / "whisper", HEARS)
        made.must("package", "--piper", speech_models / "voice" / "en_US-joe-medium.onnx", SPEAKS)
        yield made


@pytest.fixture(scope="module")
def client(runner: Runner) -> Iterator[openai.OpenAI]:
    """The official client, which knows nothing of engines."""
    with openai.OpenAI(base_url=f"{runner.url}/v1", api_key="none", timeout=120, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def spoken(client: openai.OpenAI) -> bytes:
    """The sentence, as a WAV file."""
    answer = client.audio.speech.create(model=SPEAKS, voice="alloy", input=TEXT, response_format="wav")
    return answer.read()


def _heard(text: str) -> bool:
    return sum(word in text.lower() for word in WORDS) >= MOST


def test_what_is_said_is_heard(client: openai.OpenAI, spoken: bytes) -> None:
    """Through both engines, the words are the same."""
    answer = client.audio.transcriptions.create(model=HEARS, file=("fox.wav", spoken))

    assert _heard(answer.text)


def test_a_wav_file_says_how_long_it_is(spoken: bytes) -> None:
    """At the rate of the voice, in 16 bits; a player can seek in it."""
    with wave.open(io.BytesIO(spoken)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (22_050, 2, 1)
        assert 1.5 < file.getnframes() / file.getframerate() < 6


@pytest.mark.parametrize(
    ("form", "begins", "media"),
    [
        ("mp3", (b"\xff", b"ID3"), "audio/mpeg"),
        ("opus", (b"OggS",), "audio/ogg"),
        ("flac", (b"fLaC",), "audio/flac"),
    ],
)
def test_each_form_is_what_it_says_and_is_heard(
    client: openai.OpenAI, form: str, begins: tuple[bytes, ...], media: str
) -> None:
    """As files of that kind, sent as they are made; Whisper reads all of them."""
    asked: dict[str, Any] = {"model": SPEAKS, "voice": "alloy", "input": TEXT, "response_format": form}
    with client.audio.speech.with_streaming_response.create(**asked) as answer:
        whole = b"".join(answer.iter_bytes())
        headers = answer.headers
    heard = client.audio.transcriptions.create(model=HEARS, file=(f"fox.{form}", whole))

    assert whole.startswith(begins)
    assert headers["content-type"] == media
    assert _heard(heard.text)


def test_raw_sound_has_the_rate_that_clients_expect(client: openai.OpenAI, spoken: bytes) -> None:
    """24,000 numbers of 16 bits a second, and twice the speed is far fewer of them."""
    sizes = [
        len(
            client.audio.speech.create(
                model=SPEAKS, voice="nova", input=TEXT, response_format="pcm", speed=speed
            ).read()
        )
        for speed in (1.0, 2.0)
    ]
    seconds = (len(spoken) - 44) / 2 / 22_050

    assert sizes[0] / 2 / 24_000 == pytest.approx(seconds, rel=0.4)  # a voice varies
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcript_in_each_form(
    client: openai.OpenAI, spoken: bytes, form: Literal["text", "srt", "vtt"]
) -> None:
    """The client gives what is not JSON as text."""
    answer = client.audio.transcriptions.create(
        model=HEARS,
        file=("fox.wav", spoken),
        response_format=form,
        languages=["en"],
        keywords=["fox"],
    )

    assert isinstance(answer, str)
    assert _heard(answer)
    assert ("-->" in answer) == (form != "text")
    assert answer.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:") == (form == "vtt")


def test_words_have_their_times(client: openai.OpenAI, spoken: bytes) -> None:
    """In order, within the sound, beside the segments."""
    answer = client.audio.transcriptions.create(
        model=HEARS,
        file=("fox.wav", spoken),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        prompt="A sentence about a fox.",
        temperature=0.1,
    )
    words, segments = answer.words or [], answer.segments or []

    assert answer.language == "en"
    assert _heard(" ".join(word.word for word in words))
    assert all(word.start <= word.end <= answer.duration for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert _heard("".join(segment.text for segment in segments))


def test_a_transcript_comes_piece_by_piece(client: openai.OpenAI, spoken: bytes) -> None:
    """As the client's own events, whose pieces make up the whole."""
    events = list(client.audio.transcriptions.create(model=HEARS, file=("fox.wav", spoken), stream=True))
    pieces = "".join(event.delta for event in events if event.type == "transcript.text.delta")

    assert events[-1].type == "transcript.text.done"
    assert pieces == events[-1].text
    assert _heard(pieces)


def test_speech_comes_as_events(runner: Runner) -> None:
    """For clients that ask for them."""
    asked = {"model": SPEAKS, "voice": "alloy", "input": "Hi. Bye.", "stream_format": "sse"}
    answer = requests.post(f"{runner.url}/v1/audio/speech", json=asked, timeout=120)
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["type"] for event in events][-2:] == ["speech.audio.delta", "speech.audio.done"]


def test_longer_than_a_window_is_heard_to_its_end(client: openai.OpenAI, spoken: bytes) -> None:
    """Two windows: what is said at the end of two and a quarter minutes is heard, at its time."""
    buffer = io.BytesIO()
    with wave.open(io.BytesIO(spoken)) as source, wave.open(buffer, "wb") as target:
        frames = source.readframes(source.getnframes())
        target.setparams(source.getparams())
        target.writeframes(frames)
        target.writeframes(bytes(2 * 22_050 * 130))
        target.writeframes(frames)
    answer = client.audio.transcriptions.create(
        model=HEARS, file=("long.wav", buffer.getvalue()), response_format="verbose_json"
    )
    foxes = [segment for segment in answer.segments or [] if _heard(segment.text)]

    assert answer.duration == pytest.approx(len(buffer.getvalue()) / 2 / 22_050, abs=0.1)
    assert len(foxes) == 2
    assert foxes[0].start < 5
    assert foxes[1].start > 110


@pytest.mark.parametrize("prefix", ["/v1", "/engines/v1", "/engines/whisper/v1"])
def test_every_prefix_leads_there(runner: Runner, spoken: bytes, prefix: str) -> None:
    """With the file before the model in the form, too, and under a short name."""
    form: list[tuple[str, tuple[str | None, bytes | str]]] = [
        ("file", ("fox.wav", spoken)),
        ("model", (None, "whisper-tiny.en")),
    ]
    answer = requests.post(f"{runner.url}{prefix}/audio/transcriptions", files=form, timeout=120)

    assert _heard(answer.json()["text"])
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"file": ("fox.wav", b"no sound"), "model": (None, HEARS)}, 400, "cannot be read as sound"),
        ({"model": (None, HEARS)}, 400, "file is required"),
        ({"file": ("fox.wav", b"")}, 400, "model is required"),
        ({"file": ("fox.wav", b""), "model": (None, "ai/none")}, 404, "model not found"),
        ({"file": ("fox.wav", b""), "model": (None, HEARS), "language": (None, "de")}, 400, "not `de`"),
        ({"file": ("fox.wav", b""), "model": (None, SPEAKS)}, 422, "transcription"),
    ],
)
def test_what_is_wrong_is_said_in_openais_form(
    runner: Runner, form: dict[str, tuple[str | None, bytes | str]], status: int, words: str
) -> None:
    """By the daemon or by the engine, with the status that clients expect."""
    answer = requests.post(f"{runner.url}/v1/audio/transcriptions", files=form, timeout=120)
    error = answer.json()["error"]

    assert (answer.status_code, words in error["message"]) == (status, True), error
    assert error["type"]


def test_a_play_list_opens_no_other_file(client: openai.OpenAI, tmp_path: Path) -> None:
    """What is sent is read as sound and as nothing that names files of the machine."""
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:9,", "file:///etc/hostname", "#EXT-X-ENDLIST")
    with pytest.raises(openai.BadRequestError, match="cannot be read as sound"):
        client.audio.transcriptions.create(model=HEARS, file=("l.m3u8", "\n".join(lines).encode()))


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the client's
def test_a_model_for_english_does_not_translate(client: openai.OpenAI, spoken: bytes) -> None:
    """It says so, instead of writing down what it heard."""
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        client.audio.translations.create(model=HEARS, file=("fox.wav", spoken))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"response_format": "aac"}, "no encoder"),
        ({"voice": "darth"}, "no `darth` in this model"),
        ({"speed": 9.0}, "speed"),
        ({"input": ""}, "input is required"),
        ({"instructions": "Whisper."}, "instructions are not supported"),
    ],
)
def test_what_a_voice_cannot_is_refused(client: openai.OpenAI, more: dict[str, object], words: str) -> None:
    """With the reason, and the model stays loaded."""
    asked: dict[str, Any] = {"model": SPEAKS, "voice": "alloy", "input": "Hi.", **more}
    with pytest.raises(openai.BadRequestError, match=words):
        client.audio.speech.create(**asked)


def test_models_are_for_what_they_are_for(client: openai.OpenAI) -> None:
    """A model that hears does not chat, one that speaks does not embed, and the answer says where to ask."""
    with pytest.raises(openai.APIStatusError) as chat:
        client.chat.completions.create(model=HEARS, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.APIStatusError) as embed:
        client.embeddings.create(model=SPEAKS, input="hi")
    with pytest.raises(openai.APIStatusError) as speak:
        client.audio.speech.create(model=HEARS, voice="alloy", input="hi")

    assert {each.value.status_code for each in (chat, embed, speak)} == {422}
    assert "/v1/audio/transcriptions" in chat.value.response.json()["error"]["hint"]
    assert "/v1/audio/speech" in embed.value.response.json()["error"]["hint"]
    assert "/v1/audio/transcriptions" in speak.value.response.json()["error"]["hint"]


def test_lists_show_what_they_are(runner: Runner, client: openai.OpenAI) -> None:
    """`list`, `inspect`, `ps` and OpenAI's list."""
    inspected = json.loads(runner.must("inspect", HEARS))["config"]
    voice = json.loads(runner.must("inspect", SPEAKS))["config"]
    listed = runner.must("list")
    loaded = {line.split()[0]: line.split()[1:3] for line in runner.must("ps").splitlines()[1:]}

    assert (inspected["format"], inspected["architecture"], inspected["quantization"]) == (
        "ctranslate2",
        "whisper",
        "float16",
    )
    assert inspected["parameters"] == "37.73M"
    assert (voice["format"], voice["onnx"]["language"]) == ("onnx", "en_US")
    assert "whisper-tiny.en" in listed
    assert loaded["whisper-tiny.en"] == ["whisper", "transcription"]
    assert loaded["joe"] == ["piper", "speech"]
    assert {HEARS, SPEAKS} <= {
        f"ai/{model.id.split('/')[-1].split(':')[0]}" for model in client.models.list()
    }


def test_the_estimate_is_what_they_take(runner: Runner) -> None:
    """What was set aside is enough, and not many times too much; long texts take more than these."""
    for name, program in ((HEARS, "speech.whisper"), (SPEAKS, "speech.piper")):
        process = next(
            each for each in psutil.Process(runner.pid).children(recursive=True) if program in each.cmdline()
        )
        needed = _needed(runner, name)

        assert 0.4 < process.memory_info().rss / needed < 1, name


def _needed(runner: Runner, name: str) -> int:
    """What the daemon set aside, in bytes."""
    ps = requests.get(f"{runner.url}/engines/ps", timeout=10).json()
    return next(int(each["memory"]) for each in ps if name in each["model_name"])
