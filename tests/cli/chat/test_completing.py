"""What could follow what was typed."""

from pathlib import Path

import pytest

from modelrunner.cli.chat.completing import candidates, is_open

COMMANDS = {"/set": "Set a value", "/show": "Show", "/bye": "Exit"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("data.csv", "Draft one.md", ".hidden", "docs/a.md", "docs/b.md", 'say "x".txt', "do\x1bt"):
        (tmp_path / name).write_text("")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("/s", ["/set", "/show"]),
        ("/", ["/set", "/show", "/bye"]),
        ("/model sm", ["smollm2"]),
        ("/model smollm2", []),
        ("/bye ", []),
        ("say /s", []),
        ("see @d", ["@data.csv", "@docs/"]),
        ("see @docs/", ["@docs/a.md", "@docs/b.md"]),
        ("see @D", ['@"Draft one.md"']),
        ('see @"Dr', ['@"Draft one.md"']),
        (r"see @Draft\ o", ['@"Draft one.md"']),
        ("see @.h", ["@.hidden"]),
        ("see @s", [r"@say\ \"x\".txt"]),
        ("see @no/such/", []),
        ("me@d", []),
    ],
)
def test_candidates_fit_what_was_typed(before: str, expected: list[str]) -> None:
    """Commands at the beginning, their words behind them, and files behind an @."""
    found = list(candidates(before, COMMANDS, {"/model": lambda: ["other", "smollm2"]}))

    assert expected == [candidate.text for candidate in found]


def test_a_candidate_takes_the_place_of_what_was_typed() -> None:
    """All of the mention, so that quotes can come around it."""
    [found] = candidates("see @Dr", COMMANDS, {})

    assert (found.text, found.length) == ('@"Draft one.md"', 3)


@pytest.mark.parametrize(
    ("before", "expected"), [("/s", True), ("see @", True), ("hello", False), ("", False), ("/a\nb", False)]
)
def test_only_commands_and_files_are_completed(before: str, expected: bool) -> None:
    """A Tab elsewhere is a Tab."""
    assert expected == is_open(before)
