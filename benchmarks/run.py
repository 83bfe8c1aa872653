"""Run every benchmark; the exit code tells whether every bound was kept."""

import sys

from benchmarks import cold_start, commands, estimate, passthrough, sandbox, scheduler, transfer


def main() -> int:
    """Each in turn; none stops the others."""
    kept = [
        benchmark.main()
        for benchmark in (passthrough, cold_start, sandbox, scheduler, commands, transfer, estimate)
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
