import pytest

from modelrunner.engines.command_line import read, synonyms

VALUED = synonyms("-c --ctx-size", "--lora --lora-scaled")
SWITCHES = synonyms("-kvu --kv-unified")


@pytest.mark.parametrize(
    ("words", "context", "switches"),
    [
        ("", 7, set()),
        ("-c 512", 512, set()),
        ("--ctx-size=512", 512, set()),
        ("--ctx_size 512 -c 1024", 1024, set()),
        ("server --seed 3 --ctx-size 512 --kv_unified", 512, {"-kvu"}),
        ("-c -1", -1, set()),
        ("-c many", 7, set()),
        ("-c 1.5", 7, set()),
        ("-c 99999999999999999999999999", 7, set()),
        ("-c ²", 7, set()),
        ("-c", 7, set()),
        ("-c 512 -c", 512, set()),
    ],
)
def test_the_last_of_several_values_counts(words: str, context: int, switches: set[str]) -> None:
    """By any of its names and in any spelling; what is no number is as if it were not there."""
    line = read(words.split(), VALUED, SWITCHES)

    assert context == line.number("-c", 7)
    assert switches == line.switches


def test_a_flag_may_be_given_several_times() -> None:
    """All values are kept, in their order."""
    line = read(["--lora", "a", "--lora-scaled", "b:0.5"], VALUED, SWITCHES)

    assert ("a", "b:0.5") == line.values["--lora"]
    assert line.text("--lora") == "b:0.5"
    assert line.text("-c") is None
