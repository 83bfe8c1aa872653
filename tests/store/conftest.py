"""An empty store for each test."""

from pathlib import Path

import pytest

from modelrunner.models.description.names import as_id, parse_name
from modelrunner.store.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root, parse=parse_name, as_id=as_id)
