"""The embedded engine: what it derives from its arguments, and how it serves the real model."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from modelrunner.engines.base import Address, EngineSettings, Options
from modelrunner.engines.diagnosis import diagnose
from modelrunner.engines.llamacpp import LlamaCpp
from modelrunner.engines.llamacpp_arguments import ArgumentError, parse
from modelrunner.engines.llamacpp_server import complete, physical_cores
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.program import Program, started

PROGRAM = (sys.executable, "-P", "-m", "modelrunner.engines.llamacpp_server")
READY = "listening on"
HEADER = {"general.architecture": "llama", "llama.context_length": "8192"}
CHAT = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "temperature": 0}


def test_defaults_are_those_of_a_private_server() -> None:
    """Four slots that share a cache, no web UI, no view into the slots, no foreign origins."""
    full = complete(parse(["-m", "x"]), cores=3)

    assert full == {
        "model.path": "x",
        "hostnames": ["127.0.0.1"],
        "port": 8080,
        "n_parallel": -1,
        "ui": False,
        "endpoint_slots": False,
        "cors_origins": "localhost",
        "cors_credentials": False,
        "load_mode": -1,
        "cpuparams.n_threads": 3,
        "cpuparams_batch.n_threads": 3,
        "sampling.user_sampling_config": 0,
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--embeddings", {"embedding": True, "n_ubatch": 2048}),
        ("--embeddings -b 512", {"n_batch": 512, "n_ubatch": 512}),
        ("--embeddings -ub 64", {"n_ubatch": 64}),
        ("--reranking", {"embedding": True, "pooling_type": 4}),
        ("--timeout 5", {"timeout_read": 5, "timeout_write": 5}),
        ("-ngl 9 -c 5", {"fit_params": False}),
        ("-ngl 9 -c 5 --fit on", {"fit_params": True}),
        ("--mmap", {"load_mode": 1}),
        ("--no-mmap", {"load_mode": 0}),
        ("--mlock", {"load_mode": 3}),
        ("--mlock --no-mmap", {"load_mode": 2}),
        ("-dio", {"load_mode": 4}),
        ("-lm mmap", {"load_mode": 1}),
        ("-t 5", {"cpuparams.n_threads": 5, "cpuparams_batch.n_threads": 5}),
        ("-t 5 -tb 6", {"cpuparams.n_threads": 5, "cpuparams_batch.n_threads": 6}),
        ("-t 0", {"cpuparams.n_threads": os.cpu_count()}),
        ("--prio 2", {"cpuparams.priority": 2, "cpuparams_batch.priority": 2}),
        ("--cpu-mask 1", {"cpuparams.mask_valid": True, "cpuparams_batch.mask_valid": True}),
        ("-md d -td 7", {"speculative.types": [1], "speculative.draft.cpuparams_batch.n_threads": 7}),
        ("--temp 1 --top-k 4", {"sampling.user_sampling_config": 64 | 2}),
        (
            "--reasoning-budget 0",
            {
                "default_template_kwargs": {"enable_thinking": "false"},
                "sampling.reasoning_budget_tokens": 1,
            },
        ),
        (
            '--reasoning-budget 0 --chat-template-kwargs {"enable_thinking":true}',
            {"default_template_kwargs": {"enable_thinking": "true"}},
        ),
        ("--reasoning-budget 7", {"sampling.reasoning_budget_tokens": 7}),
        ("--lora a --lora b,c", {"lora_adapters": [("a", 1.0), ("b", 1.0), ("c", 1.0)]}),
        ('--lora "a,b" --lora-scaled c:0.5', {"lora_adapters": [("a,b", 1.0), ("c", 0.5)]}),
        ("--slot-save-path /x/ --slots", {"slot_save_path": "/x/", "endpoint_slots": True}),
        ("--ui --slots", {"ui": True, "endpoint_slots": True}),
    ],
)
def test_settings_follow_from_others(line: str, expected: dict[str, object]) -> None:
    """As llama-server's parser derives them, which xllamacpp passes by."""
    full = complete(parse(["-m", "x", *line.split()]), cores=2)

    assert {name: full.get(name) for name in expected} == expected


def test_a_model_is_required() -> None:
    """There is nothing to serve without one."""
    with pytest.raises(ArgumentError, match="--model is required"):
        complete(parse([]), cores=1)


