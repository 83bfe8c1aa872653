"""Reading flags and words as the docker CLI does."""

import pytest

from modelrunner.cli.parse import HelpAsked, Parser, UsageError, number, one_of


@pytest.fixture
def parser() -> Parser:
    parser = Parser("docker model", "try", "Try things")
    parser.words("MODEL [WORD...]", least=1)
    parser.switch("-q", "--quiet", help="Say less")
    parser.switch("-f", "--force", help="Insist")
    parser.switch("--think", default=None, help="Think first")
    parser.add_argument("--size", type=number(least=-1), metavar="int", help="How large")
    parser.add_argument("-l", "--label", action="append", default=[], metavar="text", help="A label")
    parser.add_argument("--mode", type=one_of("fast", "slow"), help="How")
    return parser


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m"], ["m"]),
        (["m", "-q", "hello", "there"], ["m", "hello", "there"]),
        (["-qf", "m", "--size", "5", "hello"], ["m", "hello"]),
        (["m", "--", "--size", "-x"], ["m", "--size", "-x"]),
        (["m", "-5", "is less"], ["m", "-5", "is less"]),
        (["m", "- a list item"], ["m", "- a list item"]),
        (["m", "-"], ["m", "-"]),
    ],
)
def test_flags_may_stand_between_words(parser: Parser, arguments: list[str], words: list[str]) -> None:
    """Words keep their order; what follows `--` is never a flag."""
    assert words == parser.read(arguments).words


def test_what_follows_the_dashes_is_kept_apart(parser: Parser) -> None:
    """A command can tell its own words from what it passes on."""
    args = parser.read(["m", "--", "--temp", "0"])

    assert (args.before, args.rest) == (1, ["--temp", "0"])


@pytest.mark.parametrize(
    ("arguments", "quiet", "think"),
    [
        ([], False, None),
        (["-q"], True, None),
        (["--quiet=true"], True, None),
        (["--quiet=false"], False, None),
        (["--think"], False, True),
        (["--think=false"], False, False),
    ],
)
def test_switches_take_a_value_after_an_equals_sign(
    parser: Parser, arguments: list[str], *, quiet: bool, think: bool | None
) -> None:
    """As Go's flags do; a word after the switch is no value."""
    args = parser.read([*arguments, "m"])

    assert (args.quiet, args.think) == (quiet, think)


def test_values_may_begin_with_a_dash(parser: Parser) -> None:
    """`--size -1` needs no equals sign."""
    args = parser.read(["--size", "-1", "m", "-l", "a", "--label=b"])

    assert (args.size, args.label) == (-1, ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "'docker model try' requires at least 1 argument(s)."),
        (["m", "--bogus"], "unknown flag: --bogus"),
        (["m", "--bogus=1"], "unknown flag: --bogus"),
        (["m", "-x"], "unknown shorthand flag: 'x' in -x"),
        (["m", "--quie"], "unknown flag: --quie"),
        (["m", "--size"], "flag needs an argument: --size"),
        (["m", "--size", "many"], "invalid value for --size: `many` is no whole number"),
        (["m", "--size", "-2"], "invalid value for --size: `-2` is no whole number"),
        (["m", "--size", "9" * 5000], "invalid value for --size"),
        (["m", "--mode", "odd"], "invalid value for --mode: must be one of: fast, slow (got `odd`)"),
    ],
)
def test_a_wrong_command_line_is_answered_with_its_usage(
    parser: Parser, arguments: list[str], message: str
) -> None:
    """The message names the mistake, the form of the command, and where to read more."""
    with pytest.raises(UsageError) as caught:
        parser.read(arguments)

    first, usage, more = caught.value.message.split("\n\n")
    assert first.startswith(message)
    assert usage == "Usage:  docker model try [OPTIONS] MODEL [WORD...]"
    assert more == "See 'docker model try --help' for more information"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("least", "most", "words", "expected"),
    [
        (1, 1, [], "requires 1 argument(s)."),
        (2, 2, ["a", "b", "c"], "requires 2 argument(s)."),
        (0, 1, ["a", "b"], "requires at most 1 argument(s)."),
        (0, 0, ["a"], "requires 0 argument(s)."),
    ],
)
def test_words_are_counted(least: int, most: int, words: list[str], expected: str) -> None:
    """Too few and too many are told with the number that is wanted."""
    parser = Parser("dmr", "x", "")
    parser.words("A", least=least, most=most)

    with pytest.raises(UsageError, match=expected.replace("(", r"\(").replace(")", r"\)")):
        parser.read(words)


def test_help_looks_like_the_docker_command_lines(parser: Parser) -> None:
    """Usage, summary, options in order, short forms in front."""
    with pytest.raises(HelpAsked) as caught:
        parser.read(["--help"])

    assert str(caught.value) == (
        "Usage:  docker model try [OPTIONS] MODEL [WORD...]\n\nTry things\n\nOptions:\n"
        "  -f, --force        Insist\n"
        "  -l, --label text   A label\n"
        "      --mode         How\n"
        "  -q, --quiet        Say less\n"
        "      --size int     How large\n"
        "      --think        Think first\n"
    )
