"""argparse dressed like the docker CLI: its usage lines, its error texts, its way of reading flags.

Flags may stand anywhere before `--`; switches accept `=true` and `=false`; nothing is abbreviated. Words are
counted here, not by argparse, so that the messages name what is missing.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Never

from modelrunner.errors import InvalidRequest

Namespace = argparse.Namespace
_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d*)?|-\.\d+")


class UsageError(InvalidRequest):
    """The command line itself is wrong."""


class HelpAsked(Exception):
    """Somebody wants to read the help; carries the text."""


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> Never:
        raise HelpAsked(parser.format_help())


class Parser(argparse.ArgumentParser):
    """The parser of one command."""

    def __init__(self, program: str, name: str, summary: str) -> None:
        super().__init__(
            prog=f"{program} {name}",
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
            # Without a width argparse asks the terminal, for which it imports shutil: 6 ms.
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80),
        )
        self.program = program
        self.summary = summary
        self.form = ""
        self.examples = ""
        self._least = 0
        self._most: int | None = 0
        self.add_argument("-h", "--help", action=_Help, nargs=0, help=argparse.SUPPRESS)

    def words(self, form: str, *, least: int = 0, most: int | None = None) -> None:
        """Say how many words the command takes, and how its usage line shows them."""
        self.form, self._least, self._most = form, least, most

    def switch(self, *flags: str, help: str, default: bool | None = False) -> None:  # noqa: A002 - argparse's word
        """Add a flag that is on or off; `default=None` tells "not given" apart."""
        name = flags[-1]
        self.add_argument(*flags, action="store_const", const=True, default=default, help=help)
        dest = name.lstrip("-").replace("-", "_")
        for value, texts in ((True, ("true", "1")), (False, ("false", "0"))):
            for flag in (flag for flag in flags if flag.startswith("--")):
                spelled = [f"{flag}={text}" for text in texts]
                self.add_argument(
                    *spelled,
                    dest=dest,
                    action="store_const",
                    const=value,
                    default=default,
                    help=argparse.SUPPRESS,
                )

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Parse; the words are in `args.words`, those after a `--` also in `args.rest`.

        Raises:
            UsageError: an unknown flag, a value that is missing or unusable, too few or too many words.
            HelpAsked: `-h` or `--help` is among the flags.
        """
        before, rest = _split(arguments)
        try:
            args, extra = self.parse_known_args(self._joined(before))
        except argparse.ArgumentError as exc:
            raise self._flag_error(exc) from exc
        for word in extra:
            if len(word) > 1 and word[0] == "-" and " " not in word and not _NEGATIVE_NUMBER.fullmatch(word):
                raise self.wrong(self._unknown(word))
        args.before, args.rest, args.words = len(extra), rest, [*extra, *rest]
        self._count(args.words)
        return args

    def wrong(self, message: str) -> UsageError:
        """Make the error that ends with the usage line and where to read more."""
        return UsageError(
            f"{message}\n\n{self.usage_line()}\n\nSee '{self.prog} --help' for more information"
        )

    def usage_line(self) -> str:
        """One line: `Usage:  docker model pull [OPTIONS] MODEL`."""
        options = "[OPTIONS] " if any(True for _ in self._shown()) else ""
        return f"Usage:  {self.prog} {options}{self.form}".rstrip()

    def format_help(self) -> str:
        """Lay out the help as the docker CLI does."""
        text = f"{self.usage_line()}\n\n{self.summary}\n"
        rows = [(_names(action), action.help or "") for action in self._shown()]
        if rows:
            width = max(len(names) for names, _ in rows)
            options = "".join(f"  {names:<{width}}   {about}\n" for names, about in rows)
            text += f"\nOptions:\n{options}"
        return text + (f"\nExamples:\n{self.lines_of_examples()}\n" if self.examples else "")

    def lines_of_examples(self) -> str:
        """The examples as they would be typed: with the program before the command."""
        command = self.prog.removeprefix(f"{self.program} ")
        return re.sub(rf"^  {re.escape(command)}(?= |$)", f"  {self.prog}", self.examples, flags=re.MULTILINE)

    def valued(self) -> frozenset[str]:
        """The flags after which a value comes."""
        return frozenset(
            flag for action in self._actions if action.nargs is None for flag in action.option_strings
        )

    def flags(self) -> list[tuple[Sequence[str], str]]:
        """The flags that help shows: their names, and the line about them."""
        return [(action.option_strings, action.help or "") for action in self._shown()]

    def placeholder(self, flag: str) -> str:
        """What stands for a flag's value in the help; nothing for a switch."""
        shown = next((action.metavar for action in self._actions if flag in action.option_strings), None)
        return shown if isinstance(shown, str) else ""

    def choices(self, flag: str) -> Sequence[str]:
        """The few words that a flag takes; none when it takes any."""
        reader = next((action.type for action in self._actions if flag in action.option_strings), None)
        return reader.choices if isinstance(reader, OneOf) else ()

    def _joined(self, words: Sequence[str]) -> list[str]:
        """Tie a flag to its value, so that a value may begin with a dash: `--keep-alive -1m`."""
        valued = self.valued()
        joined: list[str] = []
        left = iter(words)
        for word in left:
            value = next(left, None) if word in valued and word.startswith("--") else None
            joined.append(word if value is None else f"{word}={value}")
        return joined

    def _unknown(self, word: str) -> str:
        """Say that a flag is unknown, and which one was probably meant."""
        if not word.startswith("--"):
            return unknown_flag(word)
        from difflib import get_close_matches

        typed = word.partition("=")[0]
        known = [flag for names, _ in self.flags() for flag in names if flag.startswith("--")]
        near = get_close_matches(typed, known, n=1, cutoff=0.7)
        return f"{unknown_flag(word)}{f' (did you mean {near[0]}?)' if near else ''}"

    def _shown(self) -> list[argparse.Action]:
        actions = [action for action in self._actions if action.help is not argparse.SUPPRESS]
        return sorted(actions, key=lambda action: action.option_strings[-1].lstrip("-"))

    def _count(self, words: Sequence[str]) -> None:
        if self._least <= len(words) and (self._most is None or len(words) <= self._most):
            return
        wanted = (
            f"{self._least}"
            if self._least == self._most
            else f"at least {self._least}"
            if len(words) < self._least
            else f"at most {self._most}"
        )
        raise self.wrong(f"'{self.prog}' requires {wanted} argument(s).")

    def _flag_error(self, error: argparse.ArgumentError) -> UsageError:
        flag = (error.argument_name or "").rpartition("/")[2]
        if error.message.startswith("expected"):
            return self.wrong(f"flag needs an argument: {flag}")
        return self.wrong(f"invalid value for {flag}: {error.message}")


