"""Reading GGUF headers that are right, and refusing those that are not."""

import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.weights import gguf
from modelrunner.models.weights.gguf import LongArray, parse_header, read_header, shards
from modelrunner.models.weights.headers import HeaderIncomplete
from modelrunner.testing.gguf import Tensor, Typed, Value, gguf_bytes, tiny_gguf, write_gguf

SCALARS: dict[str, tuple[Value, object]] = {
    "uint8": (Typed(0, 18), 18),
    "int8": (Typed(1, -19), -19),
    "uint16": (Typed(2, 4660), 4660),
    "int16": (Typed(3, -4661), -4661),
    "uint32": (Typed(4, 305419896), 305419896),
    "int32": (Typed(5, -305419897), -305419897),
    "float32": (Typed(6, 0.5), 0.5),
    "bool": (True, True),
    "string": ("hello wörld", "hello wörld"),
    "uint64": (Typed(10, 1311768467463790320), 1311768467463790320),
    "int64": (Typed(11, -1311768467463790321), -1311768467463790321),
    "float64": (Typed(12, 0.1), 0.1),
    "short array": ([Typed(3, 1), Typed(3, 2)], (1, 2)),
    "empty array": ([], ()),
    "array of strings": (["a", "bc"], ("a", "bc")),
    "array of bools": ([True, False], (True, False)),
    "nested array": ([[1, 2], [3]], ()),
    "long nested array": ([[1]] * 60, LongArray(60)),
    "50 numbers": (list(range(50)), tuple(range(50))),
    "1024 numbers": (list(range(1024)), tuple(range(1024))),
    "1025 numbers": (list(range(1025)), LongArray(1025)),
    "51 strings": (["token"] * 51, LongArray(51)),
    "after all": ("end", "end"),
}
TENSORS = [Tensor("a.weight", (4, 8, 2), 1), Tensor("b.weight", (256,), 12), Tensor("c.bias", (7,))]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_kind_of_value_is_read(tmp_path: Path, version: int, big_endian: bool) -> None:
    """In all versions and both byte orders; arrays of more than 50 items are counted only."""
    path = write_gguf(
        tmp_path / "m.gguf",
        {key: value for key, (value, _) in SCALARS.items()},
        TENSORS,
        version=version,
        big_endian=big_endian,
    )

    header = read_header(path)

    assert version == header.version
    assert {key: expected for key, (_, expected) in SCALARS.items()} == header.metadata
    assert [(t.name, t.dims, t.type) for t in TENSORS] == [(t.name, t.dims, t.type) for t in header.tensors]
    assert [t.bytes for t in TENSORS] == [t.bytes for t in header.tensors]


def test_letters_in_the_other_order_mark_a_big_endian_file_too(tmp_path: Path) -> None:
    """Some converters swap the four letters as well."""
    path = tmp_path / "m.gguf"
    path.write_bytes(b"FUGG" + gguf_bytes({"a": 7}, big_endian=True)[4:])

    assert {"a": 7} == read_header(path).metadata


def test_the_data_starts_at_the_stated_alignment(tmp_path: Path) -> None:
    """The file says to which multiple its data is padded."""
    path = write_gguf(tmp_path / "m.gguf", {"general.alignment": 256}, TENSORS)

    header = read_header(path)

    assert header.data_start == 256
    assert header.header_bytes <= 256