def test_hyper_threads_are_no_cores(tmp_path: Path) -> None:
    """CPUs that share a core count once; without a map each one counts."""
    allowed = os.sched_getaffinity(0)
    for cpu in allowed:
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings").write_text("3\n")

    assert physical_cores(tmp_path) == 1
    assert physical_cores(tmp_path / "none") == len(allowed)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: the name of a Unix socket has 107 bytes."""
    with TemporaryDirectory(prefix="mr-") as name:
        yield Path(name)


@asynccontextmanager
async def _client(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(path=str(path))
    async with aiohttp.ClientSession("http://engine", connector=connector) as session:
        yield session


async def _post(path: Path, url: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    async with _client(path) as session, session.post(url, json=body) as response:
        return response.status, json.loads(await response.read())


@asynccontextmanager
async def _serving(model: Path, path: Path, mode: Mode = Mode.COMPLETION) -> AsyncIterator[Program]:
    """The engine as the daemon starts it."""
    config = ModelConfig(format=Format.GGUF, metadata=HEADER)
    bundle = Bundle(root=model.parent, config=config, weights=(model,))
    options = Options(context_size=2048, name="ai/smollm2")
    launch = LlamaCpp(EngineSettings()).launch(bundle, mode, options, Address(socket=path))
    async with started(launch.argv, launch.env) as program:
        await program.said(READY)
        yield program


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], "error: invalid argument: --bogus"),
        ([], "error: --model is required"),
        (["-m", "x", "--chat-template-file", "/nonexistent"], "No such file or directory"),
        (["-m", "x", "--host", f"/tmp/{'x' * 120}.sock"], "too long"),
        (["-m", "x", "--json-schema", "{"], "json_schema_to_grammar"),
    ],
)
async def test_arguments_that_cannot_be_used_end_it(arguments: list[str], words: str) -> None:
    """With status 1, and the reason on stderr."""
    async with started([*PROGRAM, *arguments]) as program:
        status = await program.ended()

    assert status == 1
    assert words in program.output


async def test_it_tells_its_version() -> None:
    """In the form that the probe of a native server reads."""
    async with started([*PROGRAM, "--version"]) as program:
        status = await program.ended()

    assert status == 0
    assert program.output.startswith("version: ")


@pytest.mark.engine
async def test_it_answers_a_chat(smollm2: Path, run_dir: Path) -> None:
    """Under the name that it was given, not with the path of the file."""
    async with _serving(smollm2, run_dir / "x.sock"):
        status, answer = await _post(run_dir / "x.sock", "/v1/chat/completions", {**CHAT, "model": "any"})

    assert status == 200
    assert answer["model"] == "ai/smollm2"
    assert answer["usage"]["completion_tokens"] == 4  # type: ignore[index]  # JSON


@pytest.mark.engine
async def test_it_streams(smollm2: Path, run_dir: Path) -> None:
    """Server-sent events, one a token, and `[DONE]` at the end."""
    path = run_dir / "x.sock"
    async with (
        _serving(smollm2, path),
        _client(path) as session,
        session.post("/v1/chat/completions", json={**CHAT, "stream": True}) as response,
    ):
        events = [line async for line in response.content if line.strip()]

    assert all(event.startswith(b"data: ") for event in events)
    assert len(events) >= 6
    assert events[-1] == b"data: [DONE]\n"


@pytest.mark.engine
async def test_it_completes_tokenizes_and_measures(smollm2: Path, run_dir: Path) -> None:
    """The routes that a daemon needs besides chat; none that it does not."""
    path = run_dir / "x.sock"
    async with _serving(smollm2, path):
        completed = await _post(path, "/v1/completions", {"prompt": "One, two,", "max_tokens": 3})
        tokens = await _post(path, "/tokenize", {"content": "hello world"})
        async with _client(path) as session:
            statuses = [(await session.get(url)).status for url in ("/health", "/metrics", "/slots", "/")]

    assert completed[0] == 200
    assert len(tokens[1]["tokens"]) == 2  # type: ignore[arg-type]  # JSON
    assert statuses == [200, 200, 501, 404]


@pytest.mark.engine
async def test_a_chat_model_makes_embeddings_of_long_texts(smollm2: Path, run_dir: Path) -> None:
    """One vector for each text, and no limit of 512 tokens."""
    path = run_dir / "x.sock"
    texts = ["hello", "word " * 600]
    async with _serving(smollm2, path, Mode.EMBEDDING):
        status, answer = await _post(path, "/v1/embeddings", {"input": texts})

    data = answer["data"]
    assert status == 200
    assert isinstance(data, list)
    assert [len(item["embedding"]) for item in data] == [576, 576]


@pytest.mark.engine
async def test_its_socket_is_private(smollm2: Path, run_dir: Path) -> None:
    """Nobody but the owner can open it."""
    async with _serving(smollm2, run_dir / "x.sock"):
        mode = stat.S_IMODE((run_dir / "x.sock").stat().st_mode)

    assert mode == 0o700


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["loading model", READY])
async def test_a_signal_ends_it_at_once(
    smollm2: Path, run_dir: Path, number: signal.Signals, moment: str
) -> None:
    """While it loads and when it serves; its socket goes with it."""
    path = run_dir / "x.sock"
    arguments = ["-m", str(smollm2), "--host", str(path), "-c", "16384"]
    async with started([*PROGRAM, *arguments]) as program:
        await program.said(moment)
        program.process.send_signal(number)
        async with asyncio.timeout(3):
            status = await program.ended()

    assert status == 0
    assert not path.exists()


@pytest.mark.engine
async def test_a_generation_does_not_hold_it_back(smollm2: Path, run_dir: Path) -> None:
    """A stream that is open ends with the process."""
    path = run_dir / "x.sock"
    async with _serving(smollm2, path) as program, _client(path) as session:
        body = {**CHAT, "stream": True, "max_tokens": 1500, "ignore_eos": True}
        async with session.post("/v1/chat/completions", json=body) as response:
            await response.content.readline()
            program.process.terminate()
            async with asyncio.timeout(3):
                status = await program.ended()

    assert status == 0


@pytest.mark.engine
async def test_an_address_in_use_is_refused(smollm2: Path, run_dir: Path) -> None:
    """A socket that somebody listens on stays theirs."""
    path = run_dir / "x.sock"
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(path))
        owner.listen()
        async with started([*PROGRAM, "-m", str(smollm2), "--host", str(path)]) as program:
            status = await program.ended()

        assert status == 1
        assert path.exists()
        assert "in use" in (diagnose(program.output) or "")


@pytest.mark.engine
async def test_a_port_in_use_is_refused(smollm2: Path) -> None:
    """In llama.cpp's words, which have a diagnosis."""
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = str(owner.getsockname()[1])
        async with started([*PROGRAM, "-m", str(smollm2), "--port", port]) as program:
            status = await program.ended()

    assert status == 1
    assert "in use" in (diagnose(program.output) or "")


