import http.client
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.engines.base import Address, EngineSettings, Options
from modelrunner.engines.estimate import Device, Estimate, KnowsMemory
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.engines.llamacpp_memory import EMBEDDED, Files, estimate, estimate_files, needs, prompt_cache
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.gguf import GGUFHeader, LongArray, Tensor, Value, read_header
from modelrunner.runtime.memory import resident
from modelrunner.testing.gguf import tiny_gguf

MIB = 1 << 20
GIB = 1 << 30
Q4_K, Q6_K, F32 = 12, 14, 0
WIDTH, INNER, WORDS, LAYERS = 1024, 4096, 32000, 4
NOTHING: Mapping[str, Value] = {}
RAM = Device("ram", 16 * GIB, 16 * GIB)
GPUS = (RAM, Device("cuda:0", 24 * GIB, 20 * GIB), Device("cuda:1", 8 * GIB, 5 * GIB))
WORD_BYTES = WIDTH * WORDS // 256 * 144
WORDS_OF_A_LINE = ["-c", "-np", "-b", "-ub", "-cram", "-ngl", "--embeddings", "0", "1", f"{1 << 63}", "off"]
MATRIX_BYTES = WIDTH * INNER // 256 * 144


def _model(more: Mapping[str, Value] = NOTHING, *, tied: bool = False, kind: int = Q4_K) -> GGUFHeader:
    metadata: dict[str, Value] = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": LongArray(WORDS),
        "llama.block_count": LAYERS,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": 16,
        "llama.attention.head_count_kv": 4,
        "llama.context_length": 131072,
        **{f"llama.{key}": value for key, value in more.items()},
    }
    named = [("token_embd.weight", (WIDTH, WORDS))] + [("output.weight", (WIDTH, WORDS))] * (not tied)
    named += [(f"blk.{layer}.ffn_up.weight", (WIDTH, INNER)) for layer in range(LAYERS)]
    tensors = []
    offset = 0
    for name, dims in named:
        tensors.append(Tensor(name, dims, kind, offset))
        offset += tensors[-1].bytes
    tensors.append(Tensor("output_norm.weight", (WIDTH,), F32, offset))
    return GGUFHeader(3, metadata, tuple(tensors), 100, 32, 128 + offset + 4 * WIDTH)


def _estimate(line: str = "", model: GGUFHeader | None = None, machine: str = "x86_64") -> Estimate:
    found = estimate_files(Files((model or _model(),)), line.split(), (RAM,), machine=machine)
    assert found is not None
    return found


def test_every_part_of_a_server_is_counted() -> None:
    """Weights, cache, buffers, what is kept of conversations, and the program, all in memory."""
    found = _estimate("--ctx-size 4096 --cache-ram 100 --no-repack")

    assert found.weights == 2 * WORD_BYTES + LAYERS * MATRIX_BYTES + 4 * WIDTH
    assert found.cache == 4096 * LAYERS * 2 * 4 * 64 * 2
    assert found.compute > 512 * 3 * INNER * 4
    assert found.prompts == 100 * MIB
    assert found.overhead > 40 * MIB
    assert found.reclaimable == 0
    assert found.by_device == {"ram": found.total}
    assert (found.device, found.context) == ("ram", 4096)


@pytest.mark.parametrize(
    ("line", "machine", "model", "copies", "left"),
    [
        ("", "x86_64", _model(), WORD_BYTES + LAYERS * MATRIX_BYTES, WORD_BYTES + LAYERS * MATRIX_BYTES),
        ("", "aarch64", _model(), WORD_BYTES + LAYERS * MATRIX_BYTES, WORD_BYTES + LAYERS * MATRIX_BYTES),
        ("", "x86_64", _model(tied=True), WORD_BYTES + LAYERS * MATRIX_BYTES, LAYERS * MATRIX_BYTES),
        ("", "x86_64", _model(kind=Q6_K), 0, 0),
        ("--no-repack", "x86_64", _model(), 0, 0),
        ("-nr", "x86_64", _model(), 0, 0),
        ("--no-mmap", "x86_64", _model(kind=Q6_K), 0, 0),
        ("--no-mmap", "x86_64", _model(tied=True), WORD_BYTES, 0),
    ],
)
def test_weights_that_the_processor_wants_in_another_order_are_there_twice(
    line: str, machine: str, model: GGUFHeader, copies: int, left: int
) -> None:
    """The copy comes on top of what is mapped, whose original is not looked at again; or instead of it."""
    found = _estimate(line, model, machine)

    assert sum(tensor.bytes for tensor in model.tensors) + copies == found.weights
    assert left == found.reclaimable


def test_an_arm_processor_wants_more_types_in_its_order() -> None:
    """Q6_K, for one."""
    arm, x86 = (_estimate("", _model(kind=Q6_K), machine) for machine in ("aarch64", "x86_64"))

    assert arm.weights > x86.weights
    assert arm.needed == x86.needed