def test_text_that_is_no_unicode_is_read_with_replacements(tmp_path: Path) -> None:
    """A token of broken bytes is no reason to refuse a model."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"key": "XXXX"}).replace(b"XXXX", b"a\xff\xfeb"))

    assert {"key": "a\ufffd\ufffdb"} == read_header(path).metadata


def test_a_tensor_of_unknown_type_is_no_reason_to_refuse_a_model(tmp_path: Path) -> None:
    """Newer types than ours are read; only their size cannot be checked."""
    data = bytearray(gguf_bytes({}, [Tensor("t", (32,), 0)]))
    at = data.index(b"t") + 1 + 4 + 8
    data[at : at + 4] = struct.pack("<I", 77)
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    (tensor,) = read_header(path).tensors

    assert (tensor.type, tensor.elements, tensor.bytes) == (77, 32, 0)


@pytest.mark.parametrize("missing", [2, 128, 255])
def test_a_file_without_all_of_its_data_is_refused(tmp_path: Path, missing: int) -> None:
    """The error says how many bytes are missing, and what to do."""
    data = gguf_bytes({"a": 1}, [Tensor("a", (64,), 1), Tensor("b", (36,))])
    path = tmp_path / "m.gguf"
    path.write_bytes(data[: -16 - missing])  # the last tensor is padded by 16 bytes

    with pytest.raises(UnsupportedModel) as caught:
        read_header(path)

    assert f"truncated GGUF file: `{path}` ({missing} bytes are missing)" == caught.value.message
    assert "download it again" in (caught.value.hint or "")


def test_a_file_cut_anywhere_is_refused_as_truncated(tmp_path: Path) -> None:
    """Within the header too, where the end can only be guessed."""
    data = gguf_bytes({"a": 1, "b": ["x"] * 60, "c": [[1], [2]]}, [Tensor("a", (16,))])
    path = tmp_path / "m.gguf"
    for length in range(4, len(data)):
        path.write_bytes(data[:length])

        with pytest.raises(UnsupportedModel, match=r"^truncated GGUF file: .* missing\)$"):
            read_header(path)


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"", "the file is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
            "a Git LFS pointer, not the file itself",
        ),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<HTML>", "a web page"),
        (struct.pack("<Q", 60) + b'{"__metadata__":{}}', "a safetensors file"),
        (b"lmgg\x01", "a GGML file from before GGUF"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"\x28\xb5\x2f\xfd", "a compressed file"),
        (bytes(257).replace(b"\0", b"x") + b"ustar\0", "a tar archive"),
        (b"\x80\x02}q", "a Python pickle"),
        (b'{"error":"no"}', "JSON text, not weights"),
        (bytes(4096), "it begins with zeros"),
        (b"hello", "it begins with other bytes than `GGUF`"),
        (b"GGU", "it begins with other bytes than `GGUF`"),
    ],
)
def test_a_file_that_is_no_gguf_is_refused_by_what_it_is(
    tmp_path: Path, content: bytes, meaning: str
) -> None:
    """Its first bytes often tell what went wrong."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)

    with pytest.raises(UnsupportedModel) as caught:
        read_header(path)

    assert f"not a GGUF file: `{path}` ({meaning})" == caught.value.message
    assert caught.value.hint


def counts(tensors: int, keys: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest


def key(kind: int, rest: bytes) -> bytes:
    return counts(0, 1, struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + rest)


@pytest.mark.parametrize(
    "data",
    [
        counts(2**63, 0),
        counts(gguf.MAX_TENSORS + 1, 0),
        counts(0, 2**64 - 1),
        counts(0, gguf.MAX_KEYS + 1),
        counts(0, 1, struct.pack("<Q", 2**63)),
        counts(0, 1, struct.pack("<Q", gguf.MAX_STRING_BYTES + 1)),
        key(13, b""),
        key(8, struct.pack("<Q", 2**62)),
        key(9, struct.pack("<IQ", 13, 1)),
        key(9, struct.pack("<IQ", 0, 2**62)),
        key(9, struct.pack("<IQ", 8, 2**62)),
        key(9, struct.pack("<IQ", 8, 60) + struct.pack("<Q", 2**62)),
        key(9, struct.pack("<IQ", 9, gguf.MAX_NESTED + 1)),
        key(9, struct.pack("<IQ", 9, 1) * 40),
        counts(1, 0, struct.pack("<QI", 0, gguf.MAX_DIMENSIONS + 1)),
        counts(1, 0, struct.pack("<QIQQQIQ", 0, 3, 2**63, 2**63, 2**63, 0, 0)),
        counts(1, 0, struct.pack("<QIQIQ", 0, 1, 1, 0, 2**63)),
        counts(1, 0, struct.pack("<QIQQQIQ", 0, 3, 2**63, 2**63, 2**63, 99, 0)),
        gguf_bytes({"general.alignment": 0}),
        gguf_bytes({"general.alignment": "32"}),
        gguf_bytes({"general.alignment": 2**31}),
    ],
)
def test_a_header_with_senseless_numbers_is_refused_at_once(tmp_path: Path, data: bytes) -> None:
    """No count, length or size from the file decides how much work or memory it takes."""
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    with pytest.raises(UnsupportedModel, match="broken GGUF file"):
        read_header(path)


def test_a_header_larger_than_any_model_has_is_refused(tmp_path: Path) -> None:
    """A file with holes may claim to be all header; it is not read into memory."""
    path = tmp_path / "m.gguf"
    path.write_bytes(key(9, struct.pack("<IQ", 10, gguf.MAX_HEADER_BYTES // 8)))
    with path.open("r+b") as file:
        file.truncate(gguf.MAX_HEADER_BYTES * 2)

    with pytest.raises(UnsupportedModel, match="broken GGUF file"):
        read_header(path)


@pytest.mark.parametrize("version", [0, 4, 0x01000000 * 4])
def test_an_unknown_version_is_refused(tmp_path: Path, version: int) -> None:
    """Versions 1 to 3 exist."""
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 0, 0))

    with pytest.raises(UnsupportedModel, match="unsupported version"):
        read_header(path)


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    """A missing file and a directory are the caller's mistakes."""
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_header(tmp_path / name)


SAMPLE = gguf_bytes({name: value for name, (value, _) in SCALARS.items()}, TENSORS)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=9)), max_size=6
    ),
    length=st.one_of(st.none(), st.integers(0, len(SAMPLE))),
)
def test_a_mutated_header_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, bytes]], length: int | None
) -> None:
    """Damage of any kind ends in one error and nothing else."""
    data = bytearray(SAMPLE)
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    path = tmp_path / "m.gguf"
    path.write_bytes(data[:length])

    try:
        header = read_header(path)
    except UnsupportedModel:
        return
    assert header.data_start >= header.header_bytes


