"""What headers say, in the words of model lists."""

from pathlib import Path

import pytest

from modelrunner.models.description import gguf_config
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format
from modelrunner.models.weights.gguf import GGUFHeader, Value, read_header
from modelrunner.models.weights.gguf import Tensor as Read
from modelrunner.testing.gguf import Tensor, Typed, write_gguf
from modelrunner.testing.gguf import Value as Written


def header(tensor: Read, metadata: dict[str, Value]) -> GGUFHeader:
    return GGUFHeader(3, metadata, (tensor,), header_bytes=64, alignment=32, file_bytes=64)


def test_every_scalar_is_written_as_text(tmp_path: Path) -> None:
    """Integers in decimal, floats with six decimals, strings trimmed; long arrays are left out."""
    values: dict[str, Written] = {
        "uint8": Typed(0, 18),
        "int8": Typed(1, -19),
        "uint16": Typed(2, 4660),
        "int16": Typed(3, -4661),
        "uint32": Typed(4, 305419896),
        "int32": Typed(5, -305419897),
        "float32": Typed(6, 0.12345678),
        "float64": Typed(12, 0.12345678901),
        "uint64": Typed(10, 1311768467463790320),
        "int64": Typed(11, -1311768467463790321),
        "bool": True,
        "string": "  hello world\n",
        "array": [Typed(3, 1), Typed(3, 2), Typed(3, 3), Typed(3, 4)],
        "nested": [[1], [2]],
        "long": [1] * 51,
        "split.no": Typed(2, 0),
        "split.count": Typed(2, 1),
    }

    config = gguf_config.describe([read_header(write_gguf(tmp_path / "m.gguf", values))])

    assert config.metadata == {
        "uint8": "18",
        "int8": "-19",
        "uint16": "4660",
        "int16": "-4661",
        "uint32": "305419896",
        "int32": "-305419897",
        "float32": "0.123457",
        "float64": "0.123457",
        "uint64": "1311768467463790320",
        "int64": "-1311768467463790321",
        "bool": "true",
        "string": "hello world",
        "array": "1, 2, 3, 4",
        "nested": "",
        "split.count": "1",
    }
    assert (config.architecture, config.quantization, config.format) == ("llama", "Unknown", Format.GGUF)


def test_two_shards_are_described_as_one_file_is(tmp_path: Path) -> None:
    """Parameters and sizes add up, and the metadata of all shards counts."""
    first, second = Tensor("a.weight", (61,)), Tensor("b.weight", (122,))
    values: dict[str, Written] = {"general.architecture": "qwen2", "qwen2.context_length": 512}
    whole = read_header(write_gguf(tmp_path / "m.gguf", values, [first, second]))
    parts = [
        read_header(write_gguf(tmp_path / "1.gguf", values, [first])),
        read_header(write_gguf(tmp_path / "2.gguf", {"split.no": 1}, [second])),
    ]

    config = gguf_config.describe(parts)

    assert config.parameters == gguf_config.parameters([whole]) == "183"
    assert config.architecture == "qwen2"
    assert config.context_size == 512


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (183, "183"),
        (1000, "1K"),
        (134_515_008, "134.52M"),
        (361_821_120, "361.82M"),
        (8_000_000_000, "8B"),
        (1_500_000_000_000, "1.50T"),
        (2 * 10**15, "2Q"),
    ],
)
def test_parameters_are_counted_in_thousands(count: int, text: str) -> None:
    """Two decimals, unless both are zeros."""
    assert text == gguf_config.parameters([header(Read("t", (count,), 0, 0), {})])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (864, "864B"),
        (1000, "1KB"),
        (1024, "1KiB"),
        (999_999, "976.56KiB"),
        (1_000_000, "1MB"),
        (1_000_000_000, "1GB"),
        (1_073_741_824, "1GiB"),
        (268_800_000, "256.35MiB"),
    ],
)
def test_sizes_mix_both_kinds_of_units(count: int, text: str) -> None:
    """The largest unit that fits wins, of 1024s and of 1000s; that of an aligned header is one step less."""
    assert text == gguf_config.size([GGUFHeader(3, {}, (), 40, 32, 64 + count)])
    assert text == gguf_config.size([GGUFHeader(3, {}, (), 64, 32, 96 + count)])


@pytest.mark.parametrize(
    ("metadata", "tensor", "architecture"),
    [
        ({"general.architecture": "gemma3"}, "blk.0", "gemma3"),
        ({}, "blk.0", "llama"),
        ({"general.architecture": 5}, "blk.0", "llama"),
        ({"general.architecture": "flux"}, "double_blocks.0", "diffusion"),
        ({"general.architecture": "sd3"}, "blk.0", "llama"),
        ({}, "model.diffusion_model.x", "diffusion"),
        ({"general.type": "imatrix"}, "encoder.x", "imatrix"),
        ({"general.architecture": "x", "controlvector.model_hint": "mistral"}, "blk.0", "mistral"),
    ],
)
def test_the_architecture_is_stated_or_guessed(
    metadata: dict[str, Value], tensor: str, architecture: str
) -> None:
    """By the header, and else by the names of its tensors."""
    assert architecture == gguf_config.architecture([header(Read(tensor, (1,), 0, 0), metadata)])


@pytest.mark.parametrize(
    ("metadata", "tensor", "tokens"),
    [
        ({"general.architecture": "gemma3", "gemma3.context_length": 131072}, "blk.0", 131072),
        ({"llama.context_length": 2048}, "blk.0", 2048),
        ({"general.architecture": "gemma3", "llama.context_length": 2048}, "blk.0", None),
        ({"llama.context_length": 0}, "blk.0", None),
        ({"llama.context_length": 2**31 - 1}, "blk.0", 2**31 - 1),
        ({"llama.context_length": 2**31}, "blk.0", None),
        ({"llama.context_length": "2048"}, "blk.0", None),
        ({"general.architecture": "clip", "clip.context_length": 77}, "blk.0", None),
        ({"general.type": "adapter", "llama.context_length": 2048}, "blk.0", None),
        ({"general.type": "imatrix", "llama.context_length": 2048}, "blk.0", None),
        ({"llama.context_length": 2048}, "decoder.x", None),
    ],
)
def test_the_context_size_is_that_of_a_language_model(
    metadata: dict[str, Value], tensor: str, tokens: int | None
) -> None:
    """Within 32 bits, of the stated architecture, and only for models that have a context."""
    assert tokens == gguf_config.context_size([header(Read(tensor, (1,), 0, 0), metadata)])


def test_the_real_model_is_described(smollm2: Path) -> None:
    """SmolLM2-135M-Instruct in Q4_1."""
    config = gguf_config.describe([read_header(smollm2)])

    assert (
        ModelConfig(
            format=Format.GGUF,
            architecture="llama",
            parameters="134.52M",
            quantization="MOSTLY_Q4_1",
            size="92.10MiB",
            context_size=8192,
            metadata=config.metadata,
        )
        == config
    )
    assert config.metadata["llama.attention.layer_norm_rms_epsilon"] == "0.000010"
    assert "tokenizer.ggml.tokens" not in config.metadata
