"""CTranslate2's files: what their variables say, and what is none."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrunner.errors import DamagedWeights, InvalidRequest, UnsupportedModel
from modelrunner.models.weights.ctranslate2 import read_header
from modelrunner.testing.speech import ctranslate2_model

WHOLE = ctranslate2_model(
    {
        "decoder/embeddings": ((100, 32), 4, 2),
        "encoder/weight": ((64, 64), 1, 1),
        "encoder/scale": ((64,), 0, 4),
    }
)


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "model.bin"
    path.write_bytes(content)
    return path


def test_variables_are_counted_by_type(tmp_path: Path) -> None:
    """Numbers that are a setting do not count, and the most frequent type is the model's."""
    header = read_header(_written(tmp_path, WHOLE))

    assert header.spec == "WhisperSpec"
    assert header.types == {"float16": 3200, "int8": 4096}
    assert header.type == "int8"
    assert header.parameters == 7296
    assert header.file_bytes == len(WHOLE)


@pytest.mark.parametrize("end", [30, 200, len(WHOLE) // 2, len(WHOLE) - 300])
def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path, end: int) -> None:
    """Wherever it ends, before anything is hashed."""
    with pytest.raises(DamagedWeights, match="truncated"):
        read_header(_written(tmp_path, WHOLE[:end]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"GGUF" + bytes(100), bytes(100)])
def test_another_file_is_none(tmp_path: Path, content: bytes) -> None:
    """Among them PyTorch's files, which have the same ending."""
    with pytest.raises(UnsupportedModel, match="not a model of CTranslate2"):
        read_header(_written(tmp_path, content))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(InvalidRequest, match=r"model\.bin"):
        read_header(tmp_path / "model.bin")


@settings(max_examples=60)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=12), st.integers(0, len(WHOLE)))
def test_any_bytes_are_a_model_or_refused(where: int, other: bytes, end: int) -> None:
    """By an error that a user can be told; no length in the file is believed."""
    content = (WHOLE[:where] + other + WHOLE[where + len(other) :])[:end]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UnsupportedModel):
        read_header(_written(Path(folder), content))
