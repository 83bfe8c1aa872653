"""One command: its module below `cli.commands`, and its parser."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, cast

from modelrunner.cli import table
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session


class Command(NamedTuple):
    """What a module below `cli.commands` offers."""

    configure: Callable[[Parser], None]
    run: Callable[[Namespace, Session], int]


def module(entry: table.Entry) -> Command:
    """Import the module of a command, and of no other."""
    found = import_module(f"modelrunner.cli.commands.{entry.module}")
    return Command(  # each of these modules has these two
        cast("Callable[[Parser], None]", found.configure),
        cast("Callable[[Namespace, Session], int]", found.run),
    )


def build_parser(name: str, entry: table.Entry, program: str) -> Parser:
    """Build the parser of one command, and of no other."""
    parser = Parser(program, name, entry.summary)
    module(entry).configure(parser)
    return parser
