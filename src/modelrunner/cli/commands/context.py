"""`context`: named runners, and which of them the commands go to. No runner is ever asked."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from modelrunner.cli import contexts
from modelrunner.cli.contexts import DEFAULT, Context
from modelrunner.cli.output import clean, emit, note, say, standard_json, table
from modelrunner.cli.parse import Namespace, Parser, UsageError
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError

HEADER = ("NAME", "HOST", "DESCRIPTION", "CURRENT")
_AUTOMATIC = "(auto-detect)"


def configure(parser: Parser) -> None:
    """Take what to do, and with which."""
    parser.words("(create NAME | use NAME | ls | inspect NAME... | rm NAME...)")
    parser.add_argument("--host", metavar="URL", help="With create: where the runner is (needed)")
    parser.switch("--tls", help="With create: use TLS")
    parser.switch("--tls-skip-verify", help="With create: accept any certificate")
    parser.add_argument(
        "--tls-ca-cert", metavar="path", help="With create: certificate authority to trust, as PEM"
    )
    parser.add_argument("--description", metavar="string", default="", help="With create: what it is")
    parser.examples = (
        '  context create lab --host http://192.168.1.100:12434 --description "The lab"\n'
        "  context use lab\n"
        "  context use default"
    )


def run(args: Namespace, session: Session) -> int:
    """Do what the first word says."""
    if not args.words:
        emit(args.parser.format_help())
        return 0
    word, names = args.words[0], args.words[1:]
    if word not in _ACTIONS:
        raise UsageError(
            f'unknown command "{word}" for "{args.parser.prog}"', hint=f"one of: {', '.join(_ACTIONS)}"
        )
    action, least, most = _ACTIONS[word]
    if len(names) < least or (most is not None and len(names) > most):
        wanted = f"{least}" if least == most else f"at least {least}"
        raise args.parser.wrong(f"'{args.parser.prog} {word}' requires {wanted} argument(s).")
    if word != "create" and any((args.host, args.tls, args.tls_skip_verify, args.tls_ca_cert)):
        raise args.parser.wrong("these flags belong to `context create`")
    return action(args, names, session)


def _create(args: Namespace, names: Sequence[str], session: Session) -> int:
    if not args.host:
        raise UsageError("--host is required", hint="such as `--host http://192.168.1.100:12434`")
    from modelrunner.cli.endpoint import check_url

    check_url(args.host)
    context = Context(
        host=args.host,
        tls=args.tls,
        skip_verify=args.tls_skip_verify,
        ca_cert=_readable(args.tls_ca_cert) if args.tls_ca_cert else "",
        description=args.description,
        created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    contexts.create(_store(session), names[0], context)
    say(f'Context "{names[0]}" created.')
    return 0


def _readable(text: str) -> str:
    path = Path(text).expanduser().absolute()
    try:
        path.open("rb").close()
    except OSError as exc:
        raise InvalidRequest(f'--tls-ca-cert: cannot read "{path}": {exc.strerror}') from exc
    return str(path)


def _use(_: Namespace, names: Sequence[str], session: Session) -> int:
    contexts.use(_store(session), names[0])
    say(f'Current context is now "{names[0]}".')
    return 0


def _list(_: Namespace, _names: Sequence[str], session: Session) -> int:
    found = contexts.read(_store(session))
    rows = [(DEFAULT, _AUTOMATIC, "Auto-detected Docker context", "" if found.current else "*")]
    rows += [
        (name, context.host, context.description, "*" if name == found.current else "")
        for name, context in sorted(found.named.items())
    ]
    emit(table(HEADER, rows))
    if host := session.environ.get("MODEL_RUNNER_HOST", ""):
        note(f'Warning: MODEL_RUNNER_HOST="{clean(host)}" overrides the active context.')
    return 0


def _inspect(_: Namespace, names: Sequence[str], session: Session) -> int:
    found = contexts.read(_store(session))
    documents = [
        {"name": name, **(Context(_AUTOMATIC) if name == DEFAULT else found.get(name)).document()}
        for name in names
    ]
    emit(standard_json(documents))
    return 0


def _remove(_: Namespace, names: Sequence[str], session: Session) -> int:
    failed = False
    for name in names:
        try:
            contexts.remove(_store(session), name)
        except RunnerError as exc:
            note(f"Error: {clean(name)}: {clean(exc.message)}")
            failed = True
        else:
            say(f'Context "{name}" removed.')
    if failed:
        raise RunnerError("one or more contexts could not be removed")
    return 0


def _store(session: Session) -> Path:
    return contexts.path_in(session.docker_config)


_Action = Callable[[Namespace, Sequence[str], Session], int]
# What to do, and how many names it takes.
_ACTIONS: dict[str, tuple[_Action, int, int | None]] = {
    "create": (_create, 1, 1),
    "use": (_use, 1, 1),
    "ls": (_list, 0, 0),
    "list": (_list, 0, 0),
    "inspect": (_inspect, 1, None),
    "rm": (_remove, 1, None),
    "remove": (_remove, 1, None),
}
