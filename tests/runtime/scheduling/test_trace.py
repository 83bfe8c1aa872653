"""Traces, read and made up."""

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.runtime.scheduling.trace import SYNTHETIC, TracedModel, TracedRequest, read_trace

SMALL = '{"model": "small", "memory": "2GiB", "load": 1.5, "slots": 4}'


def test_a_trace_is_read_from_lines() -> None:
    """In the order of time, with what may be left out left out."""
    trace = read_trace(
        [
            SMALL,
            "",
            '{"at": 2, "ask": "small", "for": 3.2}',
            '{"at": 0.25, "ask": "small", "for": 1, "caller": "a", "priority": "high"}',
        ]
    )

    assert (TracedModel("small", 2 << 30, 1.5, 4),) == trace.models
    assert (TracedRequest(0.25, "small", 1.0, "a", 8.0), TracedRequest(2.0, "small", 3.2)) == trace.requests


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        '"text"',
        "{}",
        '{"model": "m", "memory": "much", "load": 1}',
        '{"model": "m", "memory": "1GB", "load": -1}',
        '{"model": "m", "memory": "1GB", "load": NaN}',
        '{"at": "soon", "ask": "small", "for": 1}',
        '{"at": 0, "ask": "small"}',
        '{"at": 0, "ask": "small", "for": 1, "priority": "urgent"}',
    ],
)
def test_a_line_that_makes_no_sense_is_named(line: str) -> None:
    """By its number."""
    with pytest.raises(InvalidRequest, match="line 2"):
        read_trace([SMALL, line])


def test_only_models_that_are_described_can_be_asked_for() -> None:
    """Otherwise nobody knows what they need."""
    with pytest.raises(InvalidRequest, match="no model `large`"):
        read_trace([SMALL, '{"at": 0, "ask": "large", "for": 1}'])


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_same_seed_makes_the_same_trace(name: str) -> None:
    """And another seed another one."""
    make = SYNTHETIC[name]

    assert make(models=3, requests=50, seed=1) == make(models=3, requests=50, seed=1)
    assert make(models=3, requests=50, seed=1) != make(models=3, requests=50, seed=2)
    assert 50 == len(make(models=3, requests=50, seed=1).requests)
