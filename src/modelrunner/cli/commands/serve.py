"""`serve`: the daemon itself, in the foreground."""

from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.settings import DAEMON, FLAGS, flag_of, load

_FLAGS = tuple(setting for setting in DAEMON if setting.name in FLAGS)


def configure(parser: Parser) -> None:
    """Take a flag for each setting that has one."""
    parser.words("", most=0)
    for setting in _FLAGS:
        usual = setting.shown or setting.default
        about = f"{setting.help} ({setting.environment}{f', default {usual}' if usual else ''})"
        parser.add_argument(flag_of(setting), dest=setting.name, metavar="VALUE", help=about)


def run(args: Namespace, session: Session) -> int:
    """Serve until told to stop."""
    from modelrunner.server.serve import run as serve

    flags = {setting.name: getattr(args, setting.name) for setting in _FLAGS}
    return serve(load(flags, session.environ), session.environ)
