"""What the last words of llama.cpp mean: the cause of a failed start, in a sentence to act on."""

import re

_SENTENCES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"failed to allocate buffer, size = .*MiB", "not enough GPU memory to load the model (Metal)"),
        (r"cudaMalloc failed: out of memory", "not enough GPU memory to load the model (CUDA)"),
        (r"ErrorOutOfDeviceMemory|Device memory allocation of size", "not enough GPU memory (Vulkan)"),
        (
            r"failed to allocate buffer for kv cache|initialize the context: failed to allocate",
            "not enough memory for a context of this size; a smaller context size needs less",
        ),
        (
            r"insufficient memory|std::bad_alloc|cpu_buffer_type_alloc_buffer: failed",
            "not enough memory to load the model",
        ),
        (
            r"unknown model architecture: '([^']*)'",
            "this build of llama.cpp is too old for the model architecture `{}`",
        ),
        (r"invalid magic characters|bad magic", "the model file is not a GGUF file"),
        (r"data is not within the file bounds", "the model file is truncated or damaged"),
        (
            r"gguf_init_from_\w+: failed to read|failed to read (?:key-value pairs|tensor)",
            "the model file is truncated or damaged",
        ),
        (r"failed to open GGUF file '[^']*' \(([^)]*)\)", "the model file cannot be opened: {}"),
        (r"missing tensor '([^']*)'", "the model file lacks the tensor `{}`"),
        (
            r"couldn't bind (?:HTTP )?server socket, hostname: ([^,\s]+)",
            "the engine cannot listen on `{}`: the address is in use or not allowed",
        ),
        (r"invalid argument: (\S+)", "this build of llama.cpp does not know the argument `{}`"),
        (r'error while handling argument "([^"]*)": (.+)', "bad value for the argument `{}`: {}"),
        (r"loading shared libraries: ([^:\s]+)", "llama-server cannot start: the library `{}` is missing"),
        (r"No module named '?(xllamacpp)", "the embedded engine is not installed: `{}` is missing"),
        (
            r"quantized V cache requires flash_attn",
            "a quantized V cache needs flash attention: use the flag `--flash-attn on` as well",
        ),
        (r"Failed to load CLIP model|failed to load multimodal", "the vision projector cannot be loaded"),
        (
            r"chat template (?:is not supported|parsing error)",
            "llama.cpp cannot use the model's chat template",
        ),
        (r"GGML_ASSERT\((.*)\) failed", "llama.cpp stopped at a check of its own: `{}`"),
        (r"exiting due to model loading error", "failed to load model"),
    )
)


def diagnose(tail: str) -> str | None:
    """Name the cause in the last lines of output; the first pattern that fits wins, None when none does.

    Source: the first two and the last one are Docker Model Runner's; the others were seen in llama.cpp's code
    and, most of them, on its stderr.
    """
    for pattern, sentence in _SENTENCES:
        if match := pattern.search(tail):
            return sentence.format(*(group.strip() for group in match.groups()))
    return None
