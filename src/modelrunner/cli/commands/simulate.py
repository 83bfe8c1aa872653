"""`simulate`: what the scheduler would do with a trace of requests on a machine of some size."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.cli.output import emit, standard_json, table
from modelrunner.cli.parse import Namespace, Parser, number, one_of
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest
from modelrunner.units import parse_bytes, parse_keep_alive

if TYPE_CHECKING:
    from modelrunner.runtime.scheduling.simulation import Outcome
    from modelrunner.runtime.scheduling.trace import Trace

_MADE_UP = ("mixed", "helped")
_EXAMPLES = """\
  # A trace describes models and requests, a line of JSON for each:
  #   {"model": "small", "memory": "2GiB", "load": 1.5, "slots": 4}
  #   {"at": 0.25, "ask": "small", "for": 3.2, "caller": "a", "priority": "high"}
  dmr simulate trace.jsonl --memory 24GiB

  # Made-up bursts for three models, on two machines
  dmr simulate mixed --memory 24GiB
  dmr simulate mixed --memory 48GiB"""


def configure(parser: Parser) -> None:
    """Take a trace, and the machine."""
    parser.words("TRACE", least=1, most=1)
    parser.add_argument("--memory", metavar="SIZE", help="Memory for models, such as 24GiB (default: all)")
    parser.add_argument("--places", type=number(least=1, most=1000), default=8, help="Most models in memory")
    parser.add_argument("--keep-alive", default="5m", metavar="DURATION", help="How long idle models stay")
    parser.add_argument("--policy", type=one_of("value", "lru"), default="value", help="value or lru")
    parser.add_argument(
        "--models", type=number(least=1, most=1000), default=3, help="Models of made-up traces"
    )
    parser.add_argument("--requests", type=number(least=1, most=10**6), default=2000, help="Their requests")
    parser.add_argument("--seed", type=number(least=0), default=0, help="Another number, another trace")
    parser.switch("--json", help="Print JSON")
    parser.examples = _EXAMPLES


def run(args: Namespace, _: Session) -> int:
    """Simulate, and print how it went."""
    from modelrunner.runtime.memory import total_memory
    from modelrunner.runtime.scheduling.history import BY_VALUE, LEAST_RECENTLY_USED
    from modelrunner.runtime.scheduling.simulation import Machine, simulate

    memory = total_memory() if args.memory is None else parse_bytes(args.memory)
    machine = Machine(memory, args.places, parse_keep_alive(args.keep_alive))
    judge = BY_VALUE if args.policy == "value" else LEAST_RECENTLY_USED
    outcome = simulate(_trace(args), machine, judge)
    figures = _figures(outcome)
    emit(standard_json(figures) if args.json else table(("FIGURE", "VALUE"), _rows(figures)))
    return 0


def _trace(args: Namespace) -> "Trace":
    from modelrunner.runtime.scheduling.trace import SYNTHETIC, read_trace

    name: str = args.words[0]
    if name in _MADE_UP:
        return SYNTHETIC[name](models=args.models, requests=args.requests, seed=args.seed)
    with _lines(name) as lines:
        return read_trace(lines)


@contextlib.contextmanager
def _lines(name: str) -> Iterator[Iterator[str]]:
    if name == "-":
        yield iter(sys.stdin)
        return
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield iter(file)
    except OSError as exc:
        raise InvalidRequest(
            f"cannot read the trace `{name}`: {(exc.strerror or str(exc)).lower()}",
            hint=f"a file, `-`, or a made-up trace: {', '.join(_MADE_UP)}",
        ) from exc


def _figures(outcome: "Outcome") -> dict[str, float | int]:
    return {
        "requests": outcome.requests,
        "refused": outcome.refused,
        "wait_p50": round(outcome.wait(0.5), 3),
        "wait_p99": round(outcome.wait(0.99), 3),
        "wait_mean": round(outcome.mean_wait, 3),
        "hit_rate": round(outcome.hit_rate, 3),
        "loads": outcome.loads,
        "evictions": outcome.evictions,
        "seconds": round(outcome.seconds, 1),
    }


_TITLES = {
    "requests": ("Requests", "{}"),
    "refused": ("Refused", "{}"),
    "wait_p50": ("Wait, half of them at most", "{:.2f} s"),
    "wait_p99": ("Wait, 99 of 100 at most", "{:.2f} s"),
    "wait_mean": ("Wait, on average", "{:.2f} s"),
    "hit_rate": ("Model ready when asked for", "{:.1%}"),
    "loads": ("Loads", "{}"),
    "evictions": ("Evictions", "{}"),
    "seconds": ("Simulated time", "{:.0f} s"),
}


def _rows(figures: dict[str, float | int]) -> list[tuple[str, str]]:
    return [(title, form.format(figures[name])) for name, (title, form) in _TITLES.items()]
