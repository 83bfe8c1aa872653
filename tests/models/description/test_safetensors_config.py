import json

import pytest

from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format
from modelrunner.models.description.safetensors_config import (
    architecture,
    cache_per_token,
    chat_template,
    context_size,
    describe,
    parameters_text,
    size_text,
)
from modelrunner.models.weights.safetensors import SafetensorsHeader, SafetensorsTensor


def _header(*tensors: SafetensorsTensor, size: int = 1000, **metadata: str) -> SafetensorsHeader:
    return SafetensorsHeader(metadata, tensors, 100, size)


def test_a_model_is_described_by_all_of_its_files() -> None:
    """Parameters, types and size count in every shard; the first one's metadata wins."""
    first = _header(SafetensorsTensor("a", "F16", (4096, 4096), 0, 0), size=1_500, architecture="x")
    second = _header(SafetensorsTensor("b", "F16", (4096,), 0, 0), size=500, architecture="y", format="pt")

    assert ModelConfig(
        format=Format.SAFETENSORS,
        architecture="x",
        parameters="16.78M",
        quantization="F16",
        size="2.00kB",
        context_size=2048,
        metadata={"architecture": "x", "format": "pt", "tensor_count": "2"},
    ) == describe([first, second], context_size=2048)


def test_several_types_are_mixed_and_none_is_unknown() -> None:
    """As the reference calls them."""
    mixed = _header(SafetensorsTensor("a", "F16", (1,), 0, 0), SafetensorsTensor("b", "F32", (1,), 0, 0))

    assert ["mixed", "unknown"] == [describe([mixed]).quantization, describe([_header()]).quantization]


@pytest.mark.parametrize(
    ("count", "text"), [(183, "183.00"), (1000, "1.00K"), (16_781_312, "16.78M"), (7_000_000_000, "7.00B")]
)
def test_parameters_have_two_decimals(count: int, text: str) -> None:
    """In units of a thousand."""
    assert text == parameters_text(count)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "n/a"), (-1, "n/a"), (500, "500.00B"), (1500, "1.50kB"), (4_300_000_000, "4.30GB")],
)
def test_sizes_have_two_decimals(count: int, text: str) -> None:
    """In units of a thousand."""
    assert text == size_text(count)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 4096, "n_ctx": 1}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": "4096", "n_positions": 2048}, 2048),
        ({"max_position_embeddings": 0, "n_ctx": -5, "model_max_length": 77}, 77),
        ({"model_max_length": 10**30}, None),
        ({"n_ctx": True}, None),
        ({"n_ctx": 1.5}, None),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"max_length": 20, "text_config": {"max_position_embeddings": 131072}}, 20),
        ({}, None),
        ([], None),
    ],
)
def test_the_context_is_the_first_usable_number(config: object, tokens: int | None) -> None:
    """Of the keys in their order, the model's own before those of its language part."""
    assert tokens == context_size(json.dumps(config).encode())


def test_no_json_says_nothing() -> None:
    """A broken config.json does not keep a model from being packaged."""
    assert context_size(b"{") is None


@pytest.mark.parametrize(
    ("config", "bytes_per_token"),
    [
        ({"num_hidden_layers": 30, "num_attention_heads": 9, "hidden_size": 576}, 30 * 9 * 2 * 64 * 2),
        (
            {
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "head_dim": 128,
                "hidden_size": 576,
            },
            30 * 3 * 2 * 128 * 2,
        ),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 12 * 12 * 2 * 64 * 2),
        ({"text_config": {"num_hidden_layers": 2, "num_attention_heads": 1, "head_dim": 8}}, 64),
        ({"num_hidden_layers": 2**63, "num_attention_heads": 1, "head_dim": 8}, 0),
        ({"num_hidden_layers": 2, "num_attention_heads": 0, "hidden_size": 8}, 0),
        ({"num_hidden_layers": "2", "num_attention_heads": True}, 0),
        ([], 0),
    ],
)
def test_the_cache_of_a_token_follows_from_the_layers_and_heads(config: object, bytes_per_token: int) -> None:
    """As a config.json has them; what makes no sense says nothing."""
    assert bytes_per_token == cache_per_token(json.dumps(config).encode())


def test_the_architecture_is_the_type_of_the_model() -> None:
    """That of the whole, not that of its language part."""
    nested = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}

    assert "gemma3" == architecture(json.dumps(nested).encode())
    assert ["", "", ""] == [architecture(raw) for raw in (b"{}", b'{"model_type": 5}', b"no json")]


@pytest.mark.parametrize(
    ("document", "template"),
    [
        ({"chat_template": "{{ x }}"}, "{{ x }}"),
        (
            {
                "chat_template": [
                    {"name": "tool_use", "template": "t"},
                    {"name": "default", "template": "d"},
                ]
            },
            "d",
        ),
        ({"chat_template": [{"name": "tool_use", "template": "t"}, 5]}, None),
        ({"chat_template": 5}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_template_inside_of_json_is_found(document: object, template: str | None) -> None:
    """One, or the usual one of several."""
    assert template == chat_template(json.dumps(document).encode())
