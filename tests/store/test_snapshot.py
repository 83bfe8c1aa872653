"""The store in memory."""

from modelrunner.models.description.names import as_id, parse_name
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.store.lookup import Grammar
from modelrunner.store.snapshot import Snapshot, StoredModel
from modelrunner.testing.artifacts import CONFIG, make_artifact

ARTIFACT = make_artifact(b"weights")
MODEL = StoredModel(ARTIFACT.id, (parse_reference("myorg/smollm2:v3"),), ARTIFACT.content, CONFIG)


def _snapshot(asked: list[str]) -> Snapshot:
    def parse(text: str) -> Reference:
        asked.append(text)
        return parse_name(text)

    return Snapshot((MODEL,), Grammar(parse, as_id))


def test_an_answer_is_remembered() -> None:
    """Asking again, also for what is not here, parses nothing."""
    asked: list[str] = []
    snapshot = _snapshot(asked)

    found = [snapshot.find(text) for text in ("myorg/smollm2:v3", "other") * 3]

    assert found == [MODEL, None] * 3
    assert asked == ["myorg/smollm2:v3", "other"]


def test_memory_is_bounded() -> None:
    """Somebody who asks for a million names, or for a very long one, does not fill it."""
    snapshot = _snapshot([])
    for number in range(3000):
        snapshot.find(f"name-{number}")
    snapshot.find("x" * 10_000)

    assert len(snapshot._memory) <= 1024
    assert max(map(len, snapshot._memory)) < 300


def test_nonsense_finds_nothing() -> None:
    """A text that is no name is no model's name."""
    assert _snapshot([]).find("a:b:c") is None


def test_looking_loosely_finds_more() -> None:
    """A bare name in any organisation, and a marked piece of the id."""
    snapshot = _snapshot([])

    strict = [snapshot.find(text) for text in ("smollm2", f"sha256:{MODEL.id.hex[:5]}")]
    loose = [snapshot.find_loosely(text) for text in ("smollm2", f"sha256:{MODEL.id.hex[:5]}")]

    assert (strict, loose) == ([None, None], [MODEL, MODEL])


def test_finding_by_reference_and_by_id() -> None:
    """What is parsed already needs no text."""
    snapshot = _snapshot([])

    assert snapshot.find_reference(MODEL.tags[0]) == snapshot.get(MODEL.id) == MODEL
