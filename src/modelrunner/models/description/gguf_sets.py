"""Which GGUF files of a folder make a model together: shards, a projector, and the variant they are.

Decided from names alone; whether a file is what its name says is for those who read it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_VARIANT = re.compile(
    r"(?:^|[-._])(?P<variant>(?:UD-)?(?:(?:I?Q|TQ)\d[0-9A-Z]*(?:_[0-9A-Z]+)*|BF16|FP?16|FP?32|FP8|MXFP4(?:_MOE)?))"
    r"(?=$|[-._])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class GGUFSet:
    """The files of one model, the first shard first; `count` is how many shards there should be."""

    stem: str
    weights: tuple[PurePosixPath, ...]
    count: int = 1
    projector: PurePosixPath | None = None

    @property
    def variant(self) -> str | None:
        """The quantization in the name, as it is written there; None when the name has none."""
        found = list(_VARIANT.finditer(self.stem))
        return found[-1]["variant"] if found else None


def group(names: Iterable[PurePosixPath]) -> tuple[GGUFSet, ...]:
    """Put the GGUF files among some names together, in order of their names.

    A projector belongs to every model of its folder and of those below; of several, one of 16 bits is best.
    """
    files = [name for name in sorted(names) if name.suffix.lower() == ".gguf"]
    projectors = [name for name in files if "mmproj" in name.name.lower()]
    sets: defaultdict[tuple[PurePosixPath, str, int], list[PurePosixPath]] = defaultdict(list)
    for name in files:
        if name in projectors:
            continue
        shard = _SHARD.fullmatch(name.name)
        key = (shard["stem"], int(shard["count"])) if shard else (name.stem, 1)
        sets[name.parent, *key].append(name)
    return tuple(
        GGUFSet(stem, tuple(weights), count, _projector(folder, projectors))
        for (folder, stem, count), weights in sets.items()
    )


def _projector(folder: PurePosixPath, projectors: list[PurePosixPath]) -> PurePosixPath | None:
    near = [name for name in projectors if name.parent == folder or name.parent in folder.parents]
    return min(near, key=_preference, default=None)


def _preference(name: PurePosixPath) -> tuple[int, int, str]:
    """The closest folder first, then F16, which every engine takes, then BF16, then by name."""
    words = re.split(r"[-._]", name.stem.lower())
    rank = 0 if {"f16", "fp16"} & set(words) else 1 if "bf16" in words else 2
    return -len(name.parts), rank, name.name