def test_weights_that_are_read_are_there_once() -> None:
    """Without a mapping there is nothing that could be given back."""
    found = _estimate("--no-mmap")

    assert found.weights == 2 * WORD_BYTES + LAYERS * MATRIX_BYTES + 4 * WIDTH
    assert found.reclaimable == 0


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("-c 8192", "-c 4096"),
        ("-c 0", "-c 65536"),
        ("-c 8192", "-c 8192 -ctk q8_0 -ctv q8_0"),
        ("-c 8192 --flash-attn off", "-c 8192"),
        ("-c 8192 -b 4096 -ub 4096", "-c 8192"),
        ("-c 8192", "-c 8192 -ub 64"),
        ("-c 8192 -np 16 -kvu", "-c 8192 -np 1"),
        ("-c 8192 --embeddings", "-c 8192 --cache-ram 0"),
        ("-c 8192 --cache-ram -1", "-c 8192 --cache-ram 512"),
        ("-c 8192", "-c 8192 --cache-ram 512"),
        (f"{EMBEDDED} -c 8192 --embeddings", "-c 8192 --embeddings"),
    ],
)
def test_flags_change_what_is_needed(more: str, less: str) -> None:
    """Those that decide about the cache, the buffers and what is kept."""
    assert _estimate(more).total > _estimate(less).total


def test_windows_save_a_cache_unless_they_are_whole() -> None:
    """A flag brings back what they save."""
    model = _model({"attention.sliding_window": 512, "attention.sliding_window_pattern": 2})

    assert _estimate("-c 65536 -ctxcp 0", model).cache < _estimate("-c 65536", model).cache
    assert _estimate("-c 65536", model).cache < _estimate("-c 65536 --swa-full", model).cache


def test_a_draft_model_and_a_projector_are_counted() -> None:
    """The draft with a cache of its own, which may be shorter; adapters with the weights."""
    whole = Files((_model(),), projector=_model(), draft=(_model(),), adapters=1000)
    found, short = (
        estimate_files(whole, ["-c", "8192", *more], machine="x86_64") for more in ((), ("-cd", "512"))
    )
    alone = _estimate("-c 8192")

    assert found is not None
    assert short is not None
    assert found.draft == alone.weights + alone.cache + alone.compute + WORDS * 128
    assert short.draft < found.draft
    assert found.projector == 2 * WORD_BYTES + LAYERS * MATRIX_BYTES + 4 * WIDTH
    assert found.weights == alone.weights + 1000


def test_a_smaller_context_is_offered() -> None:
    """The largest that fits into what there is, or none."""
    found = _estimate("-c 65536 --cache-ram 0")
    assert found.needed_at is not None
    enough = found.needed_at(2048)

    assert found.context_within(found.needed) == 65536
    assert found.context_within(found.needed - 1) == 65536 - 256
    assert found.context_within(enough) == 2048
    assert found.context_within(enough - 1) == 2048 - 256
    assert found.context_within(MIB) is None


def test_without_other_contexts_only_this_one_can_fit() -> None:
    """An engine may know no more than one figure."""
    found = Estimate(device="ram", context=4096, weights=1000)

    assert found.context_within(1000) == 4096
    assert found.context_within(999) is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("-ngl 999", {"cuda:0", "cuda:1", "ram"}),
        ("-ngl auto", {"cuda:0", "cuda:1", "ram"}),
        ("", {"cuda:0", "cuda:1", "ram"}),
        ("-ngl 2", {"cuda:0", "cuda:1", "ram"}),
        ("-ngl 999 -sm none", {"cuda:0", "ram"}),
        ("-ngl 999 -sm none -mg 1", {"cuda:1", "ram"}),
        ("-ngl 999 -sm none -mg 7", {"cuda:1", "ram"}),
        ("-ngl 999 -ts 0,1", {"cuda:1", "ram"}),
        ("-ngl 999 -ts nonsense", {"cuda:0", "cuda:1", "ram"}),
        ("-ngl 0", {"ram"}),
        (f"{EMBEDDED} -ngl 999", {"ram"}),
    ],
)
def test_a_server_of_its_own_uses_the_gpus(line: str, named: set[str]) -> None:
    """As its flags say; nothing is lost between the devices. The embedded one has none."""
    argv = f"-c 8192 --cache-ram 0 {line}".split()
    found = estimate_files(Files((_model(),)), argv, GPUS, machine="x86_64")

    assert found is not None
    assert named == set(found.by_device)
    assert sum(found.by_device.values()) == found.needed
    assert all(count >= 0 for count in found.by_device.values())
    assert found.device in named


def test_more_layers_on_gpus_are_fewer_in_memory() -> None:
    """And the larger GPU gets more of them."""
    shares = []
    for count in (1, 3, 99):
        found = estimate_files(Files((_model(),)), ["-c", "65536", "-ngl", str(count)], GPUS)
        assert found is not None
        shares.append(found.by_device)

    assert shares[0]["ram"] > shares[1]["ram"] > shares[2]["ram"]
    assert shares[0]["cuda:0"] < shares[1]["cuda:0"] < shares[2]["cuda:0"]
    assert shares[2]["cuda:0"] > shares[2]["cuda:1"]


