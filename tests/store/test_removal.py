"""What removing means."""

import pytest

from modelrunner.errors import Conflict, ModelNotFound
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.store.index import Entry, Index
from modelrunner.store.lookup import Match
from modelrunner.store.removal import Step, plan_removal

A, B = Digest.of(b"a"), Digest.of(b"b")
SHARED, ONLY = str(Digest.of(b"shared")), str(Digest.of(b"only"))
FIRST, SECOND = parse_reference("ai/x:1"), parse_reference("ai/x:2")
GONE: Step = ("deleted", str(A))


def _index(*tags: str) -> Index:
    return Index((Entry(str(A), tags, (SHARED, ONLY)), Entry(str(B), (), (SHARED,))))


def _untagged(*names: str) -> list[Step]:
    return [("untagged", name) for name in names]


@pytest.mark.parametrize(
    ("tags", "match", "force", "steps"),
    [
        (("ai/x:1",), Match(A, FIRST), False, [*_untagged(str(FIRST)), GONE]),
        (("ai/x:1", "ai/x:2"), Match(A, FIRST), False, _untagged(str(FIRST))),
        (("ai/x:1", "ai/x:2"), Match(A, FIRST), True, _untagged(str(FIRST))),
        ((), Match(A, None), False, [GONE]),
        (("ai/x:1",), Match(A, None), False, [*_untagged(str(FIRST)), GONE]),
        (("ai/x:1", "ai/x:2"), Match(A, None), True, [*_untagged(str(FIRST), str(SECOND)), GONE]),
        (("ai/x:1", "docker.io/ai/x:1"), Match(A, None), False, [*_untagged(str(FIRST)), GONE]),
    ],
)
def test_matrix(tags: tuple[str, ...], match: Match, force: bool, steps: list[Step]) -> None:
    """By name or by id, with one name or several, forced or not."""
    assert plan_removal(_index(*tags), match, "text", force=force).steps == steps


def test_an_id_with_several_names_needs_force() -> None:
    """The names would vanish without having been mentioned."""
    with pytest.raises(Conflict, match=r"unable to delete `abc` \(must be forced\)"):
        plan_removal(_index("ai/x:1", "ai/x:2"), Match(A, None), "abc", force=False)


def test_an_unlisted_model_is_not_found() -> None:
    """Somebody else was faster."""
    with pytest.raises(ModelNotFound):
        plan_removal(Index(), Match(A, None), "abc", force=False)


def test_files_of_other_models_are_no_orphans() -> None:
    """A shared layer stays until the last model that needs it goes."""
    first = plan_removal(_index("ai/x:1"), Match(A, FIRST), "x", force=False)
    second = plan_removal(first.index, Match(B, None), "b", force=False)

    assert [first.orphans, second.orphans] == [(ONLY,), (SHARED,)]


def test_a_model_that_stays_leaves_no_orphans() -> None:
    """Taking one of two names away deletes nothing."""
    removal = plan_removal(_index("ai/x:1", "ai/x:2"), Match(A, FIRST), "x", force=False)

    assert (removal.model, removal.orphans) == (None, ())
