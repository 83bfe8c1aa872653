"""`bench`: how many tokens a second a model gives when several ask it at once."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from modelrunner.cli.levels import Level, Request, compare, describe, document
from modelrunner.cli.output import clean, emit, note, say, standard_json
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.session import Session
from modelrunner.errors import EngineFailed, InvalidRequest, RunnerError
from modelrunner.units import format_duration, parse_duration

if TYPE_CHECKING:
    from modelrunner.client import Client

_PROMPT = "Write a comprehensive 100 word summary on whales and their impact on society."
_LOOK = 0.5  # seconds after which Ctrl-C is seen at the latest
_PAUSE = 0.01  # seconds after a request that failed: an engine that is down is not to be hammered
_LETTERS = 4  # of a token, where nobody counts them
_MOST = 1024  # requests at once


def configure(parser: Parser) -> None:
    """Take a model, and how hard to try."""
    parser.words("MODEL", least=1, most=1)
    parser.add_argument(
        "--prompt", default=_PROMPT, metavar="string", help="What to ask (default about whales)"
    )
    parser.add_argument(
        "--duration",
        type=_duration,
        default=30.0,
        metavar="duration",
        help="How long each level lasts, such as 10s (default 30s)",
    )
    parser.add_argument(
        "--concurrency",
        type=_levels,
        default=(1, 2, 4, 8),
        metavar="ints",
        help="How many requests at once, one level after the other (default 1,2,4,8)",
    )
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=300.0,
        metavar="duration",
        help="How long to wait for an answer (default 5m)",
    )
    parser.add_argument(
        "--max-tokens",
        type=number(least=1),
        metavar="int",
        help="End each answer after so many tokens (default where the model ends it)",
    )
    parser.switch("--json", help="Output results in JSON format")
    parser.examples = "  bench ai/smollm2\n  bench --duration 10s --concurrency 1,4 ai/smollm2"


def run(args: Namespace, session: Session) -> int:
    """Load the model, then measure level by level."""
    name, told = args.words[0], _silent if args.json else emit
    client = session.client(patience=args.timeout)
    session.client().model(name)
    session.client().preload(name)  # loading is not what is measured
    told(f"Prompt: {args.prompt}\n")
    told(f"Duration: {format_duration(args.duration)} per concurrency level\n")
    told(f"Concurrency levels: [{' '.join(map(str, args.concurrency))}]\n")
    levels = []
    for concurrency in args.concurrency:
        told(f"\nRunning benchmark with concurrency: {concurrency}\n")
        levels.append(_measure(partial(_ask, client, name, args), concurrency, args.duration))
        told(describe(levels[-1]))
    if not any(level.requests for level in levels):
        raise EngineFailed("no request was answered", hint="the messages above say why")
    if args.json:
        emit(standard_json(document(name, args.prompt, levels), indent=2))
    else:
        say(f"\n{compare(levels)}".rstrip("\n"))
    return 0


def _measure(ask: Callable[[], int], concurrency: int, duration: float) -> Level:
    """Have several ask, each again and again until the time is over; what is under way then still counts."""
    import threading

    answered: list[Request] = []
    failures: list[str] = []
    started = time.monotonic()

    def ask_on() -> None:
        while time.monotonic() < started + duration:
            begun = time.monotonic()
            try:
                tokens = ask()
            except RunnerError as exc:
                if exc.message not in failures:
                    note(f"request failed during benchmark: {clean(exc.message)}")
                failures.append(exc.message)
                time.sleep(_PAUSE)
            else:
                answered.append(Request(tokens, time.monotonic() - begun))

    workers = [threading.Thread(target=ask_on, daemon=True) for _ in range(concurrency)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(_LOOK)
    return Level(concurrency, time.monotonic() - started, answered, len(failures))


def _ask(client: "Client", name: str, args: Namespace) -> int:
    """The tokens of one answer: as the engine counts them, else by its length."""
    options = {} if args.max_tokens is None else {"max_tokens": args.max_tokens}
    pieces = list(client.complete(name, [{"role": "user", "content": args.prompt}], options))
    counted = next((piece.usage.completion for piece in pieces if piece.usage), 0)
    return counted or sum(len(piece.content) for piece in pieces) // _LETTERS


def _silent(_: str) -> None:
    """Say nothing: beside JSON there is only JSON."""


def _levels(text: str) -> Sequence[int]:
    try:
        levels = tuple(int(part) for part in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(0 < level <= _MOST for level in levels):
        raise argparse.ArgumentTypeError(f"`{text}` is no list of numbers between 1 and {_MOST}")
    return levels


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except InvalidRequest as exc:
        raise argparse.ArgumentTypeError(f"{exc.message}, {exc.hint}") from exc
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no time to measure in")
    return seconds
