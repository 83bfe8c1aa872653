"""Estimated against measured memory: the real engine, after a request that fills a good part of its context.

What is measured is everything that the process has in memory, with the weights that it has mapped. An
estimate is compared once without what the engine keeps of other conversations, of which there are none after
one request, and once with it, after as many as fill it.
"""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gguf import GGMLQuantizationType as Kind

from benchmarks import shapes
from benchmarks.daemons import awaited, free_port, post
from benchmarks.figures import Figure, show
from modelrunner.engines.base import Address, Draft, EngineSettings, Options
from modelrunner.engines.estimate import Estimate
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.gguf import read_header
from modelrunner.runtime.memory import devices, resident
from scripts.fetch_test_model import fetch

FILLED = 0.9  # of a slot's context
MOST = 2500  # tokens of a request: longer ones take minutes, and no other memory
MIB = 1 << 20
QUANTIZED = ("-ctk", "q8_0", "-ctv", "q8_0")


@dataclass(frozen=True, slots=True)
class Case:
    """One start of an engine. `requests` that differ are made, one after the other."""

    model: Path
    context: int
    flags: tuple[str, ...] = ()
    requests: int = 1
    draft: Path | None = None
    mode: Mode = Mode.COMPLETION

    def __str__(self) -> str:
        more = f", {self.requests} requests" if self.requests > 1 else ""
        more += ", with a draft" if self.draft is not None else ""
        embeds = " embeddings" if self.mode is Mode.EMBEDDING else ""
        return f"{self.model.stem[:28]} {self.context}{embeds} {' '.join(self.flags)}{more}".strip()


def _cases(smollm2: Path, folder: Path) -> Iterator[Case]:
    for context in (512, 2048, 8192, 32768):
        yield Case(smollm2, context)
    for context in (512, 2048, 8192):
        yield Case(smollm2, context, ("--parallel", "1"))
        yield Case(smollm2, context, ("--parallel", "4", *QUANTIZED))
    yield Case(smollm2, 2048, requests=6)
    yield Case(smollm2, 2048, ("--flash-attn", "off"))
    yield Case(smollm2, 2048, ("--ubatch-size", "2048"))
    yield Case(smollm2, 2048, ("--no-mmap",))
    yield Case(smollm2, 2048, mode=Mode.EMBEDDING)
    draft = Path(shutil.copy(smollm2, folder / "draft.gguf"))
    for context in (2048, 8192):
        yield Case(smollm2, context, draft=draft)
    draft.unlink()
    wide = shapes.llama(
        "wide-Q8_0", Kind.Q8_0, width=2048, layers=4, heads=(16, 4), inner=5632, vocabulary=100_000
    )
    deep = shapes.llama(
        "deep-F16", Kind.F16, width=1024, layers=24, heads=(16, 16), inner=2816, vocabulary=32_000
    )
    woven = shapes.llama(
        "woven-Q4_0", Kind.Q4_0, width=2048, layers=8, heads=(32, 8), inner=5632, vocabulary=49_152
    )
    for recipe in (wide, deep, woven):
        path = shapes.make(recipe, folder)
        yield Case(path, 2048)
        yield Case(path, 8192, ("--parallel", "4"))
        path.unlink()
    kinds = (shapes.experts, shapes.latent, shapes.recurrent)
    for kind in kinds:
        path = shapes.make(kind(kind.__name__, Kind.Q8_0 if kind is not shapes.latent else Kind.F16), folder)
        # With one slot, which the request fills: a state has copies for each.
        yield Case(path, 4096, ("--parallel", "1"))
        path.unlink()


@contextmanager
def _engine(case: Case) -> Iterator[tuple[int, int, Estimate]]:
    """A ready engine: its process, its port, and the estimate for it."""
    engine = LlamaCpp(EngineSettings(search_path=""))
    config = ModelConfig(format=Format.GGUF, metadata=describe([read_header(case.model)]).metadata)
    bundle = Bundle(case.model.parent, config, (case.model,))
    draft = None if case.draft is None else Draft((case.draft,), tokens=4)
    options = Options(context_size=case.context, flags=case.flags, draft=draft)
    expected = engine.estimate(bundle, case.mode, options, devices())
    assert expected is not None
    port = free_port()
    launch = engine.launch(bundle, case.mode, options, Address(port=port))
    with subprocess.Popen(
        launch.argv, env={**os.environ, **launch.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            awaited(process, port)
            yield process.pid, port, expected
        finally:
            process.send_signal(signal.SIGKILL)


def _ask(port: int, case: Case, words: random.Random) -> None:
    slots = 4 if "4" in case.flags else 1
    count = min(MOST, int(FILLED * case.context / slots))
    prompt = [words.randint(300, 5000) for _ in range(count)]
    if case.mode is Mode.EMBEDDING:
        post(port, "/v1/embeddings", {"input": prompt})
    else:
        post(port, "/completion", {"prompt": prompt, "n_predict": 8, "temperature": 0})


def measure(case: Case) -> tuple[Estimate, int]:
    """The estimate, and the memory that the process has after its requests, in bytes."""
    words = random.Random(1)
    with _engine(case) as (pid, port, expected):
        for _ in range(case.requests):
            _ask(port, case, words)
        return expected, resident(pid)


def main() -> bool:
    """All cases; each is one figure."""
    ratios: list[float] = []
    print(f"\nestimate against measured memory (MiB)\n  {'':<58}{'estimate':>9}{'measured':>9}{'ratio':>7}")
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        # A file of its own: of one that another process has mapped as well, only a part would be counted.
        model = Path(shutil.copy(fetch(), name))
        for case in _cases(model, Path(name)):
            expected, measured = measure(case)
            total = expected.total - (expected.prompts if case.requests == 1 else 0)
            ratios.append(total / measured)
            line = f"{total / MIB:>9.1f}{measured / MIB:>9.1f}{ratios[-1]:>7.3f}"
            print(f"  {case!s:<58}{line}", flush=True)
    return show(
        "estimate / measured memory",
        [
            Figure("lowest of all", (min(ratios),), "x", at_least=0.95),
            Figure("highest of all", (max(ratios),), "x", at_most=1.15),
        ],
    )


if __name__ == "__main__":
    main()
