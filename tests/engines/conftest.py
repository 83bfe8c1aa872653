"""Small models that show what llama.cpp can do besides talking: random numbers of the right shapes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from modelrunner.models.bundles.bundle import Bundle

WIDTH = 32  # of the models made here
LONG = 4096  # tokens of an input that it takes
TEXT_WIDTH = 576  # of SmolLM2-135M

_Array = NDArray[np.float32]
_Add = Callable[[str, _Array], None]
_Random = Callable[..., _Array]


def small_llama(folder: Path, bundle: Bundle) -> Bundle:
    """A bundle with weights of 4,096 bytes, whose tokens take 32 layers x 8 heads x 128 x 2 bytes, twice."""
    folder = folder / "small"
    folder.mkdir()
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    shape = {"num_hidden_layers": 32, "hidden_size": 4096, **heads}
    (folder / "config.json").write_text(json.dumps(shape))
    save_file({"model.embed_tokens.weight": np.zeros((64, 32), np.float16)}, folder / "model.safetensors")
    return replace(bundle, weights=(folder / "model.safetensors",))


SMALL_WEIGHTS, SMALL_TOKEN = 4096, 131_072  # bytes of that model, and of one of its tokens


def _writer(path: Path, architecture: str) -> tuple[gguf.GGUFWriter, _Add, _Random]:
    """A writer, how a tensor is added to it, and where its random numbers come from."""
    writer = gguf.GGUFWriter(path, architecture)
    generator = np.random.default_rng(1)

    def random(*shape: int) -> _Array:
        return generator.standard_normal(shape, dtype=np.float32) * np.float32(0.1)

    return writer, writer.add_tensor, random


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _norm(add: _Add, name: str) -> None:
    add(f"{name}.weight", np.ones(WIDTH, np.float32))
    add(f"{name}.bias", np.zeros(WIDTH, np.float32))


def _layer(add: _Add, random: _Random, block: str, names: tuple[str, ...]) -> None:
    """Attention and feed-forward of one block; llama.cpp names its parts differently for text and images."""
    for name in names:
        add(f"{block}.{name}.weight", random(WIDTH, WIDTH))
        add(f"{block}.{name}.bias", random(WIDTH))
    add(f"{block}.ffn_up.weight", random(2 * WIDTH, WIDTH))
    add(f"{block}.ffn_up.bias", random(2 * WIDTH))
    add(f"{block}.ffn_down.weight", random(WIDTH, 2 * WIDTH))
    add(f"{block}.ffn_down.bias", random(WIDTH))


def _encoder(path: Path, pooling: gguf.PoolingType) -> Path:
    """A BERT with one layer and forty words."""
    writer, add, random = _writer(path, "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"\u2581{word}" for word in ("cat", "dog"))]
    words += list("abcdefghijklmnopqrstuvwxyz")
    writer.add_context_length(LONG)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(words)
    writer.add_token_types([3] * 5 + [1] * (len(words) - 5))
    writer.add_token_type_count(2)
    for number, role in enumerate(("pad", "unk", "bos", "sep", "mask")):
        getattr(writer, f"add_{role}_token_id")(number)
    add("token_embd.weight", random(len(words), WIDTH))
    add("position_embd.weight", random(LONG, WIDTH))
    add("token_types.weight", random(2, WIDTH))
    _norm(add, "token_embd_norm")
    _norm(add, "blk.0.attn_output_norm")
    _norm(add, "blk.0.layer_output_norm")
    _layer(add, random, "blk.0", ("attn_q", "attn_k", "attn_v", "attn_output"))
    if pooling is gguf.PoolingType.RANK:
        add("cls.weight", random(WIDTH, WIDTH))
        add("cls.bias", random(WIDTH))
        add("cls.output.weight", random(1, WIDTH))
        add("cls.output.bias", random(1))
    _close(writer)
    return path


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    """A model that only makes embeddings, of 32 numbers."""
    return _encoder(tmp_path / "embedder.gguf", gguf.PoolingType.MEAN)


@pytest.fixture
def reranker(tmp_path: Path) -> Path:
    """A model that says how well a text answers a question, by chance."""
    return _encoder(tmp_path / "reranker.gguf", gguf.PoolingType.RANK)


@pytest.fixture
def adapter(tmp_path: Path, smollm2: Path) -> Path:
    """A LoRA adapter of rank 4 for SmolLM2, strong enough to be noticed."""
    path = tmp_path / "adapter.gguf"
    writer, add, random = _writer(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    for tensor in gguf.GGUFReader(smollm2).tensors:
        if tensor.name.endswith("attn_q.weight"):
            width, height = (int(length) for length in tensor.shape)
            add(f"{tensor.name}.lora_a", random(4, width))
            add(f"{tensor.name}.lora_b", random(height, 4))
    _close(writer)
    return path


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    """Eyes for SmolLM2 that see 16 patches of an image, and nothing in them."""
    path = tmp_path / "eyes.mmproj"
    writer, add, random = _writer(path, "clip")
    writer.add_string("general.type", "mmproj")
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.has_vision_encoder", val=True)
    writer.add_bool("clip.use_gelu", val=True)
    sizes = {"image_size": 32, "patch_size": 8, "block_count": 1, "attention.head_count": 2}
    widths = {"embedding_length": WIDTH, "feed_forward_length": 2 * WIDTH, "projection_dim": TEXT_WIDTH}
    for name, value in {**sizes, **widths}.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    add("v.patch_embd.weight", random(WIDTH, 3, 8, 8))
    add("v.position_embd.weight", random(16, WIDTH))
    _norm(add, "v.blk.0.ln1")
    _norm(add, "v.blk.0.ln2")
    _norm(add, "v.post_ln")
    _layer(add, random, "v.blk.0", ("attn_q", "attn_k", "attn_v", "attn_out"))
    add("mm.0.weight", random(2 * WIDTH, WIDTH))
    add("mm.0.bias", random(2 * WIDTH))
    add("mm.2.weight", random(TEXT_WIDTH, 2 * WIDTH))
    add("mm.2.bias", random(TEXT_WIDTH))
    _close(writer)
    return path
