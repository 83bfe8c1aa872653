"""The plug-in of docs/guides/engines.md, as it stands there."""

import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.engines.base import Engine, EngineSettings
from modelrunner.engines.registry import load_engines
from modelrunner.testing.contract import EngineContract

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parent.parent.parent / "docs" / "guides" / "engines.md"
(CODE,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    if "class Acme:" in block
]


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> "Callable[[EngineSettings], Engine]":
    """The class, found as the daemon finds it: through the entry point that the page gives."""
    found = re.search(r'acme = "(\w+):(\w+)"', PAGE.read_text())
    assert found is not None
    module = types.ModuleType(found[1])
    exec(compile(CODE, str(PAGE), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, found[1], module)
    point = EntryPoint("acme", f"{found[1]}:{found[2]}", "modelrunner.engines")
    return lambda settings: load_engines(settings, [point]).get("acme")


def test_it_has_at_most_sixty_lines() -> None:
    """Nobody has to write more to add an engine."""
    assert len(CODE.splitlines()) <= 60


class TestAcme(EngineContract):
    """It keeps the contract."""

    @pytest.fixture(autouse=True)
    def _found(self, acme: "Callable[[EngineSettings], Engine]") -> None:
        self._make = acme

    def make(self) -> Engine:
        return self._make(EngineSettings())
