"""What an engine really said is turned into what a client of each dialect expects."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _recorded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recorded", Path(__file__).with_name("recorded.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorded = _recorded()
PAIRS = list(recorded.pairs())


@pytest.mark.parametrize(("recording", "dialect"), PAIRS)
def test_an_answer_is_turned_as_recorded(recording: str, dialect: str) -> None:
    """Byte for byte, but for made-up names."""
    expected = recorded.expected(recording, dialect).read_bytes()

    assert expected.decode() == recorded.translated(recording, dialect).decode()


@pytest.mark.parametrize(("recording", "dialect"), [pair for pair in PAIRS if pair[0].endswith(".sse")])
def test_a_cut_at_any_byte_changes_nothing(recording: str, dialect: str) -> None:
    """A stream that comes in two pieces is the same stream, wherever it is cut."""
    whole = recorded.translated(recording, dialect)
    size = (recorded.FOLDER / recording).stat().st_size

    assert [] == [cut for cut in range(size) if recorded.translated(recording, dialect, cut) != whole]


def test_pieces_of_a_byte_change_nothing() -> None:
    """The worst case: every byte comes alone."""
    for recording, dialect in PAIRS:
        if recording.endswith(".sse"):
            cuts = range(1, (recorded.FOLDER / recording).stat().st_size)

            assert recorded.translated(recording, dialect) == recorded.translated(recording, dialect, *cuts)
