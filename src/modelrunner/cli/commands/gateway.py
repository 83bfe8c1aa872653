"""`gateway`: one OpenAI-compatible address in front of the model runner and other providers."""

from pathlib import Path

from modelrunner.cli.parse import Namespace, Parser, UsageError, number
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest


def configure(parser: Parser) -> None:
    """Take the file, and where to listen."""
    parser.words("", most=0)
    parser.add_argument("-c", "--config", metavar="file", help="The configuration, in YAML (needed)")
    parser.add_argument("--host", metavar="IP", default="127.0.0.1", help="Address, 127.0.0.1 by default")
    parser.add_argument(
        "-p",
        "--port",
        type=number(least=0, most=65535),
        metavar="int",
        default=4000,
        help="Port, 4000 by default",
    )
    parser.switch("-v", "--verbose", help="Print each request")
    parser.examples = "  gateway --config gateway.yaml"


def run(args: Namespace, session: Session) -> int:
    """Read the file, and serve until a signal ends it."""
    if not args.config:
        raise UsageError("--config is required", hint="`gateway --config gateway.yaml`")
    path = Path(args.config)
    try:
        text = path.read_text()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise InvalidRequest(f"cannot read `{path}`: {reason}") from exc
    from modelrunner.gateway.config import parse
    from modelrunner.gateway.providers import RUNNER
    from modelrunner.gateway.serve import run as serve

    config = parse(text, session.environ, f"{session.endpoint.address.url}/engines/v1")
    if any(deployment.provider is RUNNER for deployment in config.deployments):
        if session.endpoint.address.socket is not None:
            raise InvalidRequest(
                "the model runner listens on a socket, which the gateway cannot reach",
                hint="start it on a port, or give `api_base`",
            )
        session.client().version()  # which starts a daemon when there is none
    return serve(config, args.host, args.port, verbose=args.verbose)
