"""`configure`: how a model is run from now on; `configure show` tells what was configured."""

from collections.abc import Sequence

from modelrunner.cli.output import emit, standard_json
from modelrunner.cli.parse import Namespace, Parser, UsageError, number, one_of
from modelrunner.cli.session import Session
from modelrunner.units import format_keep_alive, parse_keep_alive
from modelrunner.wire import ConfigureRequest

_MODES = ("completion", "embedding", "reranking", "image-generation")
_THINK, _DO_NOT_THINK = -1, 0  # llama.cpp's reasoning budgets, in tokens; -1 is without limit


def configure(parser: Parser) -> None:
    """Take one model, what to set, and the engine's own flags after `--`."""
    parser.words("[show] MODEL [-- RUNTIME FLAGS]")
    parser.add_argument(
        "--context-size",
        type=number(least=-1),
        metavar="int32",
        help="Context size in tokens; -1 is the default",
    )
    parser.add_argument(
        "--keep-alive",
        metavar="duration",
        help="How long the model stays loaded when idle: 5m, 1h30m, 0 or -1",
    )
    parser.add_argument("--mode", type=one_of(*_MODES), metavar="string", help=f"One of: {', '.join(_MODES)}")
    parser.switch("--think", default=None, help="Let the model reason before it answers")
    parser.examples = "  configure --context-size 8192 ai/smollm2\n  configure ai/smollm2 -- --temp 0.2"


def run(args: Namespace, session: Session) -> int:
    """Send the configuration, or print what is configured."""
    names: Sequence[str] = args.words[: args.before]
    if names[:1] == ["show"] and len(names) <= 2 and not args.rest:
        shown = session.client().configurations(names[1] if len(names) == 2 else None)
        emit(standard_json(shown, indent=2))
        return 0
    if len(names) != 1:
        raise _wrong_count(names, separated=bool(args.rest))
    session.client().configure(request(names[0], args))
    return 0


def request(name: str, args: Namespace) -> ConfigureRequest:
    """Assemble what to send; what was not given is absent, because the daemon replaces the whole."""
    body = ConfigureRequest({"model": name})
    if args.context_size is not None:
        body["context-size"] = args.context_size
    if args.keep_alive is not None:
        body["keep_alive"] = canonical_keep_alive(args.keep_alive)
    if args.mode is not None:
        body["mode"] = args.mode
    if args.think is not None:
        body["llamacpp"] = {"reasoning-budget": _THINK if args.think else _DO_NOT_THINK}
    if args.rest:
        body["runtime-flags"] = list(args.rest)
    return body


def canonical_keep_alive(text: str) -> str:
    """Write a duration as the daemon lists it: `5m0s`, `0s`, or `-1` for ever.

    Raises:
        InvalidRequest: the text is no duration.
    """
    return format_keep_alive(parse_keep_alive(text))


def _wrong_count(names: Sequence[str], *, separated: bool) -> UsageError:
    where = " before --" if separated else ""
    listed = " ".join(names)
    return UsageError(f"Exactly one model must be specified{where}, got {len(names)}: [{listed}]")
