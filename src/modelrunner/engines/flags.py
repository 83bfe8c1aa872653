"""Runtime flags that users pass to an engine: what tunes, never what opens a path, a port or a process.

They are read into typed values by the engine's list (`flag_tables.py`), and passed on as they were written.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from modelrunner.engines.flag_kinds import Flag, Value
from modelrunner.engines.flag_tables import ALLOWED, REFUSED, TABLES
from modelrunner.errors import InvalidRequest, UnknownFlag

_NEGATIVE_NUMBER = re.compile(r"-[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATORS = ";&|<>"
_DEEPEST = 64  # levels of `hf-overrides`; a model's own configuration has a handful


def flag_key(token: str) -> str:
    """The name of a flag, before the first `=`; empty for a value."""
    return token.partition("=")[0] if token.startswith("-") else ""


def split_flags(raw: str) -> tuple[str, ...]:
    """Split one line into flags by the quoting rules of a shell, without any of its other powers.

    Raises:
        InvalidRequest: a quote that is not closed, or an unquoted operator such as `;`.
    """
    lexer = shlex.shlex(raw, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = tuple(lexer)
    except ValueError as exc:
        raise InvalidRequest(f"runtime flags cannot be split: {exc}", hint="close the quotes") from exc
    for token in tokens:
        # An operator comes as a token of its own, unless it stands quoted among other characters.
        if token and not set(token) - set(_OPERATORS):
            raise InvalidRequest(
                f"runtime flags cannot be split: unquoted `{token}`",
                hint="put quotes around a value that contains it",
            )
    return tokens


def check_flags(engine: str, flags: Sequence[str]) -> tuple[str, ...]:
    """Let only flags pass that `read_flags` can read, and pass them as they are.

    Raises:
        UnknownFlag, InvalidRequest: as `read_flags`.
    """
    read_flags(engine, flags)
    return tuple(flags)


def read_flags(engine: str, flags: Sequence[str]) -> dict[str, Value]:
    """Read flags into typed values, by the name that stands for all spellings of a flag; the last one wins.

    `--flag value` and `--flag=value` are the same, and so are `_` and `-` in a name. Each rule is asked of
    all tokens before the next one, so that an unknown flag is named first.

    Raises:
        UnknownFlag: a flag that is not on the list; engines without a list take none.
        InvalidRequest: a value that could be taken for a flag or a path, or is none that the flag can have.
    """
    allowed = ALLOWED.get(engine, frozenset())
    for key in _keys(flags):
        if spelling(key) not in allowed:
            raise UnknownFlag(
                f"runtime flag `{key}` is not allowed for backend `{engine}`", hint=_way_out(engine, key)
            )
    if not all(token.strip() for token in flags):
        raise InvalidRequest("a runtime flag is empty", hint="leave it out")
    for token in flags:
        _check_joined(token)
    for token in flags:
        if "/" in token or "\\" in token:
            raise InvalidRequest(
                f"invalid runtime flag `{token}`: paths are not allowed (contains '/' or '\\')",
                hint="files come with the model, not with its flags",
            )
    return dict(_values(TABLES.get(engine, {}), flags))


def spelling(key: str) -> str:
    """A flag's name as engines read it: underscores in a long name are dashes."""
    return key.replace("_", "-") if key.startswith("--") else key


def _way_out(engine: str, key: str) -> str | None:
    """The reason when the flag is one that is never passed on, else the nearest one that is."""
    name = spelling(key)
    if reason := REFUSED.get(engine, {}).get(name):
        return reason
    near = get_close_matches(name, sorted(ALLOWED.get(engine, ())), n=1, cutoff=0.75)
    return f"did you mean `{near[0]}`?" if near else None


def _keys(flags: Sequence[str]) -> Iterator[str]:
    """The names of all flags; a negative number right after a flag is that flag's value."""
    before = ""
    for token in flags:
        is_value = bool(before) and "=" not in before and _NEGATIVE_NUMBER.fullmatch(token)
        key = "" if is_value else flag_key(token)
        if key:
            yield key
        before = token if key else ""


def _check_joined(token: str) -> None:
    value = token.partition("=")[2] if token.startswith("-") else ""
    if value.startswith("-") and not "0" <= value[1:2] <= "9":
        raise InvalidRequest(
            f"invalid flag `{token}`: value cannot start with '-' unless followed by a digit"
        )


def _values(table: Mapping[str, Flag], flags: Sequence[str]) -> Iterator[tuple[str, Value]]:
    rest = list(reversed(flags))
    while rest:
        token = rest.pop()
        key, joined, value = token.partition("=")
        flag = table.get(spelling(key))
        if flag is None:
            raise InvalidRequest(
                f"`{token}` is no runtime flag, and belongs to none", hint="put the name of a flag before it"
            )
        if joined:
            if not flag.kinds:
                raise InvalidRequest(f"runtime flag `{key}` takes no value: `{value}`", hint=f"write `{key}`")
            rest.append(value)
        elif flag.bare is not None and (not rest or rest[-1].startswith("-")):
            yield flag.name, flag.bare
            continue
        yield flag.name, _value(key, flag, rest)


def _value(key: str, flag: Flag, rest: list[str]) -> Value:
    """Take what belongs to a flag from the tokens that are left."""
    read: list[Value] = []
    for kind in flag.kinds:
        if not rest or (rest[-1].startswith("-") and not _NEGATIVE_NUMBER.fullmatch(rest[-1])):
            raise InvalidRequest(f"runtime flag `{key}` needs a value", hint=f"expected {kind.expected}")
        token = rest.pop()
        try:
            read.append(kind.read(token))
        except ValueError as exc:
            raise InvalidRequest(
                f"invalid value for runtime flag `{key}`: `{token}`", hint=f"expected {kind.expected}"
            ) from exc
    if not read:
        return flag.constant
    return read[0] if len(read) == 1 else tuple(read)


def check_overrides(overrides: Mapping[str, object]) -> None:
    """Let only plain identifiers be keys of `hf-overrides`, at every depth.

    Raises:
        InvalidRequest: a key that is anything else, or too many levels.
    """
    _check_keys(overrides, "", _DEEPEST)


def _check_keys(value: object, path: str, levels: int) -> None:
    if levels == 0:
        raise InvalidRequest(f"invalid hf_overrides: more than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not _IDENTIFIER.fullmatch(key):
                where = f"nested key `{key}` in `{path}`" if path else f"key `{key}`"
                raise InvalidRequest(
                    f"invalid hf_overrides {where}: must contain only alphanumeric characters and"
                    " underscores, and start with a letter or underscore"
                )
            _check_keys(inner, f"{path}.{key}" if path else key, levels - 1)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, inner in enumerate(value):
            _check_keys(inner, f"{path}[{index}]", levels - 1)
