"""Last words of llama.cpp, and what they mean."""

import pytest

from modelrunner.engines.base import explain
from modelrunner.engines.diagnosis import diagnose

FAILED = "0.1 E srv init: exiting due to model loading error"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "ggml_metal: error: failed to allocate buffer, size =  2048.00 MiB",
            "not enough GPU memory to load the model (Metal)",
        ),
        ("cudaMalloc failed: out of memory", "not enough GPU memory to load the model (CUDA)"),
        ("vk::Device::allocateMemory: ErrorOutOfDeviceMemory", "not enough GPU memory (Vulkan)"),
        (
            "E llama_init: failed to initialize the context: failed to allocate buffer for kv cache",
            "not enough memory for a context of this size; a smaller context size needs less",
        ),
        (
            "ggml_aligned_malloc: insufficient memory (attempted to allocate 9 MB)",
            "not enough memory to load the model",
        ),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "not enough memory to load the model",
        ),
        (
            "E llama_model_load: error loading model: unknown model architecture: 'qwen9'",
            "this build of llama.cpp is too old for the model architecture `qwen9`",
        ),
        (
            "E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
            "the model file is not a GGUF file",
        ),
        (
            "error loading model: tensor 'token_embd.weight' data is not within the file bounds",
            "the model file is truncated or damaged",
        ),
        ("E gguf_init_from_reader: failed to read key-value pairs", "the model file is truncated or damaged"),
        (
            "E gguf_init_from_file: failed to open GGUF file '/x.gguf' (Permission denied)",
            "the model file cannot be opened: Permission denied",
        ),
        (
            "error loading model: missing tensor 'blk.0.attn_q.weight'",
            "the model file lacks the tensor `blk.0.attn_q.weight`",
        ),
        (
            "E srv start: couldn't bind HTTP server socket, hostname: /run/a.sock, port: 0",
            "the engine cannot listen on `/run/a.sock`: the address is in use or not allowed",
        ),
        ("error: invalid argument: --bogus", "this build of llama.cpp does not know the argument `--bogus`"),
        (
            'error while handling argument "--threads": stoi',
            "bad value for the argument `--threads`: stoi",
        ),
        (
            "llama-server: error while loading shared libraries: libcuda.so.1: cannot open it",
            "llama-server cannot start: the library `libcuda.so.1` is missing",
        ),
        (
            "ModuleNotFoundError: No module named 'xllamacpp'",
            "the embedded engine is not installed: `xllamacpp` is missing",
        ),
        (
            "E llama_init_from_model: quantized V cache requires flash_attn to be enabled",
            "a quantized V cache needs flash attention: use the flag `--flash-attn on` as well",
        ),
        (
            "E mtmd_init_from_file: error: Failed to load CLIP model from /x",
            "the vision projector cannot be loaded",
        ),
        (
            "E srv init: init: chat template parsing error: std::exception",
            "llama.cpp cannot use the model's chat template",
        ),
        (
            "/x/ggml.c:1: GGML_ASSERT(n_dims >= 1) failed",
            "llama.cpp stopped at a check of its own: `n_dims >= 1`",
        ),
        ("something else", "failed to load model"),
    ],
)
def test_words_have_a_meaning(words: str, sentence: str) -> None:
    """The cause is found before the general failure that follows it."""
    assert diagnose(f"0.0 I srv init: loading model\n{words}\n{FAILED}") == sentence


def test_other_words_have_none() -> None:
    """A guess would be worse than the words themselves."""
    assert diagnose("everything is fine") is None
    assert diagnose("") is None


def test_an_explanation_ends_with_the_engines_own_words() -> None:
    """The sentence, a blank line, and the output without the space around it."""
    assert explain("failed to load model", "\n  a\nb \n") == "failed to load model\n\nVerbose output:\na\nb"


def test_long_words_are_cut() -> None:
    """A message stays readable; what was cut is marked."""
    text = explain("failed to load model", "x" * 5000)

    assert text == "failed to load model\n\nVerbose output:\n" + "x" * 4096 + "\n...[truncated]"


def test_without_a_diagnosis_the_words_stand_alone() -> None:
    """Nothing is made up; and nothing said is nothing."""
    assert explain(None, " a \n") == "a"
    assert explain(None, "") == ""
    assert explain("failed to load model", " ") == "failed to load model"
