"""`simulate` needs no daemon."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Run

TRACE = """\
{"model": "small", "memory": "2GiB", "load": 1.5}
{"at": 0, "ask": "small", "for": 1}
{"at": 9, "ask": "small", "for": 1}
"""


def test_a_trace_is_simulated(dmr: "Run", tmp_path: Path) -> None:
    """Figures for people, and for programs."""
    path = tmp_path / "trace.jsonl"
    path.write_text(TRACE)
    table = dmr("simulate", str(path), "--memory", "4GiB")
    document = dmr("simulate", str(path), "--memory", "4GiB", "--json")

    assert "Wait, 99 of 100 at most     1.50 s" in table.out
    assert {"requests": 2, "hit_rate": 0.5, "loads": 1, "evictions": 0}.items() <= json.loads(
        document.out
    ).items()


def test_a_made_up_trace_compares_policies(dmr: "Run") -> None:
    """The same trace for both."""
    waits = {}
    for policy in ("value", "lru"):
        outcome = dmr(
            *("simulate", "helped", "--memory", "26GiB", "--places", "2", "--policy", policy, "--json")
        )
        waits[policy] = json.loads(outcome.out)["wait_mean"]

    assert waits["value"] < waits["lru"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("absent.jsonl", "--memory", "1GiB"), "cannot read the trace `absent.jsonl`"),
        (("mixed", "--memory", "much"), "invalid size: `much`"),
        (("mixed", "--policy", "best"), "must be one of: value, lru"),
    ],
)
def test_what_is_wrong_is_said(dmr: "Run", arguments: tuple[str, ...], error: str) -> None:
    """In a sentence."""
    outcome = dmr("simulate", *arguments)

    assert outcome.code == 2
    assert error in outcome.err
