"""`serve`: the daemon itself, in the foreground."""

from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.settings.loading import load
from modelrunner.settings.table import DAEMON, flag_of

_FLAGS = {name: setting for name, setting in DAEMON.items() if setting.flag}


def configure(parser: Parser) -> None:
    """Take a flag for each setting that has one."""
    parser.words("", most=0)
    for name, setting in _FLAGS.items():
        usual = setting.shown or setting.default
        about = f"{setting.help} ({setting.environment}{f', default {usual}' if usual else ''})"
        parser.add_argument(flag_of(name), dest=name, metavar="VALUE", help=about)


def run(args: Namespace, session: Session) -> int:
    """Serve until told to stop."""
    from modelrunner.server.serve import run as serve

    flags = {name: getattr(args, name) for name in _FLAGS}
    return serve(load(flags, session.environ), session.environ)
