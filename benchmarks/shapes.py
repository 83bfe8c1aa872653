"""GGUF models of chosen shapes with random weights: as large and slow as real ones, and of no other use."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, quant_shape_to_byte_shape
from gguf.constants import TokenType

_NOISE = np.random.default_rng(1).integers(1, 64, 1 << 20, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make: numbers of the header below the architecture, and each tensor's shape, rows first."""

    name: str
    architecture: str
    kind: Kind
    width: int
    layers: int
    vocabulary: int
    numbers: Mapping[str, int]
    layer: Mapping[str, tuple[int, ...]]
    tied: bool = False
    trained: int = 32768
    floats: Mapping[str, float] = field(default_factory=lambda: {"attention.layer_norm_rms_epsilon": 1e-5})


def llama(
    name: str, kind: Kind, *, width: int, layers: int, heads: tuple[int, int], inner: int, vocabulary: int
) -> Recipe:
    """A dense model; `heads` are those of queries, and of keys and values."""
    length = width // heads[0]
    return Recipe(
        name=name,
        architecture="llama",
        kind=kind,
        width=width,
        layers=layers,
        vocabulary=vocabulary,
        numbers={
            "feed_forward_length": inner,
            "attention.head_count": heads[0],
            "attention.head_count_kv": heads[1],
            "rope.dimension_count": length,
        },
        layer={
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (heads[1] * length, width),
            "attn_v": (heads[1] * length, width),
            "attn_output": (width, width),
            **_dense(width, inner),
        },
    )


def experts(name: str, kind: Kind) -> Recipe:
    """A mixture of experts, four of sixteen at a time."""
    width, heads, remembering, length, count, inner = 1024, 16, 4, 128, 16, 768
    return Recipe(
        name=name,
        architecture="qwen3moe",
        kind=kind,
        width=width,
        layers=6,
        vocabulary=49152,
        numbers={
            "feed_forward_length": 3072,
            "attention.head_count": heads,
            "attention.head_count_kv": remembering,
            "attention.key_length": length,
            "attention.value_length": length,
            "rope.dimension_count": length,
            "expert_count": count,
            "expert_used_count": 4,
            "expert_feed_forward_length": inner,
        },
        layer={
            "attn_norm": (width,),
            "attn_q_norm": (length,),
            "attn_k_norm": (length,),
            "attn_q": (heads * length, width),
            "attn_k": (remembering * length, width),
            "attn_v": (remembering * length, width),
            "attn_output": (width, heads * length),
            "ffn_norm": (width,),
            "ffn_gate_inp": (count, width),
            "ffn_gate_exps": (count, inner, width),
            "ffn_up_exps": (count, inner, width),
            "ffn_down_exps": (count, width, inner),
        },
    )


def latent(name: str, kind: Kind) -> Recipe:
    """Latent attention as of DeepSeek, without experts."""
    width, heads, low, kept, turned, plain, value, inner = 1024, 16, 256, 512, 64, 128, 128, 2816
    return Recipe(
        name=name,
        architecture="deepseek2",
        kind=kind,
        width=width,
        layers=6,
        vocabulary=49152,
        numbers={
            "feed_forward_length": inner,
            "attention.head_count": heads,
            "attention.head_count_kv": 1,
            "attention.q_lora_rank": low,
            "attention.kv_lora_rank": kept,
            "attention.key_length": kept + turned,
            "attention.value_length": kept,
            "attention.key_length_mla": plain + turned,
            "attention.value_length_mla": value,
            "rope.dimension_count": turned,
            "leading_dense_block_count": 6,
            "expert_count": 0,
            "expert_used_count": 0,
            "expert_shared_count": 0,
            "expert_feed_forward_length": 512,
        },
        layer={
            "attn_norm": (width,),
            "attn_q_a": (low, width),
            "attn_q_a_norm": (low,),
            "attn_q_b": (heads * (plain + turned), low),
            "attn_kv_a_mqa": (kept + turned, width),
            "attn_kv_a_norm": (kept,),
            "attn_k_b": (heads, kept, plain),
            "attn_v_b": (heads, value, kept),
            "attn_output": (width, heads * value),
            **_dense(width, inner),
        },
        floats={"attention.layer_norm_rms_epsilon": 1e-5, "expert_weights_scale": 1.0},
    )


