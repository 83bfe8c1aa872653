"""A bundle: the files of a model, laid out in a directory that an engine can be pointed at."""

from dataclasses import dataclass
from pathlib import Path

from modelrunner.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model ready for an engine. `weights` has the first shard first; paths are absolute."""

    root: Path
    config: ModelConfig
    weights: tuple[Path, ...]
    projector: Path | None = None
    template: Path | None = None
