"""What removing a model means, decided from the index alone; nothing here touches a disk."""

from dataclasses import dataclass
from typing import Literal

from modelrunner.errors import Conflict, ModelNotFound
from modelrunner.oci.digest import Digest
from modelrunner.store.index import Index
from modelrunner.store.lookup import Match

Step = tuple[Literal["untagged", "deleted"], str]


@dataclass(frozen=True, slots=True)
class Removal:
    """The index afterwards, what was done in words, and the files that nobody needs any more.

    `model` is None when the model stays, under its other names.
    """

    index: Index
    steps: list[Step]
    model: Digest | None = None
    orphans: tuple[str, ...] = ()


def plan_removal(index: Index, match: Match, text: str, *, force: bool) -> Removal:
    """Decide what goes.

    | named by | names  | force | result                                |
    |----------|--------|-------|---------------------------------------|
    | name     | 1      | any   | untagged, deleted                     |
    | name     | 2 or more | any | that name untagged, the model stays  |
    | id       | 0 or 1 | any   | untagged if it had a name, deleted    |
    | id       | 2 or more | no | refused                               |
    | id       | 2 or more | yes | all untagged, deleted                |

    Raises:
        Conflict: the model has several names and was named by its id, without force.
        ModelNotFound: the model is not listed.
    """
    entry = index.entry(match.model)
    if entry is None:
        raise ModelNotFound(f"model not found: `{text}`")
    names = dict.fromkeys(str(index.canonical(tag) or tag) for tag in entry.tags)
    if match.tag is not None and len(names) > 1:
        return Removal(index.untag(match.tag), [("untagged", str(match.tag))])
    if len(names) > 1 and not force:
        raise Conflict(
            f"unable to delete `{text}` (must be forced) due to multiple tag references: {', '.join(names)}",
            hint="remove the names one by one, or use force",
        )
    after = index.remove(match.model)
    needed = after.files()
    steps: list[Step] = [("untagged", name) for name in names]
    return Removal(
        after,
        [*steps, ("deleted", str(match.model))],
        match.model,
        tuple(file for file in dict.fromkeys(entry.files) if file not in needed),
    )