@settings(max_examples=400, deadline=None)
@given(
    change=st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=9)),
    have=st.integers(0, len(SAMPLE)),
    size=st.one_of(st.integers(0, 2 * len(SAMPLE)), st.integers(0, 2**64)),
)
def test_no_more_is_asked_for_than_the_file_has(change: tuple[int, bytes], have: int, size: int) -> None:
    """Whatever the header claims, and however large the file really is."""
    data = bytearray(SAMPLE)
    at, piece = change
    data[at : at + len(piece)] = piece
    head = bytes(data[: min(have, size)])
    needed, ends = None, []
    try:
        header = parse_header(head, size, "m")
        ends = [header.data_start + tensor.offset + tensor.bytes for tensor in header.tensors]
    except UnsupportedModel:
        pass
    except HeaderIncomplete as exc:
        needed = exc.needed

    assert needed is None or len(head) < needed <= min(size, gguf.MAX_HEADER_BYTES)
    assert all(end <= size for end in ends)


def test_a_single_file_is_its_own_set(tmp_path: Path) -> None:
    """Without the numbers in the name there are no shards."""
    path = tiny_gguf(tmp_path / "m.gguf")

    assert shards(path) == (path,)


def test_any_shard_leads_to_all_in_order(tmp_path: Path) -> None:
    """The numbers are in the names."""
    paths = [tiny_gguf(tmp_path / f"m-{i:05d}-of-00003.gguf") for i in (1, 2, 3)]

    assert tuple(paths) == shards(paths[1])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The error says which file is missing, and where it is looked for."""
    path = tiny_gguf(tmp_path / "m-00001-of-00002.gguf")

    with pytest.raises(UnsupportedModel) as caught:
        shards(path)

    assert f"missing shard: `{tmp_path / 'm-00002-of-00002.gguf'}`" == caught.value.message


@pytest.mark.parametrize("name", ["m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-00001-of-00000.gguf"])
def test_a_number_outside_of_its_set_is_refused(tmp_path: Path, name: str) -> None:
    """Numbering starts at one and ends at the count."""
    with pytest.raises(UnsupportedModel, match="no such shard"):
        shards(tmp_path / name)


def test_the_real_header_is_read_quickly(smollm2: Path) -> None:
    """49,152 words and 48,900 merges are stepped over, in processor time far below a tenth of a second."""
    started = time.process_time()

    header = read_header(smollm2)

    assert time.process_time() - started < 0.1
    assert LongArray(49152) == header.metadata["tokenizer.ggml.tokens"]
    assert (header.data_start, len(header.tensors)) == (1785664, 272)


def test_the_real_file_with_one_byte_missing_is_truncated(smollm2: Path, tmp_path: Path) -> None:
    """The last tensor ends exactly where the file does."""
    path = tmp_path / "cut.gguf"
    with smollm2.open("rb") as source, path.open("wb") as sink:
        sink.write(source.read(2_000_000))
        sink.truncate(smollm2.stat().st_size - 1)

    with pytest.raises(UnsupportedModel, match=r"\(1 byte is missing\)"):
        read_header(path)
