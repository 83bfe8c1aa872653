"""Feeds the readers of weights' headers with bytes that a coverage-guided fuzzer makes; `make fuzz-headers`.

Any bytes are read, refused with an error of ours, or more of the file is asked for, within the file: nothing
else may come out, no other exception, no hang, no memory without bound.
"""

import sys

import atheris

with atheris.instrument_imports(include=["modelrunner.models"]):
    from modelrunner.errors import RunnerError
    from modelrunner.models.description.gguf_config import describe as describe_gguf
    from modelrunner.models.description.safetensors_config import context_size, describe
    from modelrunner.models.weights import gguf, safetensors
    from modelrunner.models.weights.headers import HeaderIncomplete


def read(data: bytes) -> None:
    """Read some bytes as the head of a file of either format, and as a configuration."""
    provider = atheris.FuzzedDataProvider(data)
    size = provider.ConsumeIntInRange(0, 1 << 50)
    head = provider.ConsumeBytes(len(data))
    for whole in (len(head), max(size, len(head))):
        for parse in (_gguf, _safetensors):
            try:
                parse(head, whole)
            except RunnerError:
                continue
            except HeaderIncomplete as exc:
                if not len(head) < exc.needed <= whole:
                    raise AssertionError(f"asks for {exc.needed} of {whole} bytes, has {len(head)}") from exc
    context_size(head)


def _gguf(head: bytes, size: int) -> None:
    describe_gguf([gguf.parse_header(head, size, "fuzz")])


def _safetensors(head: bytes, size: int) -> None:
    describe([safetensors.parse_header(head, size, "fuzz")])


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
