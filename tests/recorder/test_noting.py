"""What is read of what the data path saw."""

from typing import Any

import msgspec
import pytest

from modelrunner.recorder.noting import may_be_kept, noted_of
from modelrunner.recorder.values import Circumstances, Seen
from tests.recorder.conftest import noted, seen

UNKNOWN = Circumstances()


def made(**more: Any) -> Seen:
    return msgspec.structs.replace(Seen(1000.0, 50.0, "POST", "/x", "::1", [], body=b"{}"), **more)


def test_a_request_is_the_same_on_both_sides() -> None:
    asked = noted(key="Bearer x", replay_of="7", trace="00-1", outcome="cancelled")

    assert asked == noted_of(seen(asked), Circumstances(asked.instance, asked.keep))


def test_times_count_from_when_it_came() -> None:
    found = noted_of(
        made(timing=(2.0, 1.5, 52.0), first=53.0, last=54.0, ended=55.0, size=1, pieces=[b"x"]), UNKNOWN
    )

    assert (1000.0, 2.0, 1.5, 2.0, 3.0, 4.0, 5.0) == (
        found.at,
        found.queued,
        found.loading,
        found.asked,
        found.first,
        found.last,
        found.seconds,
    )


def test_what_did_not_happen_has_no_time() -> None:
    found = noted_of(made(ended=50.5), UNKNOWN)

    assert (None, None, None, 0.0, 0.0) == (
        found.asked,
        found.first,
        found.last,
        found.queued,
        found.loading,
    )


@pytest.mark.parametrize(
    ("error", "left", "outcome"),
    [
        (None, False, "ok"),
        (None, True, "cancelled"),
        ("broke", False, "failed"),
        ("broke", True, "failed"),
        ("", False, "failed"),
    ],
)
def test_how_it_ended(error: str | None, *, left: bool, outcome: str) -> None:
    assert outcome == noted_of(made(error=error, left=left), UNKNOWN).outcome


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer a"), (b"x-api-key", b"b")], b"Bearer a"),
        ([(b"x-api-key", b"b")], b"b"),
        ([(b"x-api-key", b"b"), (b"x-api-key", b"c")], b"c"),
        ([(b"cookie", b"b")], None),
    ],
)
def test_which_header_has_the_key(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert key == noted_of(made(headers=headers), UNKNOWN).key


@pytest.mark.parametrize(
    ("value", "record", "kept"),
    [
        (None, True, True),
        (None, False, False),
        (b"on", True, True),
        (b"on", False, False),
        (b"off", True, False),
        (b" Off ", True, False),
        (b"false", True, False),
        (b"0", True, False),
        (b"no", True, False),
        (b"", True, True),
    ],
)
def test_the_model_and_who_asks_may_both_say_no(value: bytes | None, *, record: bool, kept: bool) -> None:
    headers = [] if value is None else [(b"host", b"x"), (b"x-record", value)]

    assert kept == may_be_kept(made(headers=headers), Circumstances(record=record))
    assert kept == noted_of(made(headers=headers), Circumstances(record=record)).keep


def test_pieces_and_last_words_are_put_together() -> None:
    found = noted_of(made(pieces=[b"a", b"b"], size=2, engine=[b"c", b"d"]), UNKNOWN)

    assert (b"ab", b"cd") == (found.answer, found.engine)
