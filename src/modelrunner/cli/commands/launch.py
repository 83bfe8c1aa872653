"""`launch`: start an app that uses our models, with everything set that it needs."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from modelrunner.cli.apps import BUILT_IN, App, Bases, Use, command, environment, notes, parse_apps
from modelrunner.cli.lending import lent, settle
from modelrunner.cli.opencode import files, loans
from modelrunner.cli.output import emit, harmless, note, say
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.session import Session
from modelrunner.errors import EngineNotInstalled, InvalidRequest, ModelNotFound
from modelrunner.settings.folders import home, state_dir
from modelrunner.shell import quoted

APPS_FILE = "apps.toml"
_WIDTH = 15  # of a name in the list


def configure(parser: Parser) -> None:
    """Take an app, and what it is to be given."""
    parser.words("[APP] [-- APP ARGS]")
    parser.add_argument(
        "--port", type=number(least=1, most=65535), metavar="int", help="Port on this machine, for web apps"
    )
    parser.add_argument("--image", metavar="string", help="Another image than the usual one")
    parser.switch("--detach", help="Run a container in the background")
    parser.switch("--dry-run", help="Print what would be run")
    parser.switch("--config", help="Print what is set, and run nothing")
    parser.add_argument("--model", metavar="string", help="The model that the app is to begin with")
    parser.examples = (
        "  launch openwebui --detach\n"
        "  launch opencode --model ai/qwen3\n"
        "  launch codex --config\n"
        "  launch claude -- --continue"
    )


def run(args: Namespace, session: Session) -> int:
    """List the apps, print what one needs, or start it."""
    apps = known(session)
    names, rest = args.words[: args.before], args.rest
    if not names and not rest:
        emit(harmless(_listing(apps, session)))
        return 0
    app = _chosen(names, rest, apps)
    use = Use(_bases(session), args.model, args.port, args.image, args.detach, tuple(rest))
    if args.model and not app.takes_model:
        raise InvalidRequest(f"`{app.name}` takes no --model", hint="choose the model inside the app")
    if args.config:
        emit(harmless(_configuration(app, use, session)))
        return 0
    if args.dry_run:
        emit(harmless(_dry_run(app, use)))
        return 0
    return _start(app, use, session)


def known(session: Session) -> dict[str, App]:
    """Every app by its name: those that come along, and the user's own, which win.

    Raises:
        InvalidRequest: the user's file cannot be read.
    """
    path = session.docker_config / "model" / APPS_FILE
    own: list[App] = []
    if path.is_file():
        import tomllib

        try:
            own = parse_apps(tomllib.loads(path.read_text()), str(path))
        except (OSError, ValueError) as exc:
            raise InvalidRequest(
                f"`{path}` cannot be read: {exc}", hint="mend the file, or remove it"
            ) from exc
    return dict(sorted({app.name: app for app in (*BUILT_IN, *own)}.items()))


def _chosen(names: list[str], rest: list[str], apps: Mapping[str, App]) -> App:
    """The app that the words name.

    Raises:
        InvalidRequest: none of that name, or words that belong to the app without a `--` before them.
    """
    if len(names) != 1:
        if rest:
            raise InvalidRequest(f"unexpected arguments before '--': {' '.join(names[1:]) or 'no app'}")
        raise InvalidRequest(
            f"unexpected arguments: {' '.join(names[1:])}",
            hint=f"use '--' to pass arguments to the app: `launch {names[0]} -- {' '.join(names[1:])}`",
        )
    app = apps.get(names[0].lower())
    if app is None:
        raise InvalidRequest(
            f'unsupported app "{names[0]}" (supported: {", ".join(apps)})',
            hint=f"add it to `{APPS_FILE}`; the documentation of `launch` says how",
        )
    return app


def _listing(apps: Mapping[str, App], session: Session) -> str:
    rows = "".join(
        f"  {app.name:<{_WIDTH}} {app.description}{'' if _is_here(app, session) else ' (not installed)'}\n"
        for app in apps.values()
    )
    return f"Supported apps:\n{rows}\nUsage:  {session.program} launch APP [-- APP ARGS]\n"


def _is_here(app: App, session: Session) -> bool:
    return not app.program or _found(app.program, session) is not None


def _found(program: str, session: Session) -> str | None:
    return shutil.which(program, path=session.environ.get("PATH"))


def _bases(session: Session) -> Bases:
    """The daemon's addresses.

    Raises:
        InvalidRequest: it has none that an app could use.
    """
    where = session.endpoint
    if where.address.socket is not None:
        raise InvalidRequest(
            "unable to determine standalone runner endpoint: the daemon listens on a Unix socket only",
            hint="set MODEL_RUNNER_HOST to an address such as `http://localhost:12434`",
        )
    return Bases(where.container_url.removesuffix("/v1/"), where.host_url.removesuffix("/v1/"))


def _configuration(app: App, use: Use, session: Session) -> str:
    """Everything that is set, for people who set it themselves."""
    lines = [f"Configuration for {app.name} ({'container' if app.image else 'host'} app):"]
    if app.image:
        lines.append(f"  Image:          {use.image or app.image}")
        lines.append(f"  Container port: {app.container_port}")
        lines.append(f"  Host port:      {use.port or app.port}")
    elif len(words := command(app, use)) > 1:
        lines.append(f"  Command: {_typed(words)}")
    if variables := environment(app, use):
        lines += ["  Environment:", *(f"    {name}={_shown(value)}" for name, value in variables.items())]
    lines += [f"  {line}".rstrip() for line in notes(app, use)]
    if app.files and use.model:
        lines += ["  Files, while it runs:", *(f"    {path}" for path in files(_home(session)))]
    return "\n".join(lines) + "\n"


def _dry_run(app: App, use: Use) -> str:
    lines = [f"Would run: {_typed(command(app, use))}"]
    if app.program:
        lines += [f"  {name}={_shown(value)}" for name, value in environment(app, use).items()]
        lines += [f"  {line}".rstrip() for line in notes(app, use)]
    return "\n".join(lines) + "\n"


def _typed(words: Iterable[str]) -> str:
    """Words as they would be typed."""
    return " ".join(map(quoted, words))


def _shown(value: str) -> str:
    """A value as it is, or as it would be typed where a terminal would obey it."""
    return value if value.isprintable() else quoted(value)


def _start(app: App, use: Use, session: Session) -> int:
    """Run an app until it ends; whatever its failure is, it is ours as 1."""
    words = command(app, use)
    program = _found(words[0], session)
    if program is None:
        raise _missing(app, use, words[0])
    for line in notes(app, use):
        note(line)
    session.client().models(brief=True)  # a daemon that is not there is told before the app starts
    lending: AbstractContextManager[None] = nullcontext()
    if use.model:
        _ensure_here(session, use.model)
    if app.files:
        address = f"{use.bases.host.replace('//localhost', '//127.0.0.1')}/v1"
        loaned = loans(files(_home(session)), address, use.model or "")
        book = Path(state_dir(sys.platform, session.environ)) / "launch" / f"{app.files}.json"
        if use.model:
            lending = lent(loaned, book)
        else:
            settle(loaned, book)
    variables = environment(app, use) if app.program else {}
    with lending, _keys_to_the_app():
        done = subprocess.run([program, *words[1:]], env={**session.environ, **variables}, check=False)
    return 0 if done.returncode == 0 else 1


def _missing(app: App, use: Use, program: str) -> EngineNotInstalled:
    note(f'"{program}" executable not found in PATH.')
    if app.program:
        note("Configure your app to use:")
        for name, value in environment(app, use).items():
            note(f"  {name}={value}")
        for line in notes(app, use):
            note(f"  {line}".rstrip())
    return EngineNotInstalled(f"{program} not found; please install it and re-run")


def _ensure_here(session: Session, name: str) -> None:
    try:
        session.client().model(name)
    except ModelNotFound:
        from modelrunner.cli.commands.pull import pull

        say(f"Model {name} not found locally. Pulling...")
        say(pull(session, name, sys.stdout))


def _home(session: Session) -> Path:
    return Path(home(sys.platform, session.environ))


@contextmanager
def _keys_to_the_app() -> Iterator[None]:
    """Leave Ctrl-C to the app, which may mean something else by it; we end when it ends."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not ignored: the app would inherit that
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