@pytest.mark.parametrize(
    ("metadata", "line", "mebibytes"),
    [
        ({}, "", 256),
        (_model().metadata, "-c 8192", 32),
        (_model().metadata, "-c 512", 2),
        (_model().metadata, "-c 8192 -ctk q8_0 -ctv q8_0", 17),
        (_model().metadata, "-c 0", 512),
        (_model({"block_count": 400}).metadata, "-c 131072", 1024),
        (_model({"attention.head_count_kv": 1}).metadata, "-c 1", 1),
    ],
)
def test_conversations_are_kept_as_far_as_the_cache_goes(
    metadata: Mapping[str, Value], line: str, mebibytes: int
) -> None:
    """Within bounds, instead of 8 GiB for every model."""
    assert mebibytes == prompt_cache(metadata, line.split())


def test_headers_alone_say_what_each_context_needs() -> None:
    """For a model that is elsewhere; one that is of no known kind needs nobody knows what."""
    model = _model()
    needed = needs([model])

    assert needed is not None
    assert needed(512) < needed(8192)
    assert needs([]) is None
    assert needs([GGUFHeader(3, {}, (), 100, 32, 128)]) is None


@given(
    st.dictionaries(
        st.sampled_from(["block_count", "embedding_length", "attention.head_count", "feed_forward_length"]),
        st.integers(-1, 1 << 64),
    ),
    st.lists(st.integers(0, 1 << 64), min_size=2, max_size=4),
    st.integers(0, 1 << 64),
    st.lists(st.sampled_from(WORDS_OF_A_LINE)),
)
def test_a_lying_header_and_senseless_flags_are_bounded(
    numbers: dict[str, int], dims: list[int], offset: int, flags: list[str]
) -> None:
    """An answer comes at once, and no part of it is negative."""
    model = _model(numbers)
    lie = Tensor("blk.0.lie.weight", tuple(dims), Q4_K, offset)
    model = GGUFHeader(3, model.metadata, (*model.tensors, lie), 100, 32, model.file_bytes)
    found = estimate_files(Files((model,)), flags, GPUS)
    if found is None:
        return

    parts = (found.weights, found.cache, found.compute, found.prompts, found.overhead, found.reclaimable)
    assert all(part >= 0 for part in parts)
    assert found.reclaimable <= found.weights
    assert all(count >= 0 for count in found.by_device.values())
    within = found.context_within(8 * GIB)
    assert within is None or 0 < within <= found.context


def test_files_are_read_from_the_command_line(tmp_path: Path) -> None:
    """The model is; what cannot be estimated is not, and what is no model is refused."""
    tiny = tiny_gguf(tmp_path / "tiny.gguf", **{"llama.block_count": 2, "llama.embedding_length": 8})
    vague = tiny_gguf(tmp_path / "vague.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nonsense")

    found = estimate(["--model", str(tiny), "--lora-scaled", f"{tiny}:0.5", "-md", str(tiny)], ())
    assert found is not None
    assert found.weights == 2 * 2 * 8 * 4 * 2
    assert found.draft > 0
    assert estimate(["--model", str(vague)], ()) is None
    assert estimate([], ()) is None
    with pytest.raises(UnsupportedModel, match="not a GGUF file"):
        estimate(["--model", str(broken)], ())


@contextmanager
def _running(argv: tuple[str, ...], path: Path) -> Iterator[int]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 50
        while _ask(path, "GET", "/health") != 200:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _ask(path: Path, method: str, route: str, body: object = None) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=50)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(50)
    try:
        connection.sock.connect(str(path))
        text = json.dumps(body) if body is not None else None
        connection.request(method, route, text, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.mark.engine
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux measures memory")
@pytest.mark.parametrize("flags", [(), ("--parallel", "2", "-ctk", "q8_0", "-ctv", "q8_0")])
def test_the_estimate_is_what_the_real_engine_takes(
    smollm2: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """After a request that fills its context: never a twentieth below, and at most a fifth above."""
    engine = LlamaCpp(EngineSettings())
    config = ModelConfig(format=Format.GGUF, metadata=describe([read_header(smollm2)]).metadata)
    # A file of its own: of one that another process has mapped as well, only a part would be counted.
    model = Path(shutil.copy(smollm2, tmp_path))
    bundle = Bundle(tmp_path, config, (model,))
    options = Options(context_size=1024, flags=flags)
    path = tmp_path / "engine.sock"
    assert isinstance(engine, KnowsMemory)

    found = engine.estimate(bundle, Mode.COMPLETION, options, (RAM,))
    with _running(engine.launch(bundle, Mode.COMPLETION, options, Address(socket=path)).argv, path) as pid:
        prompt = list(range(1000, 1500))
        assert _ask(path, "POST", "/completion", {"prompt": prompt, "n_predict": 4}) == 200
        measured = resident(pid)

    assert found is not None
    assert 0.95 * measured < found.total - found.prompts < 1.2 * measured
