"""The embedded engine: a program that takes llama-server's arguments and serves with xllamacpp.

    python -m modelrunner.engines.llamacpp_server --model model.gguf --host /run/x.sock

A child process of the daemon, and a drop-in for a native `llama-server`: same routes, same words on stderr,
same exit codes. What differs by intent: no web UI, no `/slots` and no foreign origins unless asked for; a
Unix socket only its owner can open, which goes when the process does; a stale socket is no obstacle; inputs
for embeddings may be as long as the logical batch.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from modelrunner.engines.llamacpp_arguments import (
    ADAPTERS,
    JSON_SCHEMA,
    TEMPLATE_FILE,
    VERSION,
    ArgumentError,
    Settings,
    parse,
)

DEFAULTS: Settings = {
    "hostnames": ["127.0.0.1"],
    "port": 8080,
    "n_parallel": -1,  # llama-server's auto: four slots that share one cache
    "ui": False,
    "endpoint_slots": False,
    "cors_origins": "localhost",
    "cors_credentials": False,
}
_SOCKET_PATH_LIMIT = 107  # bytes; of Linux, four fewer on macOS
_BATCH = 2048  # tokens; llama.cpp's own logical batch
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What a user gave goes before what a model recommends: the bits of `common_params_sampling_config`.
_SAMPLING_NAMES = """
    samplers top_k top_p min_p xtc_probability xtc_threshold temp penalty_last_n penalty_repeat
    mirostat mirostat_tau mirostat_eta
"""
_SAMPLING_BITS = {f"sampling.{name}": 1 << bit for bit, name in enumerate(_SAMPLING_NAMES.split())}
_USER_GRAMMAR = 1  # common_grammar_type


def physical_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Count the cores that this process may run on, hyper-threads not counted, within its share of time.

    Source: llama.cpp's `common_cpu_get_num_physical_cores`; it forgets affinity and the cgroup's quota.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores: set[str] = set()
    for cpu in allowed:
        try:
            cores.add((topology / f"cpu{cpu}/topology/thread_siblings").read_text())
        except OSError:
            return max(1, len(allowed))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        share = -(-int(quota) // int(period))
    except (OSError, ValueError):
        share = len(cores)
    return max(1, min(len(cores), share))


def complete(settings: Settings, cores: int) -> Settings:
    """Add what llama-server derives from its arguments, and our defaults. Pure.

    Raises:
        ArgumentError: no model.
    """
    full = DEFAULTS | settings
    if not full.get("model.path"):
        raise ArgumentError("error: --model is required")
    full["load_mode"] = full.pop("load_mode", _load_mode(full))
    if "timeout" in full:
        full["timeout_read"] = full["timeout_write"] = full.pop("timeout")
    if full.pop("reranking", False):
        full |= {"embedding": True, "pooling_type": 4}
    if full.get("embedding"):
        full.setdefault("n_ubatch", full.get("n_batch", _BATCH))
    if "speculative.draft.mparams.path" in full:
        full.setdefault("speculative.types", [1])
    if full.get("sampling.reasoning_budget_tokens") == 0:
        # Templates that can are told; for those that begin to think regardless it has to be one token, since
        # llama.cpp loses half of the end mark when it forces it as the very first token.
        kwargs = full.get("default_template_kwargs", {})
        assert isinstance(kwargs, dict)
        full["default_template_kwargs"] = {"enable_thinking": "false"} | kwargs
        full["sampling.reasoning_budget_tokens"] = 1
    if "n_gpu_layers" in settings and "n_ctx" in settings:
        # Both that it would fit are given: the dry run would cost a third of the start of a small model.
        full.setdefault("fit_params", False)
    full["sampling.user_sampling_config"] = sum(_SAMPLING_BITS.get(path, 0) for path in settings)
    return _inherit_cpus(full, cores)


def _load_mode(full: Settings) -> int:
    """One of `llama_load_mode`, from the flags that it replaced."""
    mmap, mlock, direct = (full.pop(flag, None) for flag in ("mmap", "mlock", "dio"))
    if direct:
        return 4
    if mlock:
        return 2 if mmap is False else 3
    return -1 if mmap is None else int(bool(mmap))


def _inherit_cpus(full: Settings, cores: int) -> Settings:
    """Give each set of threads what it was not told, from the one that it follows."""
    threads = full.get("cpuparams.n_threads")
    if not isinstance(threads, int) or threads <= 0:
        full["cpuparams.n_threads"] = cores if threads is None else os.cpu_count() or 1
    sets = ["cpuparams", "cpuparams_batch"]
    if "speculative.draft.mparams.path" in full:
        sets += ["speculative.draft.cpuparams", "speculative.draft.cpuparams_batch"]
    for leader, follower in pairwise(sets):
        for what in ("n_threads", "cpumask", "strict_cpu", "priority", "poll"):
            if f"{leader}.{what}" in full:
                full.setdefault(f"{follower}.{what}", full[f"{leader}.{what}"])
    for prefix in sets:
        if f"{prefix}.cpumask" in full:
            full[f"{prefix}.mask_valid"] = True
    return full


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve until a signal comes, or say why not and exit with 1."""
    try:
        settings = parse(arguments)
        if VERSION in settings:
            _print_version()
            sys.exit(0)
        full = complete(settings, physical_cores())
        sockets = _sockets(full)
        _read_template(full)
    except ArgumentError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - the words of a program, on its stderr
        sys.exit(1)
    os.umask(0o077)
    _leave_on_signals(sockets)
    try:
        server = _start(full)
    except (RuntimeError, ValueError, OverflowError, TypeError, OSError) as exc:
        _remove(sockets)
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201 - llama.cpp has said more above
        sys.exit(1)
    _serve(sockets, server)


