"""Run every benchmark; the exit code tells whether every bound was kept."""

import sys

from benchmarks import (
    chat,
    cold_start,
    commands,
    estimate,
    image_memory,
    kv_swap,
    passthrough,
    recorder,
    sandbox,
    scheduler,
    transfer,
    translation,
    web,
)


def main() -> int:
    """Each in turn; none stops the others."""
    everything = (
        *(passthrough, recorder, translation, cold_start, sandbox, scheduler),
        *(kv_swap, commands, chat, transfer, estimate, image_memory, web),
    )
    kept = [benchmark.main() for benchmark in everything]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