@pytest.mark.engine
async def test_what_a_dead_process_left_is_no_obstacle(smollm2: Path, run_dir: Path) -> None:
    """A socket that nobody listens on is replaced."""
    path = run_dir / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with _serving(smollm2, path):
        status, _ = await _post(path, "/tokenize", {"content": "x"})

    assert status == 200


async def test_a_file_where_its_socket_belongs_is_not_touched(run_dir: Path) -> None:
    """It may be precious."""
    path = run_dir / "x.sock"
    path.write_text("precious")

    async with started([*PROGRAM, "-m", "x", "--host", str(path)]) as program:
        status = await program.ended()

    assert status == 1
    assert path.read_text() == "precious"


def _renamed(model: Path, target: Path) -> Path:
    """The model, of an architecture that llama.cpp does not know."""
    data = bytearray(model.read_bytes())
    at = data.find(b"llama", data.find(b"general.architecture"))
    data[at : at + 5] = b"xlama"
    target.write_bytes(data)
    return target


def _cut(model: Path, target: Path) -> Path:
    with model.open("rb") as source:
        target.write_bytes(source.read(5_000_000))
    return target


def _nonsense(_: Path, target: Path) -> Path:
    target.write_text("hello, this is no model")
    return target


@pytest.mark.engine
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_cut, "the model file is truncated or damaged"),
        (_nonsense, "the model file is not a GGUF file"),
        (_renamed, "this build of llama.cpp is too old for the model architecture `xlama`"),
        (lambda _, target: target, "the model file cannot be opened: No such file or directory"),
    ],
)
async def test_a_model_that_cannot_be_loaded_ends_it(
    smollm2: Path, run_dir: Path, tmp_path: Path, spoil: object, sentence: str
) -> None:
    """With status 1 and words that have a diagnosis; its socket goes with it."""
    assert callable(spoil)
    path = run_dir / "x.sock"
    model = spoil(smollm2, tmp_path / "model.gguf")
    async with started([*PROGRAM, "-m", str(model), "--host", str(path)]) as program:
        status = await program.ended()

    assert status == 1
    assert diagnose(program.output) == sentence
    assert not path.exists()
