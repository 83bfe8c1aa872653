"""A folder of blobs for made-up artifacts."""

from pathlib import Path

import pytest

from modelrunner.testing.artifacts import Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """Artifacts whose blobs are in a folder of their own."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    return Artifacts(folder)
