"""The runner's container, as the `*-runner` commands see it: their flags, what they do and what they say.

Docker's SDK is imported once one of them runs.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelrunner.cli import installed
from modelrunner.cli.container_credentials import config_for
from modelrunner.cli.docker_engine import opened
from modelrunner.cli.installed import Installed
from modelrunner.cli.output import note, say
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError

if TYPE_CHECKING:
    from modelrunner.client import Address
    from modelrunner.containers.plan import Options
    from modelrunner.containers.runner import Found, Runners

_MOST_PORTS = 65535
# What a container is given of the caller's environment.
_PASSED_ON = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    "MODEL_RUNNER_REGISTRY_MIRRORS",
)
_PATHS = ("proxy_cert", "tls_cert", "tls_key")


def container_flags(parser: Parser) -> None:
    """Take what the container is to be."""
    parser.add_argument(
        "--port", type=number(least=0, most=_MOST_PORTS), metavar="uint16", help="Port, 12434 by default"
    )
    parser.add_argument("--host", metavar="IP", help="Address to publish the port on, 127.0.0.1 by default")
    parser.add_argument("--gpu", metavar="string", help="One of: auto, none, cuda, rocm, musa, cann")
    parser.switch("--do-not-track", default=None, help="Tell the runner to report nothing to anybody")
    parser.switch("--debug", default=None, help="Have the runner write more to its log")
    parser.add_argument("--proxy-cert", metavar="file", help="Certificate authority of a proxy, as PEM")


def tls_flags(parser: Parser) -> None:
    """Take how the container speaks TLS."""
    parser.switch("--tls", default=None, help="Serve TLS too, and nothing else beyond this machine")
    parser.add_argument(
        "--tls-port",
        type=number(least=1, most=_MOST_PORTS),
        metavar="uint16",
        help="Port for TLS, 12444 by default",
    )
    parser.add_argument("--tls-cert", metavar="file", help="Certificate for TLS, as PEM")
    parser.add_argument("--tls-key", metavar="file", help="Key of the certificate, as PEM")


def typed(args: Namespace) -> dict[str, Any]:
    """Tell which of the container's flags were given, and as what."""
    names = ("port", "host", "gpu", "do_not_track", "debug", *_PATHS, "tls", "tls_port")
    given = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def install(args: Namespace, session: Session, *, pull: bool) -> None:
    """Make the container, unless there is one; `pull` fetches its image first."""
    wanted = typed(args) | ({"backend": args.backend} if getattr(args, "backend", None) else {})
    with opened(session) as runners:
        found = _running(runners)
        if found is not None:
            _remember(session, found, runners)
            say(f"Model Runner container {_name()} ({found.short}) is already running")
            _hint_at_reinstall(wanted, session.program)
            return
        _make(_options(wanted, _base(session, None), session), session, runners, pull=pull)


def reinstall(args: Namespace, session: Session) -> None:
    """Remove the container that there is, and make a new one."""
    wanted = typed(args) | ({"backend": args.backend} if args.backend else {})
    with opened(session) as runners:
        found = runners.find()
        options = _options(wanted, _base(session, found), session)
        _check(options)
        _say_removed(runners.remove())
        _make(options, session, runners, pull=True)


def restart(args: Namespace, session: Session) -> None:
    """Remove the container, and make one of the same options, but for those that are given."""
    with opened(session) as runners:
        options = _options(typed(args), _base(session, runners.find()), session)
        _check(options)
        _say_removed(runners.remove())
        _make(options, session, runners, pull=False)


def stop(session: Session, *, models: bool) -> None:
    """Remove the container, and with `models` the volumes; what it was made of is remembered."""
    with opened(session) as runners:
        found = runners.find()
        path, engine = installed.path_in(session.docker_config), session.docker.url
        _say_removed(removed := runners.remove())
        if not removed:
            say("No Model Runner container is there")
        before = installed.read(path, engine)
        options = found.options.dump() if found else before.options if before else ""
        installed.write(path, engine, Installed("", 0, options=options) if options else None)
        if models:
            for name in runners.remove_models():
                say(f"Removed volume {name}")


def uninstall(session: Session, *, models: bool, images: bool) -> None:
    """Remove the container, and on request volumes and images; nothing is remembered."""
    stop(session, models=models)
    with opened(session) as runners:
        runners.remove_network()
    installed.write(installed.path_in(session.docker_config), session.docker.url, None)
    if images:
        with opened(session) as runners:
            for name in runners.remove_images(_repository(session)):
                say(f"Removed image {name}")


def _running(runners: "Runners") -> "Found | None":
    """Find the runner; one that does not run is removed, and is none."""
    found = runners.find()
    if found is not None and not found.running:
        runners.remove()
        return None
    return found


