"""Models on their way: pulled, pushed, exported, imported, and how far they are."""

from typing import Literal, NotRequired, TypedDict

PullRequest = TypedDict("PullRequest", {"from": str, "bearer-token": NotRequired[str]})


PushRequest = TypedDict("PushRequest", {"bearer-token": NotRequired[str]})


# Several models in one archive. `except` are digests of blobs that stay out, as the other side has them; with
# `oci` the archive is an OCI image layout and has nothing else in it.
ExportRequest = TypedDict(
    "ExportRequest", {"models": list[str], "except": NotRequired[list[str]], "oci": NotRequired[bool]}
)


# Models of other programs; `from` is a program's name or a path, and all programs without it.
ImportRequest = TypedDict(
    "ImportRequest",
    {
        "from": NotRequired[str],
        "names": NotRequired[list[str]],
        "link": NotRequired[bool],
        "dry_run": NotRequired[bool],
    },
)


class TakeRequest(TypedDict):
    """A file to become a blob: where it is, and which file the caller has there; `link` shares it.

    `size` is in bytes, `modified` in nanoseconds since 1970.
    """

    path: str
    device: int
    inode: int
    size: int
    modified: int
    link: NotRequired[bool]


class LayerProgress(TypedDict):
    """A layer in a progress line; `size` and `current` are in bytes."""

    id: NotRequired[str]
    size: int
    current: int


class ProgressLine(TypedDict):
    """One line of a pull, push or load. `total` is in bytes."""

    type: Literal["progress", "success", "warning", "error"]
    message: str
    total: int
    layer: LayerProgress
    mode: Literal["pull", "push"]
    code: NotRequired[str]
    hint: NotRequired[str]


class TransferRequest(TypedDict):
    """`POST /transfers`: what is to go on when whoever asks for it leaves."""

    kind: Literal["pull", "push"]
    model: str


class TransferView(TypedDict):
    """One pull or push of `GET /transfers`; `done` and `total` are in bytes, `total` 0 until it is known.

    `message` is the last thing it said: a remark, or why it failed, with a `hint` then. What is interrupted
    was under way when the daemon ended.
    """

    id: str
    kind: Literal["pull", "push"]
    model: str
    state: Literal["running", "done", "failed", "cancelled", "interrupted"]
    done: int
    total: int
    message: str
    hint: NotRequired[str]
    began: str
    ended: NotRequired[str]
