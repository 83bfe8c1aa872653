"""The official `gguf` package reads what we write, and we read what it writes."""

from pathlib import Path

import gguf
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelrunner.models.description.gguf_config import describe
from modelrunner.models.weights.gguf import LongArray, read_header
from modelrunner.testing.gguf import tiny_gguf

INTEGERS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


def test_what_the_official_package_writes_is_read(tmp_path: Path) -> None:
    """Keys of every kind, arrays short and long, tensors with their shapes and places."""
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.context_length", 4096)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.bool", val=True)
    writer.add_string("a.text", "grüße")
    writer.add_int64("a.long", -(2**40))
    writer.add_array("a.list", [1, 2, 3])
    writer.add_array("a.words", [f"w{n}" for n in range(1000)])
    writer.add_tensor("token_embd.weight", np.zeros((4, 8), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((2, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header = read_header(path)
    assert {
        "general.architecture": "llama",
        "llama.context_length": 4096,
        "a.float": 0.5,
        "a.bool": True,
        "a.text": "grüße",
        "a.long": -(2**40),
        "a.list": (1, 2, 3),
        "a.words": LongArray(1000),
    } == dict(header.metadata)
    reader = gguf.GGUFReader(path)
    assert [
        (
            tensor.name,
            tuple(int(size) for size in tensor.shape),
            int(tensor.tensor_type),
            int(tensor.data_offset),
        )
        for tensor in reader.tensors
    ] == [
        (tensor.name, tensor.dims, tensor.type, header.data_start + tensor.offset)
        for tensor in header.tensors
    ]
    assert "48" == describe([header]).parameters


def test_the_official_package_reads_what_the_tests_write(tmp_path: Path) -> None:
    """So that our own writer and reader do not agree on something wrong."""
    path = tiny_gguf(tmp_path / "m.gguf")
    header, reader = read_header(path), gguf.GGUFReader(path)

    assert [tensor.name for tensor in header.tensors] == [tensor.name for tensor in reader.tensors]
    assert set(header.metadata) == {name for name in reader.fields if not name.startswith("GGUF.")}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}\.[a-z]{1,8}", fullmatch=True),
        st.one_of(INTEGERS, TEXTS, st.booleans()),
        max_size=8,
    )
)
def test_any_keys_are_read_as_they_were_written(tmp_path: Path, keys: dict[str, int | str | bool]) -> None:
    """Whatever they are called and hold."""
    path = tmp_path / "m.gguf"
    path.unlink(missing_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_int32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    # The package leaves empty texts out of a file.
    expected = {key: value for key, value in keys.items() if value != ""}
    assert {"general.architecture": "llama", **expected} == dict(read_header(path).metadata)
