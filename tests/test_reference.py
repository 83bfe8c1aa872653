"""The reference pages say what the code does: generated ones are current, written ones name everything."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from modelrunner.server.app import ROUTES
from modelrunner.server.routes.inference import OPENAI

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings.md", "commands.md", "errors.md", "fields.md"])
def test_generated_pages_are_current(page: str) -> None:
    """`make docs` would change nothing."""
    assert _script().pages()[page] == (REFERENCE / page).read_text()


def test_every_route_is_described() -> None:
    """The page of the API names each path, without the engines' prefix that is explained once."""
    page = (REFERENCE / "api.md").read_text()
    patterns = [
        re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.pattern.pattern).replace("\\", "") for route in ROUTES
    ]
    paths = {
        re.sub(r"^/engines(/\{engine\})?(?=/v1|/rerank|/score|/responses)", "", path) for path in patterns
    }
    paths |= {re.sub(r"^/engines(?=/v1|/rerank|/score|/responses)", "", path) for path in OPENAI}

    unknown_action = "/models/{name}"  # with POST; it only explains that there is no such action
    assert [] == [path for path in sorted(paths - {unknown_action}) if f"{path}`" not in page]


def test_links_between_pages_lead_somewhere() -> None:
    """Each relative link of the README and of docs/ names a file that is there."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]

    assert links
    assert [] == [(page.name, target) for page, target in links if not (page.parent / target).exists()]
