"""What the words of vLLM mean: the cause of a failed start, in a sentence to act on.

It starts several processes. The one that fails tells why, and then each of the others, at length, that it had
to stop; so the first cause counts, not the last.
"""

import re

_SENTENCES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (
            r"OutOfMemoryError|CUDA out of memory|cudaErrorMemoryAllocation",
            "not enough GPU memory to load the model (CUDA)",
        ),
        (
            r"Free memory on device .*? is less than desired GPU memory utilization",
            "not enough free GPU memory: something else uses it, or gpu-memory-utilization is too high",
        ),
        (
            r"max(?:imum)? (?:model len|seq(?:uence)? len)\w* \((\d+)\).*KV cache is needed",
            "not enough memory for a context of {} tokens; a smaller context size needs less",
        ),
        (
            r"No available memory for the cache blocks|KV cache (?:memory|space) .*too small",
            "not enough memory for a context of this size; a smaller context size needs less",
        ),
        (
            r"User-specified max_model_len \((\d+)\) is greater than the derived \w+ \(\w+=(\d+)",
            "a context of {} tokens is more than the model was trained for: {}",
        ),
        (
            r"Model architectures \['([^']*)'",
            "this version of vLLM does not know the model architecture `{}`",
        ),
        (
            r"model type `([^`]*)` but Transformers does not recognize",
            "this version of vLLM does not know the model type `{}`",
        ),
        (r"SafetensorError|InvalidHeaderDeserialization", "the model file is truncated or damaged"),
        (
            r"Unknown quantization method: (\S+)\.|quantization method (\S+) is not supported",
            "this build of vLLM does not know the quantization `{}`",
        ),
        (r"unrecognized arguments: (.+)", "this version of vLLM does not know the argument `{}`"),
        (r"argument (\S+): invalid (.+)", "bad value for the argument `{}`: {}"),
        (r"No module named 'vllm'", "vLLM is not installed in this environment, or is damaged"),
        (
            r"please pass the argument `trust_remote_code=True`",
            "the model needs code of its own, which is not run",
        ),
        (r"Address already in use", "the engine cannot listen: its address is in use"),
        (r"No space left on device", "the disk is full"),
        (r"MemoryError|Cannot allocate memory|std::bad_alloc", "not enough memory to load the model"),
    )
)
# The first exception that a worker or the core tells of, in the form in which vLLM logs it.
_EXCEPTION = re.compile(
    r"^\((?:Worker|EngineCore)[^)]*\) ERROR [^\]]*\] (?:[\w.]+\.)?(\w+(?:Error|Exception): .+)$", re.MULTILINE
)
# One of the first process, which says last what it died of, unless that was another's death.
_LAST = re.compile(r"^ *(?:[\w.]+\.)?(\w+(?:Error|Exception): (?!Engine core).+)$", re.MULTILINE)


def diagnose(words: str) -> str | None:
    """Name the cause in the last output; the first pattern that fits wins, None when none does.

    Source: vLLM 0.32's code and, for most of them, its output.
    """
    for pattern, sentence in _SENTENCES:
        if match := pattern.search(words):
            return sentence.format(*(group.strip() for group in match.groups() if group is not None))
    exception = _EXCEPTION.search(words) or next(reversed(list(_LAST.finditer(words))), None)
    return f"vLLM failed: {exception[1].strip()}" if exception else None
