"""Docker's own words and flags, in every form in which it passes them on."""

import pytest

from modelrunner.cli.docker_flags import DockerFlags, strip_docker

NONE = DockerFlags()


@pytest.mark.parametrize(
    ("arguments", "words", "flags"),
    [
        (["ls", "--json"], ["ls", "--json"], NONE),
        (["model", "ls", "--json"], ["ls", "--json"], NONE),
        (["--log-level", "error", "model", "ls", "-q"], ["ls", "-q"], NONE),
        (["--log-level=error", "-D", "model", "ls"], ["ls"], DockerFlags(debug=True)),
        (["--debug=false", "model", "ls"], ["ls"], NONE),
        (["-H", "unix:///x", "--host", "tcp://y", "model", "ps"], ["ps"], DockerFlags(host="tcp://y")),
        (["-c", "lab", "model", "ps"], ["ps"], DockerFlags(context="lab")),
        (["--context=lab", "model", "ps"], ["ps"], DockerFlags(context="lab")),
        (["--config", "/d", "model", "push", "x"], ["push", "x"], DockerFlags(config="/d")),
        (["--config=/d", "ls"], ["ls"], DockerFlags(config="/d")),
        (["model", "--tls", "--tlscacert", "c", "ls"], ["ls"], DockerFlags(tls=True, tls_ca="c")),
        (["help", "model", "ls"], ["help", "ls"], NONE),
        (["help", "model"], ["help"], NONE),
        (["__complete", "model", "ls", ""], ["__complete", "ls", ""], NONE),
        (["model"], [], NONE),
        (["model", "run", "model", "-D"], ["run", "model", "-D"], NONE),
        (["run", "model"], ["run", "model"], NONE),
    ],
)
def test_docker_s_own_words_are_taken_off(arguments: list[str], words: list[str], flags: DockerFlags) -> None:
    """What is left is what would be typed after `docker model`; which engine was chosen is kept."""
    assert (words, flags) == tuple(strip_docker(arguments))
