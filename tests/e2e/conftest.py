"""Daemons as users have them: one with the real engine and model, one whose engine is scripted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from modelrunner.testing.browser import browsing
from modelrunner.testing.daemon import BIN, Runner, fake_llama_server, running
from modelrunner.testing.terminal import Window
from tests.templates import OBEYING, THINKING, TOOLS

Open = Callable[..., Window]
STEADY = ("--temp", "0", "--predict", "64")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Runner]:
    """A daemon with the embedded llama.cpp, and the test model as `ai/smollm2`."""
    with running(tmp_path_factory.mktemp("real")) as runner:
        runner.must("package", "--gguf", smollm2, "ai/smollm2")
        # So small a model rambles on when it is left to chance; answers are to be short, and always the same.
        runner.must("configure", "ai/smollm2", "--", *STEADY)
        yield runner


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Runner]:
    """A daemon whose `llama-server` is the scripted engine; nothing is stored yet."""
    program = fake_llama_server(tmp_path / "engine")
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program)) as runner:
        yield runner


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Open]:
    """Open windows on `dmr`, which are closed with the test."""
    windows: list[Window] = []

    def start(
        runner: Runner,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        home: Path | None = None,
        **extra: str,
    ) -> Window:
        environ = {**runner.environ, "HOME": str(home or tmp_path), **extra}
        environ.setdefault("EDITOR", "true")
        folder = tmp_path / f"window{len(windows)}"
        command = ["env", f"TERM={extra['TERM']}"] if "TERM" in extra else []
        opened = Window(folder, [*command, BIN / "dmr", *arguments], environ, columns=columns, rows=rows)
        windows.append(opened)
        return opened

    yield start
    for opened in windows:
        opened.close()


@pytest.fixture(scope="session")
def calling(real: Runner, tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> str:
    """A model with a template that knows tools."""
    return _with_template(real, tmp_path_factory, smollm2, "ai/calling", TOOLS)


@pytest.fixture(scope="session")
def thinking(real: Runner, tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> str:
    """A model with a template that has it think."""
    return _with_template(real, tmp_path_factory, smollm2, "ai/thinking", THINKING + OBEYING)


def _with_template(
    real: Runner, folders: pytest.TempPathFactory, weights: Path, name: str, template: str
) -> str:
    path = folders.mktemp("template") / "chat_template.jinja"
    path.write_text(template)
    real.must("package", "--gguf", weights, "--chat-template", path, name)
    real.must("configure", name, "--", *STEADY)
    return name


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for a module; each test opens windows of its own.

    While it is there, Playwright's event loop is the thread's, and no other test can have one.
    """
    with browsing() as opened:
        yield opened
