"""Whom the gateway asks, and in which order."""

import pytest

from modelrunner.gateway.config import Config, Deployment
from modelrunner.gateway.providers import OPENAI
from modelrunner.gateway.routing import Router, is_worth_another_try


def _router(retries: int, *entries: str, **fallbacks: tuple[str, ...]) -> Router:
    """A router over deployments written as `alias/model`."""
    pairs = [entry.split("/") for entry in entries]
    deployments = tuple(Deployment(alias, OPENAI, model, "http://provider") for alias, model in pairs)
    return Router(Config(deployments, retries=retries, fallbacks=fallbacks))


def _asked(router: Router, alias: str) -> list[str]:
    return [deployment.model for deployment in router.attempts(alias)]


@pytest.mark.parametrize(
    ("router", "first", "second"),
    [
        (_router(0, "a/1"), ["1"], ["1"]),
        (_router(2, "a/1"), ["1", "1", "1"], ["1", "1", "1"]),
        (_router(0, "a/1", "a/2"), ["1"], ["2"]),
        (_router(1, "a/1", "a/2", "a/3"), ["1", "2"], ["3", "1"]),
        (_router(0, "a/1", "b/2", a=("b",)), ["1", "2"], ["1", "2"]),
        (_router(1, "a/1", "b/2", "c/3", "c/4", a=("c", "b")), ["1", "1", "3", "2"], ["1", "1", "4", "2"]),
    ],
)
def test_deployments_take_turns_and_fallbacks_come_last(
    router: Router, first: list[str], second: list[str]
) -> None:
    """One more attempt for each retry; the next request goes on where the last one stopped."""
    assert (first, second) == (_asked(router, "a"), _asked(router, "a"))


def test_an_attempt_that_is_not_made_takes_nobody_s_turn() -> None:
    """Most requests are answered by the first one asked."""
    router = _router(2, "a/1", "a/2")

    assert ["1", "2", "1"] == [next(router.attempts("a")).model for _ in range(3)]


def test_only_what_is_configured_is_known() -> None:
    router = _router(0, "a/1")

    assert router.knows("a")
    assert not router.knows("b")


@pytest.mark.parametrize(
    ("status", "worth"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (409, True),
        (422, False),
        (425, True),
        (429, True),
        (499, False),
        (500, True),
        (503, True),
        (529, True),
    ],
)
def test_a_request_that_is_wrong_is_wrong_everywhere(status: int, worth: bool) -> None:
    """What is down, or busy, may not be elsewhere, or a moment later."""
    assert worth == is_worth_another_try(status)
