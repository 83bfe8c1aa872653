"""Which model a text means."""

import pytest

from modelrunner.errors import InvalidReference
from modelrunner.models.description.names import as_id, parse_name
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.store.lookup import Grammar, Match, Names

A, B, UNKNOWN = Digest.of(b"a"), Digest.of(b"b"), Digest.of(b"unknown")
TAGGED = parse_reference("ai/smollm2:latest")
OTHER = parse_reference("myorg/other:v3")
FOREIGN = parse_reference("registry.example.com/team/model:Q4_K_M")
HUGGING_FACE = parse_reference("huggingface.co/org/model:latest")
NAMES = Names(((A, (TAGGED, HUGGING_FACE)), (B, (OTHER, FOREIGN))), Grammar(parse_name, as_id))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (str(A), Match(A, None)),
        (A.hex, Match(A, None)),
        (A.short, Match(A, None)),
        (f"  {A.short} ", Match(A, None)),
        (str(UNKNOWN), None),
        (UNKNOWN.hex, None),
        (UNKNOWN.short, None),
        ("smollm2", Match(A, TAGGED)),
        ("SmolLM2", Match(A, TAGGED)),
        ("ai/smollm2", Match(A, TAGGED)),
        ("docker.io/ai/smollm2:latest", Match(A, TAGGED)),
        ("index.docker.io/ai/smollm2", Match(A, TAGGED)),
        ("smollm2:v2", None),
        ("hf.co/Org/Model", Match(A, HUGGING_FACE)),
        ("huggingface.co/org/model", Match(A, HUGGING_FACE)),
        ("registry.example.com/team/model:Q4_K_M", Match(B, FOREIGN)),
        ("registry.example.com/team/model:q4_k_m", None),
        (f"whoever/whatever@{A}", Match(A, None)),
        (f"ai/smollm2@{UNKNOWN}", None),
        (f"ai/smollm2:latest@{A}", Match(A, TAGGED)),
        (f"ai/smollm2:latest@{B}", None),
        ("other", None),
        ("other:v3", None),
        ("myorg/other:v3", Match(B, OTHER)),
    ],
)
def test_ids_and_names(text: str, expected: Match | None) -> None:
    """An id, a short id, a name in any spelling, or a digest behind a name; never another organisation's."""
    assert NAMES.match(text) == expected


@pytest.mark.parametrize("text", ["", "a:b:c", "https://huggingface.co/o/m", "../../etc/passwd"])
def test_nonsense_is_refused(text: str) -> None:
    """A text that can name nothing is not merely unknown."""
    with pytest.raises(InvalidReference):
        NAMES.match(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("other", Match(B, OTHER)),
        ("model", Match(A, HUGGING_FACE)),
        ("Other", None),
        ("other:v3", None),
        (f"sha256:{B.hex[:7]}", Match(B, None)),
        (B.hex[:7], None),
        ("sha256:", None),
        ("sha256:zz", None),
    ],
)
def test_bare_names_and_pieces_of_ids(text: str, expected: Match | None) -> None:
    """The loose look-up compares the last part of a name, and a marked piece of an id."""
    assert NAMES.match_bare(text) == expected


def test_a_piece_of_an_id_must_fit_one_model() -> None:
    """A piece that fits two models names neither."""
    first, second = Digest("sha256", "a" * 64), Digest("sha256", "a" * 63 + "b")
    names = Names(((first, ()), (second, ())), Grammar(parse_name, as_id))

    assert names.match_bare("sha256:aaaa") is None


def test_a_name_that_looks_like_an_id_is_still_a_name() -> None:
    """Twelve hexadecimal digits that are nobody's id may be a model's name (distribution 10.A27)."""
    name = parse_reference("ai/1234567890ab:latest")
    names = Names(((A, (name,)),), Grammar(parse_name, as_id))

    assert names.match("1234567890ab") == Match(A, name)


def test_the_first_entry_has_the_name() -> None:
    """Two entries with one name can only come from elsewhere; the order of the index decides."""
    names = Names(((A, (TAGGED,)), (B, (TAGGED,))), Grammar(parse_name, as_id))

    assert names.match("smollm2") == Match(A, TAGGED)
