"""The index as a value and as a file."""

import pytest

from modelrunner.errors import ModelNotFound, StoreError
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.store.index import Entry, Index, dumps, loads

A, B = Digest.of(b"a"), Digest.of(b"b")
LAYER, CONFIG = Digest.of(b"layer"), Digest.of(b"config")
EXACT = f"""{{
  "models": [
    {{
      "id": "{A}",
      "tags": [
        "docker.io/ai/gemma3:latest"
      ],
      "files": [
        "{LAYER}",
        "{CONFIG}"
      ]
    }}
  ]
}}"""


def _tags(index: Index, model: Digest) -> tuple[str, ...]:
    entry = index.entry(model)
    assert entry is not None
    return entry.tags


def test_the_file_is_laid_out_as_the_reference_does() -> None:
    """Two spaces, the keys in order, the configuration last, no newline at the end."""
    index = Index().add(A, [LAYER, CONFIG]).tag(A, parse_reference("gemma3"))

    assert dumps(index).decode() == EXACT


def test_reading_what_was_written_gives_the_same_value() -> None:
    """The file holds all of an index."""
    index = Index().add(A, [LAYER, CONFIG]).add(B, []).tag(A, parse_reference("gemma3"))

    assert loads(dumps(index)) == index


@pytest.mark.parametrize("text", ['{"models": null}', "{}", '{"models": []}'])
def test_null_is_an_empty_list(text: str) -> None:
    """The reference writes null for a list that it emptied."""
    assert loads(text.encode()).entries == ()


def test_null_tags_are_no_tags() -> None:
    """An entry that lost its last name has null for tags."""
    index = loads(f'{{"models": [{{"id": "{A}", "tags": null, "files": null}}]}}'.encode())

    assert index.entries == (Entry(str(A), (), (), {}),)


def test_keys_that_we_do_not_know_survive() -> None:
    """A newer program's keys are written back, in the file and in each entry."""
    text = f'{{"models": [{{"id": "{A}", "tags": [], "files": [], "pinned": true}}], "revision": 7}}'

    again = dumps(loads(text.encode()).tag(A, parse_reference("x"))).decode()

    assert '"pinned": true' in again
    assert '"revision": 7' in again


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"models": 1}', '{"models": [3]}', '{"models": [{"id": 1}]}', "\xff"]
)
def test_something_else_is_refused(text: str) -> None:
    """Anything but an index is an error, never an empty index that would be written back."""
    with pytest.raises(StoreError, match="index of the store cannot be read"):
        loads(text.encode("latin-1"))


def test_text_in_a_list_must_be_text() -> None:
    """A number among the tags is an error."""
    with pytest.raises(StoreError, match="no text"):
        loads(f'{{"models": [{{"id": "{A}", "tags": [1]}}]}}'.encode())


def test_a_name_moves_from_one_model_to_another() -> None:
    """The first model stays listed, without the name."""
    name = parse_reference("ai/x:1")

    index = Index().add(A, []).add(B, []).tag(A, name).tag(B, name)

    assert [_tags(index, A), _tags(index, B)] == [(), ("docker.io/ai/x:1",)]


def test_a_name_is_given_once() -> None:
    """Giving the same name again changes nothing."""
    once = Index().add(A, []).tag(A, parse_reference("ai/x:1"))

    assert once.tag(A, parse_reference("ai/x:1")) == once


def test_names_are_compared_by_their_canonical_form() -> None:
    """An old file's short form is the same name, and is replaced by the full one."""
    index = Index((Entry(str(A), ("ai/x:1", "y")), Entry(str(B))))

    index = index.tag(A, parse_reference("docker.io/ai/x:1")).tag(B, parse_reference("ai/y:latest"))

    assert [_tags(index, A), _tags(index, B)] == [("docker.io/ai/x:1",), ("docker.io/ai/y:latest",)]


def test_a_prefix_of_a_name_is_another_name() -> None:
    """`v1` and `v10` have nothing to do with each other (distribution 10.A1)."""
    index = Index().add(A, []).tag(A, parse_reference("ai/m:v1")).tag(A, parse_reference("ai/m:v10"))

    assert _tags(index, A) == ("docker.io/ai/m:v1", "docker.io/ai/m:v10")


def test_tags_that_are_no_references_are_kept() -> None:
    """Rewriting an entry loses nothing (distribution 10.A17)."""
    index = Index((Entry(str(A), ("not a tag!", "ai/x:1")),))

    index = index.untag(parse_reference("ai/x:1")).tag(A, parse_reference("ai/y:1"))

    assert _tags(index, A) == ("not a tag!", "docker.io/ai/y:1")


def test_an_unknown_model_cannot_be_named() -> None:
    """There is no entry to write the name into."""
    with pytest.raises(ModelNotFound):
        Index().tag(A, parse_reference("ai/x:1"))


def test_adding_a_listed_model_changes_nothing() -> None:
    """Its names and files stay."""
    index = Index().add(A, [LAYER]).tag(A, parse_reference("ai/x:1"))

    assert index.add(A, [CONFIG]) == index


def test_hugging_face_names_are_spelled_anew() -> None:
    """Only a leading `hf.co/` is replaced, and doing it twice is doing it once."""
    index = Index((Entry(str(A), ("hf.co/org/m:latest", "docker.io/hf.co/x:1")),))

    migrated = index.migrated()

    assert _tags(migrated, A) == ("huggingface.co/org/m:latest", "docker.io/hf.co/x:1")
    assert migrated.migrated() == migrated


def test_the_default_registry_completes_stored_names() -> None:
    """A short name in an old file means what it meant to the program that wrote it."""
    index = Index((Entry(str(A), ("ai/x:1",)),), default_registry="foo.io")

    assert [str(name) for name in index.references(index.entries[0])] == ["foo.io/ai/x:1"]
