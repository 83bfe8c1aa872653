"""From the arguments to a command, in every form in which docker and people call us."""

import pytest

from modelrunner.cli import table
from modelrunner.cli.command import build_parser


@pytest.mark.parametrize("name", sorted(table.COMMANDS))
def test_every_command_has_a_parser_with_a_summary(name: str) -> None:
    """Each entry of the table names a module that exists, and help for every option."""
    parser = build_parser(name, table.COMMANDS[name], "dmr")

    text = parser.format_help()
    assert text.startswith(f"Usage:  dmr {name}")
    assert table.COMMANDS[name].summary in text
    assert all(action.help for action in parser._actions)


def test_serve_belongs_to_dmr_alone() -> None:
    """The plug-in starts no daemon in the foreground."""
    assert table.find("serve", standalone=False) is None
    assert table.find("serve", standalone=True) is not None


@pytest.mark.parametrize(("alias", "name"), [("ls", "list"), ("stop", "unload"), ("config", "configure")])
def test_aliases_lead_to_the_same_command(alias: str, name: str) -> None:
    """The reference's short forms work."""
    assert table.find(alias, standalone=False) == (name, table.COMMANDS[name])
