"""Docker's own flags, which it passes on in front of `model`."""

from collections.abc import Sequence
from typing import NamedTuple

# docker's own flags arrive in front of `model`: the field of DockerFlags for each, None for what is not ours.
_GLOBAL_VALUES = {
    "--config": "config",
    "-c": "context",
    "--context": "context",
    "-H": "host",
    "--host": "host",
    "-l": None,
    "--log-level": None,
    "--tlscacert": "tls_ca",
    "--tlscert": "tls_cert",
    "--tlskey": "tls_key",
}
_GLOBAL_SWITCHES = {"-D": "debug", "--debug": "debug", "--tls": "tls", "--tlsverify": "tls_verify"}
_FALSE = frozenset({"false", "0", "f", "F", "FALSE", "False"})


class DockerFlags(NamedTuple):
    """Docker's own flags, as they stood in front of `model`."""

    config: str | None = None
    context: str | None = None
    host: str | None = None
    tls: bool = False
    tls_verify: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    debug: bool = False


class Invocation(NamedTuple):
    """The words that are ours, and docker's flags."""

    words: list[str]
    flags: DockerFlags


def strip_docker(arguments: Sequence[str]) -> Invocation:
    """Take off docker's global flags and the word `model`, in the order in which docker passes them.

    `--log-level error model ls -q` becomes `ls -q`, `help model ls` becomes `help ls`.
    """
    given: dict[str, str | bool] = {}
    left = list(arguments)
    seen_model = False
    while left:
        word = left[0]
        flag, equals, value = word.partition("=")
        if word == "model" and not seen_model:
            seen_model = True
            del left[0]
        elif flag in _GLOBAL_SWITCHES:
            given[_GLOBAL_SWITCHES[flag]] = not equals or value not in _FALSE
            del left[0]
        elif flag in _GLOBAL_VALUES and (equals or len(left) > 1):
            if field := _GLOBAL_VALUES[flag]:
                given[field] = value if equals else left[1]
            del left[: 1 if equals else 2]
        else:
            break
    if left[:1] in (["help"], ["__complete"], ["__completeNoDesc"]) and left[1:2] == ["model"]:
        del left[1]
    return Invocation(left, DockerFlags(**given))  # type: ignore[arg-type]  # the tables pair names and types
