"""ONNX files: whole, cut short, or none."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import DamagedWeights, UnsupportedModel
from modelrunner.models.weights.onnx import check
from modelrunner.testing.speech import write_voice


def test_a_whole_model_has_its_size(tmp_path: Path) -> None:
    """Its outermost fields lead to the end of the file."""
    path = write_voice(tmp_path / "voice.onnx")

    assert check(path) == path.stat().st_size


def test_a_model_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    """The graph is longer than the rest of the file."""
    path = write_voice(tmp_path / "voice.onnx")
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(DamagedWeights, match="truncated"):
        check(path)


@pytest.mark.parametrize("content", [b"", b"\x08\x09", b"GGUF" + bytes(9), b"<html></html>", bytes(64)])
def test_another_file_is_none(tmp_path: Path, content: bytes) -> None:
    """Not even one that begins as a model does, and has none in it."""
    path = tmp_path / "voice.onnx"
    path.write_bytes(content)

    with pytest.raises(UnsupportedModel, match="not an ONNX model"):
        check(path)


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_refused(content: bytes) -> None:
    """By an error that a user can be told."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UnsupportedModel):
        path = Path(folder) / "voice.onnx"
        path.write_bytes(b"\x08\x09" + content)
        check(path)
