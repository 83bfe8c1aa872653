"""From the arguments to a command, in every form in which docker and people call us."""

import pytest

from modelrunner.cli import table
from modelrunner.cli.dispatch import build_parser, strip_docker


@pytest.mark.parametrize(
    ("arguments", "words", "config"),
    [
        (["ls", "--json"], ["ls", "--json"], None),
        (["model", "ls", "--json"], ["ls", "--json"], None),
        (["--log-level", "error", "model", "ls", "-q"], ["ls", "-q"], None),
        (["--log-level=error", "-D", "model", "ls"], ["ls"], None),
        (["-H", "unix:///x", "--host", "tcp://y", "-c", "lab", "model", "ps"], ["ps"], None),
        (["--config", "/d", "model", "push", "x"], ["push", "x"], "/d"),
        (["--config=/d", "ls"], ["ls"], "/d"),
        (["model", "--tls", "--tlscacert", "c", "ls"], ["ls"], None),
        (["help", "model", "ls"], ["help", "ls"], None),
        (["help", "model"], ["help"], None),
        (["__complete", "model", "ls", ""], ["__complete", "ls", ""], None),
        (["model"], [], None),
        (["model", "run", "model", "-D"], ["run", "model", "-D"], None),
        (["run", "model"], ["run", "model"], None),
    ],
)
def test_docker_s_own_words_are_taken_off(arguments: list[str], words: list[str], config: str | None) -> None:
    """What is left is what would be typed after `docker model`; only the configuration folder is kept."""
    assert (words, config) == tuple(strip_docker(arguments))


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
