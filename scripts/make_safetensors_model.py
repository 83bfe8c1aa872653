"""Make the test model in safetensors, SmolLM2-135M-Instruct in bfloat16, and print the folder it is in.

The weights are those of the GGUF file that `fetch_test_model.py` obtains, dequantized, so that both engines
can be asked the same question. Kept in the cache folder, outside the repository. Run it as a module,
`python -m scripts.make_safetensors_model`; only the path goes to stdout.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, dequantize

from scripts.fetch_test_model import MODEL_SHA256, fetch
from scripts.obtaining import cache_folder, flush, locked, tell

VERSION = 1  # of this script's output; a new one makes the folder anew

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]  # bfloat16, which numpy does not know

# What Hugging Face calls a block's tensors. Source: transformers, `LlamaForCausalLM`.
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def make() -> Path:
    """Return the model's folder, making it unless it is there.

    Raises:
        FetchFailed: the GGUF file cannot be had.
    """
    source = fetch()
    parent = cache_folder() / "test-models"
    folder = parent / f"SmolLM2-135M-Instruct-safetensors-{MODEL_SHA256[:12]}-{VERSION}"
    with locked(parent / ".lock"):
        if not folder.is_dir():
            for left_over in parent.glob(".make-*"):  # by a run that was killed: the lock is ours
                shutil.rmtree(left_over, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=".make-", dir=parent))
            write(GGUFReader(source), work)
            work.chmod(0o755)
            work.rename(folder)
    return folder


def write(reader: GGUFReader, folder: Path) -> None:
    config = model_config(reader)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tokens = strings(reader, "tokenizer.ggml.tokens")
    kinds = numbers(reader, "tokenizer.ggml.token_type")
    special = [index for index, kind in enumerate(kinds) if kind == 3]  # gguf: TokenType.CONTROL
    merges = strings(reader, "tokenizer.ggml.merges")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(tokens, merges, special)))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(reader, tokens), indent=2))
    save(weights(reader, config), folder / "model.safetensors")


def model_config(reader: GGUFReader) -> dict[str, object]:
    """Hugging Face's `config.json`, from the header of the GGUF file."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": number(reader, "llama.embedding_length"),
        "intermediate_size": number(reader, "llama.feed_forward_length"),
        "num_hidden_layers": number(reader, "llama.block_count"),
        "num_attention_heads": number(reader, "llama.attention.head_count"),
        "num_key_value_heads": number(reader, "llama.attention.head_count_kv"),
        "max_position_embeddings": number(reader, "llama.context_length"),
        "rms_norm_eps": 1e-05,
        "rope_theta": float(str(contents(reader, "llama.rope.freq_base"))),
        "vocab_size": number(reader, "llama.vocab_size"),
        "bos_token_id": number(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": number(reader, "tokenizer.ggml.eos_token_id"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def tokenizer(tokens: Sequence[str], merges: Sequence[str], special: Sequence[int]) -> dict[str, object]:
    """A `tokenizer.json`: byte pairs after digits were set apart. Source: SmolLM2's own."""
    added = [
        {
            "id": index,
            "content": tokens[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index in special
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, level],
        },
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": list(merges),
        },
    }


def tokenizer_config(reader: GGUFReader, tokens: Sequence[str]) -> dict[str, object]:
    end = tokens[number(reader, "tokenizer.ggml.eos_token_id")]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": str(contents(reader, "tokenizer.chat_template")),
        "model_max_length": number(reader, "llama.context_length"),
        "bos_token": tokens[number(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": end,
        "pad_token": end,
    }


def weights(reader: GGUFReader, config: Mapping[str, object]) -> dict[str, Halves]:
    """The tensors under Hugging Face's names, in bfloat16."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    made: dict[str, Halves] = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape(tuple(reversed([int(size) for size in tensor.shape])))
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = unpermuted(values, int(str(heads[part])))
        made[named(tensor.name)] = bfloat16(values)
    return made


def save(tensors: Mapping[str, Halves], path: Path) -> None:
    """Write a file of safetensors. Source: its format: length of the header, header, data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for tensor in tensors.values():
            file.write(tensor.tobytes())
        flush(file)


def named(name: str) -> str:
    """Translate `blk.3.attn_q.weight` to `model.layers.3.self_attn.q_proj.weight`."""
    if name.startswith("blk."):
        _, block, part, suffix = name.split(".")
        return f"model.layers.{block}.{NAMES[part]}.{suffix}"
    part, suffix = name.split(".")
    return f"{OUTER[part]}.{suffix}"


def unpermuted(values: Floats, heads: int) -> Floats:
    """Undo llama.cpp's order of the rows of queries and keys. Source: its `convert_hf_to_gguf.py`."""
    rows, columns = values.shape
    apart = values.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(apart.swapaxes(1, 2)).reshape(rows, columns)


def bfloat16(values: Floats) -> Halves:
    """The upper half of each number, rounded to nearest."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def contents(reader: GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()


def number(reader: GGUFReader, key: str) -> int:
    return int(str(contents(reader, key)))


def numbers(reader: GGUFReader, key: str) -> list[int]:
    found = contents(reader, key)
    assert isinstance(found, list)
    return [int(each) for each in found]


def strings(reader: GGUFReader, key: str) -> list[str]:
    found = contents(reader, key)
    assert isinstance(found, list)
    return [str(each) for each in found]


if __name__ == "__main__":
    sys.exit(tell(make))
