"""`compose`: what Docker Compose calls for a service with `provider: {type: model}`.

On stdout there is nothing but its protocol: one JSON object after another.
Source: docker/compose `docs/extension.md` and `pkg/compose/plugins.go`, v2.38.
"""

import io
import json
from collections.abc import Sequence

from modelrunner.cli.commands.pull import pull
from modelrunner.cli.names import short_id, spellings
from modelrunner.cli.output import emit, json_line, say
from modelrunner.cli.parse import Namespace, Parser, UsageError, fraction, number
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.wire.configuration import ConfigureRequest, Speculative
from modelrunner.wire.models import ModelView

# Of `up`: name, description, type as Compose knows it, and default; only the model has to be given.
_PARAMETERS = (
    ("backend", "Accepted; the engine is chosen by the model's format", "string", "llama.cpp"),
    ("context-size", "Context size in tokens; -1 is all that the model was trained for", "int64", "-1"),
    ("model", "Model to use; more than one may be given", "stringArray", "[]"),
    ("runtime-flags", "The engine's own flags, as one text", "string", ""),
    ("speculative-draft-model", "Small model that guesses ahead", "string", ""),
    ("speculative-min-acceptance-rate", "How sure it has to be of a guess", "float64", "0"),
    ("speculative-num-tokens", "How many tokens it guesses", "int", "0"),
)
_REQUIRED = "model"


def configure(parser: Parser) -> None:
    """Take Compose's verb, the service, and the provider's options."""
    parser.words("(metadata | up SERVICE | down SERVICE)", least=1, most=2)
    parser.add_argument("--project-name", metavar="string", help="The project, which changes nothing")
    parser.add_argument("--backend", metavar="string", help=_PARAMETERS[0][1])
    parser.add_argument("--context-size", type=number(least=-1), metavar="int32", help=_PARAMETERS[1][1])
    parser.add_argument("--model", action="append", default=[], metavar="string", help=_PARAMETERS[2][1])
    parser.add_argument("--runtime-flags", metavar="string", help=_PARAMETERS[3][1])
    parser.add_argument("--speculative-draft-model", metavar="string", help=_PARAMETERS[4][1])
    parser.add_argument(
        "--speculative-min-acceptance-rate", type=fraction, metavar="float", help=_PARAMETERS[5][1]
    )
    parser.add_argument(
        "--speculative-num-tokens", type=number(least=0), metavar="int", help=_PARAMETERS[6][1]
    )


def run(args: Namespace, session: Session) -> int:
    """Do what Compose asks for; what goes wrong is told in its protocol too."""
    match args.words:
        case ["metadata"]:
            emit(json.dumps(metadata(), separators=(",", ":")))
        case ["up", _]:
            try:
                _up(args, session)
            except RunnerError as exc:
                _tell("error", f"{exc.message} ({exc.hint})" if exc.hint else exc.message)
                raise
        case ["down", _]:
            return 0  # models stay as long as they are used, whoever uses them
        case _:
            raise UsageError(
                f'unknown command "{" ".join(args.words)}" for "{args.parser.prog}"',
                hint="Compose calls `metadata`, `up SERVICE` and `down SERVICE`",
            )
    return 0


def metadata() -> dict[str, object]:
    """Describe the options, by which Compose checks a project and editors help to write one."""
    parameters = [
        {"name": name, "description": about, "required": name == _REQUIRED, "type": kind}
        | ({"default": default} if default else {})
        for name, about, kind, default in _PARAMETERS
    ]
    return {
        "description": "Docker Model Runner",
        "up": {"parameters": parameters},
        "down": {"parameters": None},
    }


def _up(args: Namespace, session: Session) -> None:
    models: Sequence[str] = args.model
    if not models:
        raise InvalidRequest("options.model is required", hint="name one below `options` of the provider")
    _tell("info", "Initializing model runner...")
    here = _names(session.client().models())
    for name in models:
        if name not in here:
            _tell("info", pull(session, name, _Lines()))
    _tell("setenv", f"MODEL={','.join(models)}")
    if args.context_size is not None and args.context_size > 0:
        _tell("info", f"Setting context size to {args.context_size}")
    if args.runtime_flags:
        _tell("info", f"Setting raw runtime flags to {args.runtime_flags}")
    if args.speculative_draft_model:
        _tell("info", f"Enabling speculative decoding with draft model: {args.speculative_draft_model}")
    for name in models:
        session.client().configure(_request(name, args))
        _tell("info", f"Successfully configured backend for model {name}")
    base = session.endpoint.container_url.removesuffix("v1/")
    _tell("setenv", f"URL={base}engines/v1/")


def _request(name: str, args: Namespace) -> ConfigureRequest:
    """Say how the model is to be run; what the project leaves out is left out."""
    body = ConfigureRequest({"model": name})
    if args.context_size is not None:
        body["context-size"] = args.context_size
    if args.runtime_flags:
        body["raw-runtime-flags"] = args.runtime_flags
    if args.speculative_draft_model:
        speculative = Speculative({"draft_model": args.speculative_draft_model})
        if args.speculative_num_tokens:
            speculative["num_tokens"] = args.speculative_num_tokens
        if args.speculative_min_acceptance_rate:
            speculative["min_acceptance_rate"] = args.speculative_min_acceptance_rate
        body["speculative"] = speculative
    return body


def _names(models: Sequence[ModelView]) -> set[str]:
    """Everything by which a project may name what is here: ids, and each tag in all its spellings."""
    ids = {form for model in models for form in (model["id"], short_id(model["id"]))}
    return ids | {form for model in models for tag in model.get("tags") or [] for form in spellings(tag)}


def _tell(kind: str, message: str) -> None:
    say(json_line({"type": kind, "message": message}))


class _Lines(io.StringIO):
    """Where progress goes: each line becomes a message."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                _tell("info", line)
        return len(text)
