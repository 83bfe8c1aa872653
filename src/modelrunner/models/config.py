"""ModelConfig: what an artifact says of its model, from Docker's two layouts and from CNCF ModelPack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from modelrunner.models.kinds import Format

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's own description. Texts are for display and empty when unknown.

    `context_size` is in tokens. `metadata` holds the header of the weights, stringified; which header it is
    follows from `format`.
    """

    format: Format | None = None
    architecture: str = ""
    parameters: str = ""
    quantization: str = ""
    size: str = ""
    context_size: int | None = None
    created: datetime | None = None
    metadata: Mapping[str, str] = field(default=_NOTHING)
