"""What was heard, in each form that it is told in."""

import json

import pytest

from modelrunner.engines.standalone.speech.transcripts import Segment, Transcript, Word, delta, done

WORDS = (Word(" Good", 0.0, 0.5), Word(" day.", 0.5, 1.25))
HEARD = (Segment(0.0, 1.25, " Good day.", tokens=(1, 2), words=WORDS), Segment(61.5, 3723.004, " --> Bye."))
WHOLE = Transcript("transcribe", "en", 3724.2, HEARD)
BOTH = frozenset({"word", "segment"})


def test_json_has_the_text_and_what_it_took() -> None:
    """Seconds that were begun count, as OpenAI has it."""
    document = json.loads(WHOLE.written("json", BOTH))

    assert document == {"text": "Good day. --> Bye.", "usage": {"type": "duration", "seconds": 3725}}


def test_text_is_a_line() -> None:
    """And nothing else."""
    assert WHOLE.written("text", BOTH) == b"Good day. --> Bye.\n"


def test_subrip_numbers_its_pieces() -> None:
    """With a comma in times, and no arrow in a text."""
    assert WHOLE.written("srt", BOTH).decode() == (
        "1\n00:00:00,000 --> 00:00:01,250\nGood day.\n\n2\n00:01:01,500 --> 01:02:03,004\n-> Bye.\n\n"
    )


def test_webvtt_has_a_head() -> None:
    """With a point in times."""
    assert (
        WHOLE.written("vtt", BOTH)
        .decode()
        .startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nGood day.\n\n")
    )


@pytest.mark.parametrize(
    ("granularities", "words", "segments"), [({"word"}, 2, None), ({"segment"}, None, 2), (BOTH, 2, 2)]
)
def test_the_long_form_has_what_was_asked_for(
    granularities: set[str], words: int | None, segments: int | None
) -> None:
    """Words without the space before them, segments as the model tells them."""
    document = json.loads(WHOLE.written("verbose_json", frozenset(granularities)))

    assert (document["task"], document["language"], document["duration"]) == ("transcribe", "en", 3724.2)
    assert words == (len(document["words"]) if "words" in document else None)
    assert segments == (len(document["segments"]) if "segments" in document else None)
    if words:
        assert document["words"][0] == {"word": "Good", "start": 0.0, "end": 0.5}
    if segments:
        assert document["segments"][0]["tokens"] == [1, 2]
        assert "words" not in document["segments"][0]


def test_events_make_up_the_text() -> None:
    """What the pieces say together is what the last one says."""
    pieces = [delta(segment, first=not number) for number, segment in enumerate(HEARD)]
    told = [json.loads(event.removeprefix(b"data: ")) for event in (*pieces, done(WHOLE))]

    assert {event["type"] for event in told[:-1]} == {"transcript.text.delta"}
    assert "".join(event["delta"] for event in told[:-1]) == told[-1]["text"] == "Good day. --> Bye."


def test_a_later_window_moves_all_times() -> None:
    """Of the words, too."""
    later = HEARD[0].later(10.0)

    assert (later.start, later.end) == (10.0, 11.25)
    assert [(word.start, word.end) for word in later.words] == [(10.0, 10.5), (10.5, 11.25)]
