import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save, save_file

from modelrunner.errors import UnsupportedModel
from modelrunner.models.weights.headers import HeaderIncomplete
from modelrunner.models.weights.safetensors import BITS, SafetensorsTensor, parse_header, read_header, shards


def _file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def _entry(start: int, stop: int, shape: list[int], dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


GOOD = _file({"__metadata__": {"format": "pt"}, "a": _entry(0, 2, [2]), "b": _entry(2, 6, [2, 2])}, b"123456")


def test_what_the_official_package_writes_is_read(tmp_path: Path) -> None:
    """Names, types, shapes and metadata, from a file of several kinds of numbers."""
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "half": np.zeros((4, 8), np.float16),
        "whole": np.zeros(3, np.int64),
        "none": np.zeros((0, 5), np.float32),
        "one": np.zeros((), np.float32),
    }
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, metadata={"format": "np", "architecture": "tiny"})

    header = read_header(path)
    assert {"format": "np", "architecture": "tiny"} == header.metadata
    assert {name: array.shape for name, array in arrays.items()} == {
        tensor.name: tensor.shape for tensor in header.tensors
    }
    assert {"half": "F16", "whole": "I64", "none": "F32", "one": "F32"} == {
        tensor.name: tensor.dtype for tensor in header.tensors
    }
    assert path.stat().st_size == header.file_bytes == header.header_bytes + 64 + 24 + 4


def test_tensors_are_listed_in_the_order_of_their_data() -> None:
    """Whatever the order in the header."""
    header = parse_header(GOOD, len(GOOD), "m")

    assert (
        SafetensorsTensor("a", "U8", (2,), 0, 2),
        SafetensorsTensor("b", "U8", (2, 2), 2, 6),
    ) == header.tensors


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        b"GGUF\3\0\0\0" * 4,
        _file(b"{}", length=2**63),
        _file(b"{}", length=2**64 - 1),
        _file(b"{}", length=100_000_001),
        _file(b"{}", length=0),
        _file(b"[]"),
        _file(b"{"),
        _file(b'{"a": 1}'),
        _file(b'{"__metadata__": {"a": 1}}'),
        _file(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        _file({"a": _entry(0, 2, [3])}, b"12"),
        _file({"a": _entry(0, 2, [2**62, 2**62])}, b"12"),
        _file({"a": _entry(0, 2, [-2, -1])}, b"12"),
        _file({"a": _entry(2, 0, [2])}, b"12"),
        _file({"a": _entry(0, 2, [2]), "b": _entry(1, 3, [2])}, b"123"),
        _file({"a": _entry(0, 1, [1]), "b": _entry(2, 3, [1])}, b"123"),
        _file({"a": _entry(0, 2**63, [2**63])}, b"12"),
        _file({"a": _entry(0, 2, [2])}, b"123"),
        _file({"a": _entry(0, 4, [4])}, b"123"),
        _file({"a": _entry(0, 2, [1] * 65 + [2])}, b"12"),
        _file({"a": _entry(0, 0, [2**63 - 1] * 40, "NEW")}),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(content: bytes, tmp_path: Path) -> None:
    """In one sentence, whatever is wrong, and so does the official reader refuse it."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)

    with pytest.raises(UnsupportedModel, match="safetensors file: `"):
        read_header(path)
    if b"[1, 1, 1" not in content:  # it has no limit of dimensions
        with pytest.raises((SafetensorError, OverflowError)):
            deserialize(content)  # type: ignore[no-untyped-call]  # it is typed in no file


@given(st.binary(max_size=300), st.integers(0, 2**64))
def test_no_bytes_make_it_fail_otherwise(content: bytes, size: int) -> None:
    """Any file is read, refused, or more of it is asked for, never more than there is."""
    needed = size
    try:
        parse_header(content, size, "m")
    except UnsupportedModel:
        pass
    except HeaderIncomplete as exc:
        needed = exc.needed

    assert len(content) < needed <= size or needed == size


@example(at=59, noise=b" ")
@given(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_is_read_only_if_the_official_package_reads_it(at: int, noise: bytes) -> None:
    """The reader is never more lenient, but for kinds of numbers that are newer than it."""
    content = GOOD[:at] + noise + GOOD[at + len(noise) :]
    try:
        header = parse_header(content, len(content), "m")
    except (UnsupportedModel, HeaderIncomplete):
        return
    if any(tensor.dtype not in BITS for tensor in header.tensors):
        return

    deserialize(content)  # type: ignore[no-untyped-call]  # it is typed in no file


def test_a_head_that_is_too_short_says_how_much_is_needed() -> None:
    """First the length, then the whole header."""
    for have, needed in ((3, 8), (8, len(GOOD) - 6), (20, len(GOOD) - 6)):
        with pytest.raises(HeaderIncomplete) as caught:
            parse_header(GOOD[:have], len(GOOD), "m")
        assert needed == caught.value.needed


def test_any_shard_names_all_of_its_set(tmp_path: Path) -> None:
    """In order; a set with a gap is refused with the figures."""
    paths = [tmp_path / f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    for path in paths:
        path.write_bytes(save({"a": np.zeros(1)}))

    assert tuple(paths) == shards(paths[1])
    paths[0].unlink()
    with pytest.raises(UnsupportedModel, match="incomplete shard set: found 2 of 3 shards for `model`"):
        shards(paths[1])


def test_a_single_file_is_its_own_set(tmp_path: Path) -> None:
    """With any other name."""
    assert (tmp_path / "model.safetensors",) == shards(tmp_path / "model.safetensors")
