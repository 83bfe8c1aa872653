"""What vLLM's words mean; the texts are its own."""

import pytest

from modelrunner.engines.vllm_diagnosis import diagnose

ENDING = """
  File "/env/lib/python3.11/site-packages/vllm/v1/engine/utils.py", line 1277, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
CORE = "(EngineCore pid=15928) ERROR 11-28 06:18:56 [core.py:1510] "
WORKER = "(Worker pid=708) ERROR 11-28 06:12:16 [multiproc_executor.py:953] "


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (
                f"{CORE}ValueError: To serve at least one request with the model's max seq len (8192), (0.18"
                " GiB KV cache is needed, which is larger than the available KV cache memory (0.03 GiB)."
                f" Based on the available memory, the estimated maximum model length is 1152.{ENDING}"
            ),
            "not enough memory for a context of 8192 tokens; a smaller context size needs less",
        ),
        (
            (
                f"{WORKER}safetensors._safetensors_rust.SafetensorError: Error while deserializing header:"
                f" incomplete metadata, file not fully covered{ENDING}"
            ),
            "the model file is truncated or damaged",
        ),
        (
            (
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
                "  Value error, Model architectures ['NoSuchForCausalLM'] are not supported for now."
                " Supported architectures: dict_keys(['LlamaForCausalLM'])"
            ),
            "this version of vLLM does not know the model architecture `NoSuchForCausalLM`",
        ),
        (
            (
                "  Value error, User-specified max_model_len (100000) is greater than the derived"
                " max_model_len (max_position_embeddings=8192.0 or model_max_length=None in model's"
                " config.json)."
            ),
            "a context of 100000 tokens is more than the model was trained for: 8192",
        ),
        (
            "api_server.py: error: unrecognized arguments: --no-such-flag",
            "this version of vLLM does not know the argument `--no-such-flag`",
        ),
        (
            "api_server.py: error: argument --seed: invalid int value: 'x'",
            "bad value for the argument `--seed`: int value: 'x'",
        ),
        (
            f"{WORKER}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.{ENDING}",
            "not enough GPU memory to load the model (CUDA)",
        ),
        (
            (
                f"{CORE}ValueError: Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less than"
                f" desired GPU memory utilization (0.9, 21.2 GiB).{ENDING}"
            ),
            "not enough free GPU memory: something else uses it, or gpu-memory-utilization is too high",
        ),
        (
            "Error while finding module specification: No module named 'vllm'",
            "vLLM is not installed in this environment, or is damaged",
        ),
        (
            f"{WORKER}AttributeError: no attribute 'shape'\n{CORE}Exception: it failed{ENDING}",
            "vLLM failed: AttributeError: no attribute 'shape'",
        ),
        (
            "Traceback (most recent call last):\n  KeyError: 1\n    ValueError: The hidden size is wrong.",
            "vLLM failed: ValueError: The hidden size is wrong.",
        ),
    ],
)
def test_the_first_cause_is_named(words: str, sentence: str) -> None:
    """However long the other processes complain afterwards."""
    assert sentence == diagnose(words)


@pytest.mark.parametrize(
    "words", ["", "INFO: Started server process [15858]", "Error: nothing to see", ENDING]
)
def test_words_without_a_cause_have_none(words: str) -> None:
    """No sentence is better than a wrong one."""
    assert diagnose(words) is None