def number(*, least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Make the reader of a whole number between two bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text, re.ASCII) or not least <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(f"`{text}` is no whole number between {least} and {most}")
        return int(text)

    return read


def fraction(text: str) -> float:
    """Read a number between 0 and 1."""
    if not re.fullmatch(r"\+?(\d+(\.\d*)?|\.\d+)", text, re.ASCII) or not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0.0 and 1.0, got `{text}`")
    return float(text)


class OneOf:
    """The reader of a word out of a few, in any case."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, text: str) -> str:
        """Read the word."""
        if text.lower() not in self.choices:
            raise argparse.ArgumentTypeError(f"must be one of: {', '.join(self.choices)} (got `{text}`)")
        return text.lower()


one_of = OneOf


def unknown_flag(word: str) -> str:
    """Say which flag of a word is unknown, as the docker CLI does."""
    if word.startswith("--"):
        return f"unknown flag: {word.partition('=')[0]}"
    return f"unknown shorthand flag: '{word[1:2]}' in {word}"


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _names(action: argparse.Action) -> str:
    short = next((flag for flag in action.option_strings if not flag.startswith("--")), None)
    names = f"{short}, {action.option_strings[-1]}" if short else f"    {action.option_strings[-1]}"
    return f"{names} {action.metavar}" if isinstance(action.metavar, str) else names
