"""The order of the site's pages: sections by what a reader wants, pages as listed, and others by their name.

mkdocs calls this as a hook. A new page needs no entry here.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

SECTIONS = {
    "Get started": "start",
    "How-to guides": "guides",
    "Tools": "tools",
    "Reference": "reference",
    "Explanation": "concepts",
}
FIRST = (
    "first-model",
    *("command-line", "finding-models", "registries", "packaging", "configuration", "clients", "apps", "web"),
    *("commands", "settings", "errors", "api"),
    "index",
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation."""
    docs = Path(config.docs_dir)
    config.nav = [
        "index.md",
        *(
            {title: [f"{folder}/{page.name}" for page in _ordered(docs / folder)]}
            for title, folder in SECTIONS.items()
        ),
    ]
    return config


def _ordered(folder: Path) -> list[Path]:
    def rank(page: Path) -> tuple[bool, int, str]:
        if page.stem == "index":
            return False, -1, ""
        return page.stem not in FIRST, FIRST.index(page.stem) if page.stem in FIRST else 0, page.stem

    return sorted(folder.glob("*.md"), key=rank)
