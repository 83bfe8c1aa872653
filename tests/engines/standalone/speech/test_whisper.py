"""The server that hears, without a model: forms, answers, events, failures; and how sound is cut."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Message

from modelrunner.engines.standalone.speech.orders import Order
from modelrunner.engines.standalone.speech.serving import Refused
from modelrunner.engines.standalone.speech.transcripts import Segment
from modelrunner.engines.standalone.speech.whisper import server, windows

PATH = "/v1/audio/transcriptions"
FILE = {"file": ("speech.wav", b"RIFF....", "audio/wav")}


class Scripted:
    """A listener that says what it was told to, and writes down what it was asked."""

    def __init__(self) -> None:
        self.orders: list[tuple[bytes, Order]] = []
        self.fails_after: int | None = None
        self.fault: Exception = RuntimeError("out of memory")
        self.at_once, self.most = 0, 0
        self.begun = 0
        self.language, self.seconds = "en", 2.5

    def hear(self, source: BinaryIO, order: Order) -> "Scripted":
        if "xx" in order.languages:
            raise Refused("language: the model knows en, and not `xx`", "language")
        self.orders.append((source.read(), order))
        return self

    def __iter__(self) -> Iterator[Segment]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            for number, text in enumerate((" Good", " day.")):
                if number == self.fails_after:
                    raise self.fault
                self.begun += 1
                yield Segment(float(number), number + 1.0, text)
        finally:
            self.at_once -= 1


@pytest.fixture
def listener() -> Scripted:
    return Scripted()


@pytest.fixture
def client(listener: Scripted) -> Iterator[TestClient]:
    with TestClient(server(listener), raise_server_exceptions=False) as made:
        yield made


def test_a_file_is_heard(client: TestClient, listener: Scripted) -> None:
    """In the form that was asked for, with what the form says of the file."""
    answer = client.post(PATH, data={"model": "x", "language": "en"}, files=FILE)

    assert answer.json()["text"] == "Good day."
    assert listener.orders == [(b"RIFF....", Order("transcribe", languages=("en",)))]
    assert client.get("/health").status_code == 200


def test_the_path_says_whether_to_translate(client: TestClient, listener: Scripted) -> None:
    """Nothing else differs."""
    client.post("/v1/audio/translations", data={"model": "x"}, files=FILE)

    assert [order.task for _, order in listener.orders] == ["translate"]


@pytest.mark.parametrize(
    ("form", "media"), [("text", "text/plain"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")]
)
def test_each_form_has_its_media_type(client: TestClient, form: str, media: str) -> None:
    """Players ask for it."""
    answer = client.post(PATH, data={"model": "x", "response_format": form}, files=FILE)

    assert answer.headers["content-type"].startswith(media)
    assert "day." in answer.text


def test_a_stream_tells_each_piece(client: TestClient) -> None:
    """And all of it at the end."""
    answer = client.post(PATH, data={"model": "x", "stream": "true"}, files=FILE)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event.get("delta") for event in events] == ["Good", " day.", None]
    assert (events[-1]["type"], events[-1]["text"]) == ("transcript.text.done", "Good day.")


@pytest.mark.parametrize(
    ("given_form", "words"),
    [
        ({"data": {"model": "x"}, "files": {"other": ("a", b"b")}}, "file is required"),
        ({"data": {"model": "x", "file": "speech.wav"}, "files": {"other": ("a", b"b")}}, "file is required"),
        ({"data": {"model": "x", "language": "xx"}, "files": FILE}, "not `xx`"),
        ({"data": {"model": "x", "prompt": "p" * 70_000}, "files": FILE}, "exceeded maximum size"),
        ({"files": [("file", ("a", b"b")), ("file", ("c", b"d"))]}, "Too many files"),
        ({"json": {"model": "x"}}, "has to be a form"),
        (
            {"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            "Invalid multipart data",
        ),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
    ],
)
def test_what_is_no_such_form_is_refused(client: TestClient, given_form: dict[str, Any], words: str) -> None:
    """In OpenAI's form, as the client's fault, and nothing is heard."""
    answer = client.post(PATH, **given_form)

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_failure_before_the_first_word_has_a_status(
    client: TestClient, listener: Scripted, stream: str
) -> None:
    """A file that is no sound is the client's fault, everything else the engine's."""
    listener.fails_after = 0
    failed = client.post(PATH, data={"model": "x", "stream": stream}, files=FILE)
    listener.fault = Refused("the file has no sound in it", "file")
    refused = client.post(PATH, data={"model": "x", "stream": stream}, files=FILE)

    assert (failed.status_code, failed.json()["error"]["message"]) == (500, "out of memory")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")


def test_a_later_failure_is_an_event(client: TestClient, listener: Scripted) -> None:
    """The stream does not end as if all had been said."""
    listener.fails_after = 1
    answer = client.post(PATH, data={"model": "x", "stream": "true"}, files=FILE)

    assert answer.status_code == 200
    assert json.loads(answer.text.split("data: ")[-1])["error"]["message"] == "out of memory"
    assert "transcript.text.done" not in answer.text


def test_one_is_heard_at_a_time(client: TestClient, listener: Scripted) -> None:
    """The others wait, and all are answered."""
    answers: list[str] = []

    def ask() -> None:
        answers.append(client.post(PATH, data={"model": "x"}, files=FILE).json()["text"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["Good day."] * 4
    assert listener.most == 1


async def test_when_the_client_leaves_it_stops(listener: Scripted) -> None:
    """After the segment that it is at; who leaves while it waits is not heard at all."""
    told: list[int] = []
    for leaves_after in (0, 1):
        listener.begun = 0
        await _asked(listener, leaves_after)
        told.append(listener.begun)

    assert told == [0, 1]


async def _asked(listener: Scripted, leaves_after: int) -> None:
    """Ask as a server would, with a client that goes when so many segments were begun."""
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--B--\r\n'
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    kind = (b"content-type", b"multipart/form-data; boundary=B")
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": [kind]}

    async def receive() -> Message:
        if messages:
            return messages.pop()
        if listener.begun < leaves_after:
            await asyncio.Event().wait()  # it says nothing, for as long as it is asked
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    await server(listener)(scope, receive, send)


@given(
    st.lists(st.integers(1, 40), max_size=12), st.integers(1, 30), st.lists(st.integers(0, 60), min_size=30)
)
def test_windows_leave_nothing_out(pieces: list[int], length: int, heard: list[int]) -> None:
    """Whatever is heard of each, the next begins there; none is longer, and the last says so."""
    sound = np.arange(sum(pieces), dtype=np.float32)
    cut = np.split(sound, np.cumsum(pieces)[:-1]) if pieces else []
    position, lasts = 0, []
    for number, (window, last) in enumerate(windows(iter(cut), length)):
        assert list(window.sound) == list(sound[position : position + length])
        assert 0 < len(window.sound) <= length
        count = len(window.sound) if last else min(max(1, heard[number % 30]), len(window.sound))
        window.used(count)
        position += count
        lasts.append(last)

    assert position == len(sound)
    assert lasts == [False] * (len(lasts) - 1) + [True] * bool(pieces)
