"""The site: built strictly, from pages that are current, with nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from modelrunner.cli.apps import BUILT_IN

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; what mkdocs warns of is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout + done.stderr)
    return folder


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    """Also those that were added without a word to anybody."""
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    home = (site / "index.html").read_text()

    for page in pages:
        place = page.parent if page.stem == "index" else page.with_suffix("")
        assert (site / place / "index.html").is_file()
        assert page.name == "index.md" or f'href="{place.as_posix()}/"' in home


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """No font, script, style or picture that needs a network."""
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?((?:https?:)?//[^\" >]+)")
    found = {
        (path.relative_to(site).as_posix(), address)
        for path in site.rglob("*.html")
        for address in loads.findall(path.read_text())
    }
    styles = [path for path in site.rglob("*.css") if "fonts.googleapis" in path.read_text()]

    assert (set(), []) == (found, styles)


def test_pages_about_apps_are_current() -> None:
    """`make docs` would change nothing; there is one for each app that comes along."""
    pages = _script("tools").pages()

    assert {f"{app.name}.md" for app in BUILT_IN} == set(pages)
    assert [] == [
        name for name, text in pages.items() if text != (ROOT / "docs" / "tools" / name).read_text()
    ]


def test_the_list_of_tools_names_every_page() -> None:
    """Nobody has to guess which there are."""
    index = (ROOT / "docs" / "tools" / "index.md").read_text()
    pages = sorted(path.name for path in (ROOT / "docs" / "tools").glob("*.md"))

    assert [] == [page for page in pages if page != "index.md" and f"({page})" not in index]
