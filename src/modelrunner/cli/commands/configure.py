"""`configure`: how a model is run from now on; `configure show` tells what is in force."""

import json
from collections.abc import Sequence

from modelrunner.cli.configured import show, tell
from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser, UsageError, fraction, number, one_of
from modelrunner.cli.session import Session
from modelrunner.units import format_keep_alive, parse_keep_alive
from modelrunner.wire.configuration import ConfigureOptions, ConfigureRequest, Speculative, VllmOptions

_MODES = ("completion", "embedding", "reranking", "image-generation", "transcription", "speech")
_THINK, _DO_NOT_THINK = -1, 0  # llama.cpp's reasoning budgets, in tokens; -1 is without limit
# What a replacement leaves alone, so that setting only these replaces nothing.
_STAYS = frozenset({"pinned", "memory-check", "record"})


def configure(parser: Parser) -> None:
    """Take one model, what to set, and the engine's own flags after `--`."""
    parser.words("(MODEL [-- RUNTIME FLAGS] | show [MODEL] | --reset (MODEL | --all))")
    parser.add_argument(
        "--context-size",
        type=number(least=-1),
        metavar="int32",
        help="Context size in tokens; -1 is all that the model was trained for",
    )
    parser.add_argument(
        "--keep-alive",
        metavar="duration",
        help="How long the model stays loaded when idle: 5m, 1h30m, 0 or -1",
    )
    parser.add_argument("--mode", type=one_of(*_MODES), metavar="string", help=f"One of: {', '.join(_MODES)}")
    parser.switch("--think", default=None, help="Let the model reason before it answers")
    _speculative(parser)
    parser.add_argument("--hf_overrides", metavar="json", help="What vLLM is to change in the model's config")
    parser.add_argument(
        "--gpu-memory-utilization",
        type=fraction,
        metavar="float",
        help="How much of the GPU's memory vLLM may use, from 0.0 to 1.0",
    )
    parser.switch("--pin", default=None, help="Keep the model in memory, also over a restart")
    parser.add_argument(
        "--no-pin", dest="pin", action="store_const", const=False, help="Do not keep it any more"
    )
    parser.switch(
        "--memory-check", default=None, help="Whether to refuse a load that seems too large for the memory"
    )
    parser.switch("--record", default=None, help="Whether to record the model's requests")
    parser.switch("--merge", help="Change only what is given, instead of replacing the configuration")
    parser.switch("--reset", help="Forget how the model is to be run")
    parser.switch("--all", help="With --reset: of all models")
    parser.add_argument(
        "--format",
        type=one_of("table", "json"),
        metavar="string",
        help="With show: table or json; by default a table on a terminal, else JSON",
    )
    parser.switch("--json", help="With show: like --format json")
    parser.examples = (
        "  configure --context-size 8192 ai/smollm2\n"
        "  configure ai/smollm2 -- --temp 0.2\n"
        "  configure --merge --keep-alive 1h ai/smollm2\n"
        "  configure show ai/smollm2\n"
        "  configure --reset ai/smollm2"
    )


def _speculative(parser: Parser) -> None:
    parser.add_argument("--speculative-draft-model", metavar="string", help="Small model that guesses ahead")
    parser.add_argument(
        "--speculative-num-tokens", type=number(least=0), metavar="int", help="How many tokens it guesses"
    )
    parser.add_argument(
        "--speculative-min-acceptance-rate",
        type=fraction,
        metavar="float",
        help="How sure it has to be of a guess, from 0.0 to 1.0",
    )


def run(args: Namespace, session: Session) -> int:
    """Send the configuration, forget it, or print what is in force."""
    names: Sequence[str] = args.words[: args.before]
    if names[:1] == ["show"] and len(names) <= 2 and not args.rest:
        return show(session, names[1] if len(names) == 2 else None, "json" if args.json else args.format)
    if args.reset:
        return _reset(args, names, session)
    if len(names) != 1:
        raise _wrong_count(names, separated=bool(args.rest))
    body = request(names[0], args)
    given = body.keys() - {"model", "mode"}
    client = session.client()
    send = client.change_configuration if args.merge or (given and given <= _STAYS) else client.configure
    tell(names[0], send(body))
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
    if speculative := _guesses(args):
        body["speculative"] = speculative
    if vllm := _vllm(args):
        body["vllm"] = vllm
    body = ConfigureRequest({**body, **_switches(args)})
    if args.rest:
        body["runtime-flags"] = list(args.rest)
    return body


def _switches(args: Namespace) -> ConfigureOptions:
    """What is on or off, as far as that was said."""
    options: ConfigureOptions = {}
    if args.pin is not None:
        options["pinned"] = args.pin
    if args.memory_check is not None:
        options["memory-check"] = args.memory_check
    if args.record is not None:
        options["record"] = args.record
    return options


def canonical_keep_alive(text: str) -> str:
    """Write a duration as the daemon lists it: `5m0s`, `0s`, or `-1` for ever.

    Raises:
        InvalidRequest: the text is no duration.
    """
    return format_keep_alive(parse_keep_alive(text))


def _guesses(args: Namespace) -> Speculative:
    given = Speculative()
    if args.speculative_draft_model is not None:
        given["draft_model"] = args.speculative_draft_model
    if args.speculative_num_tokens is not None:
        given["num_tokens"] = args.speculative_num_tokens
    if args.speculative_min_acceptance_rate is not None:
        given["min_acceptance_rate"] = args.speculative_min_acceptance_rate
    return given


def _vllm(args: Namespace) -> VllmOptions:
    given = VllmOptions({})
    if args.hf_overrides is not None:
        given["hf-overrides"] = _object(args.hf_overrides)
    if args.gpu_memory_utilization is not None:
        given["gpu-memory-utilization"] = args.gpu_memory_utilization
    return given


def _object(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"invalid --hf_overrides JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise UsageError("invalid --hf_overrides JSON: it has to be an object")
    return document


def _reset(args: Namespace, names: Sequence[str], session: Session) -> int:
    if args.all and names:
        raise args.parser.wrong(f"'{args.parser.prog} --reset' does not take MODEL with --all.")
    if not args.all and len(names) != 1:
        raise _wrong_count(names, separated=bool(args.rest))
    if len(request("", args)) > (1 if args.mode is None else 2):
        raise args.parser.wrong("--reset cannot be used together with what it would forget")
    count = session.client().reset_configuration(None if args.all else names[0], args.mode)
    say(f"Forgot {count} configuration(s)." if count else "Nothing was configured.")
    return 0


def _wrong_count(names: Sequence[str], *, separated: bool) -> UsageError:
    where = " before --" if separated else ""
    listed = " ".join(names)
    return UsageError(f"Exactly one model must be specified{where}, got {len(names)}: [{listed}]")
