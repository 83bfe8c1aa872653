"""Metrics of requests, counted as they are read: how many, how large, how long, how many tokens. Pure."""

from itertools import chain

from modelrunner.recorder.documents import JSON
from modelrunner.recorder.values import Noted
from modelrunner.telemetry.metrics import Family, Histogram

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SPEED = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
_MODEL = ("model",)
_TOKENS = (("prompt", "prompt_tokens"), ("cached", "cached_tokens"), ("completion", "completion_tokens"))


class Measuring:
    """Counts requests."""

    def __init__(self) -> None:
        self._requests = Family(
            "modelrunner_requests_total",
            "counter",
            "Requests to models, by how they ended: ok, failed, or cancelled by the client.",
            ("model", "api", "outcome", "status"),
        )
        self._received = Family(
            "modelrunner_request_bytes_total", "counter", "Bytes of bodies that came in.", _MODEL
        )
        self._sent = Family(
            "modelrunner_response_bytes_total", "counter", "Bytes of bodies that went out.", _MODEL
        )
        self._seconds = Histogram(
            "modelrunner_request_duration_seconds", "How long requests took in all.", _SHORT, _MODEL
        )
        self._queued = Histogram(
            "modelrunner_queue_wait_seconds", "How long requests waited, with loading.", _SHORT, _MODEL
        )
        self._first = Histogram(
            "modelrunner_time_to_first_token_seconds",
            "From when a request came in to its first token.",
            _SHORT,
            _MODEL,
        )
        self._speed = Histogram(
            "modelrunner_tokens_per_second", "How fast answers were written.", _SPEED, _MODEL
        )
        self._tokens = Family(
            "modelrunner_tokens_total",
            "counter",
            "Tokens of prompts, of those the cached ones, and of answers.",
            ("model", "kind"),
        )

    @property
    def families(self) -> tuple[Family | Histogram, ...]:
        """All of them."""
        return tuple(each for each in vars(self).values() if isinstance(each, Family | Histogram))

    def lines(self) -> str:
        """Write all."""
        return "".join(chain.from_iterable(each.lines() for each in self.families))

    def count(self, noted: Noted, summary: JSON) -> None:
        """Count a request."""
        model = "" if noted.instance is None else noted.instance.name
        self._requests.add(1, model, summary["dialect"], summary["outcome"], str(noted.status))
        self._received.add(len(noted.body), model)
        self._sent.add(len(noted.answer), model)
        if noted.asked is not None:
            self._seconds.observe(noted.seconds, model)
            self._queued.observe(noted.queued, model)
        for kind, name in _TOKENS:
            if summary[name]:
                self._tokens.add(summary[name], model, kind)
        if summary["first_token"] is not None and summary["outcome"] == "ok":
            self._first.observe(summary["first_token"], model)
        if summary["tokens_per_second"]:
            self._speed.observe(summary["tokens_per_second"], model)
