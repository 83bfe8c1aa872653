"""The layering rule of docs/concepts/architecture.md, as a table that is checked."""

import ast
from collections.abc import Iterator
from pathlib import Path

import modelrunner

ROOT = Path(modelrunner.__file__).parent

GROUND = {"errors", "shell", "units"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "units": GROUND,
    "shell": set(),
    "settings": GROUND,
    "wire": GROUND,
    "oci": GROUND,
    "dialects": GROUND | {"wire"},
    "telemetry": GROUND | {"wire"},
    # Reads what was said in every dialect, and is run beside the daemon as well as within it.
    "recorder": GROUND | {"wire", "dialects", "telemetry"},
    "search": GROUND | {"models", "oci"},
    "models": GROUND | {"oci"},
    "store": GROUND | {"oci"},
    "engines": GROUND | {"models", "oci"},
    "runtime": GROUND | {"engines", "models", "oci"},
    "server": GROUND
    | {"wire", "settings", "oci", "models", "search", "store", "engines", "runtime", "dialects", "telemetry"}
    | {"recorder"},
    "client": GROUND | {"wire"},
    "containers": GROUND,
    "gateway": GROUND | {"dialects"},
    "cli": GROUND | {"client", "wire", "settings"},
    "testing": GROUND | {"oci", "engines", "models", "runtime"},
}
# Within the large packages; what lies beside these puts them together, and may import all of them.
MAY_IMPORT_WITHIN: dict[str, dict[str, set[str]]] = {
    "models": {
        "weights": set(),
        "description": {"weights"},
        "memory": {"weights"},
        "artifacts": {"description", "weights"},
        "bundles": {"description", "weights"},
        "local": {"description"},
        "remote": {"artifacts", "description", "weights"},
    },
    "runtime": {"scheduling": set(), "processes": set(), "channel": set(), "states": set()},
    "server": {
        "connection": set(),
        "library": set(),
        "configuration": {"library"},
        "loading": {"configuration", "library"},
        "inference": {"connection", "library"},
        "inspection": {"configuration", "inference", "library", "loading"},
        "transfers": {"connection", "inspection", "library"},
    },
}
# Inside functions only: a command pays for what it uses (architecture, "A command line that starts quickly").
LAZILY: dict[str, set[str]] = {
    "cli/commands/serve.py": {"server"},
    "cli/commands/gateway.py": {"gateway"},
    "cli/docker_engine.py": {"containers"},
    "cli/runner.py": {"containers"},
    "cli/container_credentials.py": {"oci"},
    "cli/commands/load.py": {"oci"},
    "cli/commands/search.py": {"models", "oci", "search"},
    "cli/commands/simulate.py": {"runtime"},
    "cli/commands/package.py": {"models", "oci"},
    "cli/daemon_model.py": {"models", "oci"},
    "cli/handover.py": {"models", "oci"},
}
THIRD_PARTY: dict[str, set[str]] = {
    "aiohttp": {"oci/connections.py", "oci/reply.py", "gateway/upstream.py"},
    "starlette": {"server", "engines/standalone", "gateway/app.py"},
    "yaml": {"gateway/config.py"},
    "uvicorn": {
        "gateway/serve.py",
        "server/serve.py",
        "server/connection/protocol.py",
        "testing/serving.py",
        "engines/standalone/speech/serving.py",
    },
    "uvloop": {"server/serve.py", "testing/engine.py"},
    "subprocess": {
        "oci/credentials.py",
        "engines/interpreter.py",
        "engines/llamacpp_program.py",
        "testing/docker_registry.py",
        "testing/docker_engine.py",
        "testing/tls.py",
        "cli/daemon.py",
        "cli/chat/editor.py",
        "cli/commands/launch.py",
        "testing/daemon.py",
        "testing/escape.py",
        "testing/terminal.py",
    },
    "docker": {"containers/engine.py", "containers/runner.py"},
    "xllamacpp": {"engines/llamacpp_server.py"},
    "prompt_toolkit": {"cli/chat/prompt.py"},
    "rich": {"cli/chat/markdown.py"},
    "textual": {"cli/top/app.py"},
    "psutil": {"runtime/memory.py", "runtime/processes/process.py"},
    "pynvml": {"runtime/memory.py"},
    "opentelemetry": {"recorder/otel.py"},
    "httptools": {
        "client/exchange.py",
        "runtime/channel/connection.py",
        "server/connection/protocol.py",
        "testing/engine.py",
    },
}

# Of these what is imported is a module, and belongs to the name.
_WHOLE = {"modelrunner", *(f"modelrunner.{package}" for package in MAY_IMPORT_WITHIN)}


def _imports(tree: ast.AST, *, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether the import sits inside a function."""
    for node in ast.iter_child_nodes(tree):
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types(node)
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module in _WHOLE:
                yield from ((f"{node.module}.{alias.name}", inside) for alias in node.names)
            else:
                yield node.module, inside
        yield from _imports(node, in_function=inside)


def _for_types(node: ast.AST) -> bool:
    """Whether a statement is there for type checkers only, and never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def test_packages_import_only_what_lies_below_them() -> None:
    """Nothing imports against the table."""
    wrong: list[str] = []
    for name, tree in _sources():
        package = name.split("/", maxsplit=1)[0].removesuffix(".py")
        for module, inside in _imports(tree):
            parts = module.split(".")
            if parts[0] != "modelrunner" or len(parts) == 1:
                continue
            target = parts[1]
            allowed = MAY_IMPORT[package] | {package, "__version__"}
            if target not in allowed and not (inside and target in LAZILY.get(name, set())):
                wrong.append(f"{name} imports {target}")

    assert wrong == []


def test_packages_within_packages_import_only_what_lies_below_them() -> None:
    """Nothing imports against the second table, not even for its types."""
    wrong: list[str] = []
    for name, tree in _sources():
        package, _, rest = name.partition("/")
        part = rest.partition("/")[0]
        allowed = MAY_IMPORT_WITHIN.get(package, {}).get(part)
        if allowed is None:
            continue
        for module, _ in _imports(tree):
            target = module.removeprefix(f"modelrunner.{package}.").partition(".")[0]
            if module.startswith(f"modelrunner.{package}.") and target not in allowed | {part}:
                wrong.append(f"{name} imports {target}")

    assert wrong == []


def test_third_party_packages_stay_behind_their_fences() -> None:
    """A library that could spread is imported only where the table says."""
    wrong = [
        f"{name} imports {module}"
        for name, tree in _sources()
        for module, _ in _imports(tree)
        for fence, homes in THIRD_PARTY.items()
        if module.split(".")[0] == fence
        and not any(name == home or name.startswith(f"{home}/") for home in homes)
    ]

    assert wrong == []


def _reads_environment(node: ast.AST) -> bool:
    """Whether a node is `os.environ` or `os.getenv`; a parameter of that name is what callers are given."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    )


def test_the_environment_is_read_in_one_place() -> None:
    """`os.environ` appears where programs begin; everything else is given what it needs of it."""
    wrong = [
        name
        for name, tree in _sources()
        if name not in {"cli/main.py", "recorder/process.py"}
        and not name.startswith("testing/")
        and any(_reads_environment(node) for node in ast.walk(tree))
    ]

    assert wrong == []