def _base(session: Session, found: "Found | None") -> "Options":
    """What the options are that nobody types: those of the container that is or was there."""
    from modelrunner.containers.plan import restored

    if found is not None:
        return found.options
    before = installed.read(installed.path_in(session.docker_config), session.docker.url)
    return restored(before.options if before else None)


def _options(wanted: Mapping[str, Any], base: "Options", session: Session) -> "Options":
    """Put together what was typed, what the environment says, and what was there.

    Raises:
        InvalidRequest: a file cannot be read.
    """
    environ = session.environ
    given = dict(wanted)
    if given.get("port") == 0:
        given["port"] = type(base)().port
    for name in _PATHS:
        if given.get(name):
            given[name] = _readable(given[name], f"--{name.replace('_', '-')}")
    return replace(
        base,
        **given,
        repository=_repository(session),
        version=environ.get("MODEL_RUNNER_CONTROLLER_VERSION") or "latest",
        variant=environ.get("MODEL_RUNNER_CONTROLLER_VARIANT"),
        environment={name: environ[name] for name in _PASSED_ON if environ.get(name)},
    )


def _repository(session: Session) -> str:
    return session.environ.get("MODEL_RUNNER_CONTROLLER_IMAGE") or "modelrunner"


def _readable(text: str, flag: str) -> str:
    path = Path(text).expanduser().absolute()
    try:
        path.open("rb").close()
    except OSError as exc:
        raise InvalidRequest(f"{flag}: cannot read `{path}`: {exc.strerror}") from exc
    return str(path)


def _check(options: "Options") -> None:
    """Refuse what cannot be before anything is removed."""
    from modelrunner.containers.plan import check

    check(options)


def _make(options: "Options", session: Session, runners: "Runners", *, pull: bool) -> None:
    from modelrunner.containers.plan import plan

    plan_ = plan(options, runners.facts(local=session.docker.machine is None))
    if pull and not _pull(plan_.image, runners):
        say(f"Using local image {plan_.image}")
    path, engine = installed.path_in(session.docker_config), session.docker.url
    installed.write(path, engine, Installed("", 0, options=options.dump()))
    found, made = runners.create(plan_, config_for(session.docker_config, session.environ))
    host = session.docker.machine or made.host
    runner = Installed(host, made.port, made.gateway, options.dump())
    address = _address(runner)
    runners.wait(lambda: _answers(address, session))
    installed.write(path, engine, runner)
    say(f"Model Runner container {_name()} ({found.short}) is running at {address.url}")


def _pull(image: str, runners: "Runners") -> bool:
    import sys

    from modelrunner.cli.progress import meter

    say(f"Pulling image {image}...")
    sizes: dict[str, int] = {}
    with meter("pull", sys.stdout) as shown:

        def show(layer: str, status: str, done: int, size: int) -> None:
            if status == "Downloading" and size:
                sizes[layer] = size
                shown.show(layer, done, size, 0)
            elif status == "Download complete" and layer in sizes:
                shown.show(layer, sizes[layer], sizes[layer], 0)

        return runners.pull(image, show)


def _remember(session: Session, found: "Found", runners: "Runners") -> None:
    """Note where a container is that was made elsewhere, or before this was noted."""
    from modelrunner.containers.plan import plan

    path, engine = installed.path_in(session.docker_config), session.docker.url
    before = installed.read(path, engine)
    if before is None or not before.port:
        made = plan(found.options, runners.facts(local=False))
        host = session.docker.machine or made.host
        installed.write(path, engine, Installed(host, made.port, made.gateway, found.options.dump()))


def _address(runner: Installed) -> "Address":
    from modelrunner.cli.endpoint import of_container

    return of_container(runner).address


def _answers(address: "Address", session: Session) -> bool:
    from modelrunner.client import Client

    try:
        Client(address, user_agent=session.user_agent, patience=2.0).status()
    except RunnerError:
        return False
    return True


def _hint_at_reinstall(wanted: Mapping[str, Any], program: str) -> None:
    """Say that what was typed changes nothing, and what would; values are quoted for a shell."""
    import json

    shown = {name: wanted[name] for name in ("backend", "gpu") if name in wanted}
    if shown:
        flags = " ".join(f"--{name} {json.dumps(str(value))}" for name, value in shown.items())
        note("\nThe requested runner options were not applied, because a runner is there. To apply them:")
        note(f"\n    {program} reinstall-runner {flags}")


def _say_removed(names: list[str]) -> None:
    for name in names:
        say(f"Removed container {name}")


def _name() -> str:
    from modelrunner.containers.plan import NAME

    return NAME
