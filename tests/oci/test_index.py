"""`index.json` and `oci-layout`, written and read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.oci.index import LAYOUT, NamedModel, check_layout, index_document, named_models, parse_index
from modelrunner.oci.reference import parse_reference
from modelrunner.testing.artifacts import make_artifact

ONE = make_artifact(b"first")
TWO = make_artifact(b"second")
NAMES = (parse_reference("ai/model:v1"), parse_reference("registry.example.com/a/b:c"))
MODELS = (NamedModel(ONE.content, NAMES), NamedModel(TWO.content))
RAW = {artifact.id: artifact.content.raw for artifact in (ONE, TWO)}


def test_what_is_written_is_read() -> None:
    """Models, and all of their names."""
    assert named_models(parse_index(index_document(MODELS)), RAW, parse_reference) == MODELS


def test_an_index_has_an_entry_for_each_name() -> None:
    """And one for a model without any; the name is where containerd and where the specification have it."""
    entries = json.loads(index_document(MODELS))["manifests"]

    assert [str(ONE.id), str(ONE.id), str(TWO.id)] == [each["digest"] for each in entries]
    assert entries[0]["annotations"] == {
        "io.containerd.image.name": "docker.io/ai/model:v1",
        "org.opencontainers.image.ref.name": "docker.io/ai/model:v1",
    }
    assert "annotations" not in entries[2]


def test_the_same_models_make_the_same_index() -> None:
    """Byte for byte, so that an export is the same twice."""
    assert index_document(MODELS) == index_document(MODELS)


def test_our_layout_is_of_a_version_that_we_read() -> None:
    """The specification's only one."""
    check_layout(LAYOUT)


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"imageLayoutVersion":1}', b'{"imageLayoutVersion":"9"}']
)
def test_another_layout_is_refused(raw: bytes) -> None:
    """One of a future version may mean anything."""
    with pytest.raises(InvalidRequest, match="oci-layout"):
        check_layout(raw)


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["schemaVersion", "mediaType", "manifests", "digest", "size", "annotations"]),
                inner,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_index_or_a_clear_error(raw: bytes) -> None:
    """Nothing but our own error comes out."""
    try:
        named_models(parse_index(raw), RAW, parse_reference)
    except InvalidRequest:
        return
