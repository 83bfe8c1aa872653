"""Models that are here, or are looked at elsewhere: listed, named, checked, removed."""

from typing import Literal, NotRequired, TypedDict


class ConfigView(TypedDict, total=False):
    """What a model says of itself; keys are left out when unknown."""

    format: str
    quantization: str
    parameters: str
    architecture: str
    size: str
    gguf: dict[str, str]
    safetensors: dict[str, str]
    diffusers: dict[str, str]
    ctranslate2: dict[str, str]
    onnx: dict[str, str]
    context_size: int


class ModelView(TypedDict):
    """One model of `GET /models`. `created` is in Unix seconds, 0 when unknown."""

    id: str
    tags: NotRequired[list[str]]
    created: int
    config: ConfigView | None
    details: NotRequired["Details"]


class Details(TypedDict):
    """What the headers of a model that is elsewhere say. Sizes are in bytes, contexts in tokens.

    `fits_context` is the largest usual context that this machine has memory for; absent when there is none,
    or when nothing says what a context takes.
    """

    size: int
    layers: int
    tensors: int
    chat_template: NotRequired[str]
    fits: bool
    fits_context: NotRequired[int]
    memory_needed: int
    memory_available: int


class ModelFacts(TypedDict, total=False):
    """What the OpenAI list says of a model beyond OpenAI's own fields."""

    context_window: int
    architecture: str
    parameters: str
    quantization: str
    size: str


class OpenAIModel(TypedDict):
    """One model of `GET /v1/models`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    dmr: NotRequired[ModelFacts]


class OpenAIModelList(TypedDict):
    """`GET /v1/models`."""

    object: Literal["list"]
    data: list[OpenAIModel]


class TagReply(TypedDict):
    """The answer of `POST /models/{name}/tag`."""

    message: str
    target: str


class Removal(TypedDict, total=False):
    """One step of a removal."""

    Untagged: str
    Deleted: str


class RepackageRequest(TypedDict):
    """A variant of a stored model; `context_size` is in tokens."""

    target: str
    context_size: NotRequired[int]


class VerifyRequest(TypedDict):
    """Which models to check; all without `models`. `repair` pulls again what is damaged."""

    models: NotRequired[list[str]]
    repair: NotRequired[bool]


class PruneRequest(TypedDict):
    """What to delete: `all` that nothing names, however new; `damaged` files too; nothing with `dry_run`."""

    all: NotRequired[bool]
    damaged: NotRequired[bool]
    dry_run: NotRequired[bool]


class PrunedFile(TypedDict):
    """A file that belonged to no model; `size` is in bytes."""

    path: str
    kind: str
    size: int


class PruneReply(TypedDict):
    """What was deleted, or would be; `freed` is in bytes."""

    files: list[PrunedFile]
    freed: int