def recurrent(name: str, kind: Kind) -> Recipe:
    """A model of states without attention."""
    width, inner, size, kernel, rank = 1024, 2048, 16, 4, 64
    return Recipe(
        name=name,
        architecture="mamba",
        kind=kind,
        width=width,
        layers=12,
        vocabulary=49152,
        numbers={
            "feed_forward_length": 0,
            "attention.head_count": 0,
            "ssm.conv_kernel": kernel,
            "ssm.inner_size": inner,
            "ssm.state_size": size,
            "ssm.time_step_rank": rank,
        },
        layer={
            "attn_norm": (width,),
            "ssm_in": (2 * inner, width),
            "ssm_conv1d": (inner, kernel),
            "ssm_conv1d.bias": (inner,),
            "ssm_x": (rank + 2 * size, inner),
            "ssm_dt": (inner, rank),
            "ssm_dt.bias": (inner,),
            "ssm_a": (inner, size),
            "ssm_d": (inner,),
            "ssm_out": (width, inner),
        },
    )


def make(recipe: Recipe, folder: Path) -> Path:
    """Write the model and return its path; one that is there stays."""
    path = folder / f"{recipe.name}.gguf"
    if path.exists():
        return path
    part = path.with_suffix(".part")
    writer = GGUFWriter(part, recipe.architecture)
    _words(writer, recipe.vocabulary)
    writer.add_context_length(recipe.trained)
    writer.add_embedding_length(recipe.width)
    writer.add_block_count(recipe.layers)
    for key, number in recipe.numbers.items():
        writer.add_uint32(f"{recipe.architecture}.{key}", number)
    for key, value in recipe.floats.items():
        writer.add_float32(f"{recipe.architecture}.{key}", value)
    for name, shape in _tensors(recipe):
        _add(writer, name, shape, recipe.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(path)
    return path


def _dense(width: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        "ffn_norm": (width,),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }


def _tensors(recipe: Recipe) -> Iterator[tuple[str, tuple[int, ...]]]:
    words = (recipe.vocabulary, recipe.width)
    yield "token_embd.weight", words
    if not recipe.tied:
        yield "output.weight", words
    yield "output_norm.weight", (recipe.width,)
    for index in range(recipe.layers):
        for name, shape in recipe.layer.items():
            plain = name.endswith((".bias", "ssm_a", "ssm_d"))
            yield f"blk.{index}.{name}{'' if plain else '.weight'}", shape


def _add(writer: GGUFWriter, name: str, shape: tuple[int, ...], kind: Kind) -> None:
    """Small tensors in 32 bits, as converters do; blocks of quantized ones get small random scales."""
    small = len(shape) == 1 or name.endswith(("ssm_a", "ffn_gate_inp.weight", "ssm_conv1d.weight"))
    if small or kind is Kind.F16:
        numbers = np.resize(_NOISE / 64, math.prod(shape)).astype(np.float32 if small else np.float16)
        writer.add_tensor(name, numbers.reshape(shape))
        return
    packed = quant_shape_to_byte_shape(shape, kind)
    data = np.resize(_NOISE, math.prod(packed)) & 0x1F
    writer.add_tensor(name, data.reshape(packed), raw_dtype=kind)


def _words(writer: GGUFWriter, count: int) -> None:
    """A vocabulary in which each byte is a word, and the others are made up."""
    names = [f"<0x{byte:02X}>" for byte in range(256)] + [f"word{index}" for index in range(count - 256)]
    types = [int(TokenType.BYTE)] * 256 + [int(TokenType.NORMAL)] * (count - 256)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