def _print_version() -> None:
    import xllamacpp  # noqa: PLC0415 - thirty milliseconds that a wrong argument need not wait for

    version: str = xllamacpp.__version__
    print(f"version: {version.rsplit('.', 1)[-1]} ({version})", file=sys.stderr)  # noqa: T201 - as llama-server


def _sockets(full: Settings) -> list[Path]:
    """The Unix sockets among the addresses; what a dead process left at their paths is removed.

    Raises:
        ArgumentError: somebody listens there, or the path cannot be a socket's.
    """
    hosts = full["hostnames"]
    assert isinstance(hosts, list)
    sockets = [Path(host) for host in hosts if host.endswith(".sock")]
    for path in sockets:
        if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
            raise ArgumentError(f"error: the path of the socket is too long: {path}")
        if os.path.lexists(path):
            _clear(path)
    return sockets


def _clear(path: Path) -> None:
    import socket  # noqa: PLC0415 - needed only after a crash

    if not path.is_socket():
        raise ArgumentError(f"error: couldn't bind HTTP server socket, hostname: {path}, not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ArgumentError(f"error: couldn't bind HTTP server socket, hostname: {path}, address already in use")


def _read_template(full: Settings) -> None:
    name = full.pop(TEMPLATE_FILE, None)
    if isinstance(name, str):
        try:
            full["chat_template"] = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            message = f'error while handling argument "--chat-template-file": {exc}'
            raise ArgumentError(message) from exc


def _start(full: Settings) -> object:
    """Load the model and listen; returns when requests can be answered."""
    from xllamacpp import (  # noqa: PLC0415 - see `_print_version`
        CommonAdapterLoraInfo,
        CommonGrammar,
        CommonParams,
        Server,
        json_schema_to_grammar,
    )

    params = CommonParams()
    schema = full.pop(JSON_SCHEMA, None)
    if schema is not None:
        full["sampling.grammar"] = json_schema_to_grammar(schema)
    if "sampling.grammar" in full:
        full["sampling.grammar"] = CommonGrammar(_USER_GRAMMAR, full["sampling.grammar"])
    if adapters := full.get(ADAPTERS):
        assert isinstance(adapters, list)
        full[ADAPTERS] = [CommonAdapterLoraInfo(*adapter) for adapter in adapters]
    for path, value in full.items():
        *owners, name = path.split(".")
        target: object = params
        for owner in owners:
            target = getattr(target, owner)
        setattr(target, name, value)
    server: object = Server(params)
    return server


def _leave(sockets: Iterable[Path]) -> NoReturn:
    _remove(sockets)
    os._exit(0)  # nothing to save, and threads that would take their time to end


def _remove(sockets: Iterable[Path]) -> None:
    for path in sockets:
        path.unlink(missing_ok=True)


def _leave_on_signals(sockets: Sequence[Path]) -> None:
    """Make signals end the process even while a model loads.

    Loading holds the interpreter's lock in the main thread, so that a handler of Python's would not run
    before it is over. One of C's does, and may use the interpreter, since its thread holds the lock.
    """
    import ctypes  # noqa: PLC0415 - after the arguments were found good

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: _leave(sockets))
    libc = ctypes.CDLL(None)
    for number in _SIGNALS:
        libc.signal(int(number), handler)
    _HANDLERS.append(handler)


_HANDLERS: list[object] = []  # C holds no reference of its own


def _serve(sockets: Sequence[Path], server: object) -> NoReturn:
    """Keep the server until a signal comes, whichever thread it reaches."""
    assert server is not None
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    os.read(reader, 1)
    _leave(sockets)


if __name__ == "__main__":
    main(sys.argv[1:])
