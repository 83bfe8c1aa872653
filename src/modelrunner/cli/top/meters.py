"""What of the daemon's `/metrics` the view needs. Pure.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# Counters of engines that go up with each token. The daemon's own goes up when a request has ended.
_LIVE = ("vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total")
# llama.cpp counts tokens at the end of a request too, but its steps at once, and the requests in each.
_STEPS, _BUSY = "llamacpp:n_decode_total", "llamacpp:n_busy_slots_per_decode"


class Meters(NamedTuple):
    """Counters by what they are of, which only go up, and what there is of memory (bytes) and places."""

    requests: Mapping[str, float]
    tokens: Mapping[str, float]
    capacity: int = 0
    places: int = 0


def read(text: str) -> Meters:
    """Read what is there; what is missing is empty or 0."""
    samples = list(_samples(text))
    capacity = sum(value for name, _, value in samples if name == "modelrunner_memory_capacity_bytes")
    places = sum(value for name, _, value in samples if name == "modelrunner_places")
    requests = {
        str(sorted(labels.items())): value
        for name, labels, value in samples
        if name == "modelrunner_requests_total"
    }
    return Meters(requests, _tokens(samples), int(capacity), int(places))


def _tokens(samples: "list[tuple[str, dict[str, str], float]]") -> dict[str, float]:
    """Tokens that were made, by model: from what is most live of it."""
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in samples:
        if name == "modelrunner_tokens_total" and labels.get("kind") != "completion":
            continue
        of = found.setdefault(labels.get("model", ""), {})
        of[name] = of.get(name, 0.0) + value
    tokens: dict[str, float] = {}
    for model, of in found.items():
        if _STEPS in of and _BUSY in of:
            tokens[model] = of[_STEPS] * of[_BUSY]
            continue
        for name in (*_LIVE, "modelrunner_tokens_total"):
            if name in of:
                tokens[model] = of[name]
                break
    return tokens


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value):
            yield match[1], dict(_LABEL.findall(match[2] or "")), value
