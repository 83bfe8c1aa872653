"""How a model is to be run."""

from typing import Any, NotRequired, TypedDict

from modelrunner.wire.insight import RefusalView


class Speculative(TypedDict, total=False):
    """Speculative decoding with a draft model."""

    draft_model: str
    num_tokens: int
    min_acceptance_rate: float


LlamaCppOptions = TypedDict("LlamaCppOptions", {"reasoning-budget": NotRequired[int]})


VllmOptions = TypedDict(
    "VllmOptions",
    {"hf-overrides": NotRequired[dict[str, Any]], "gpu-memory-utilization": NotRequired[float]},
)


ConfigureOptions = TypedDict(
    "ConfigureOptions",
    {
        "context-size": NotRequired[int | None],
        "runtime-flags": NotRequired[list[str] | None],
        "raw-runtime-flags": NotRequired[str],
        "speculative": NotRequired[Speculative | None],
        "keep_alive": NotRequired[str | None],
        "vllm": NotRequired[VllmOptions | None],
        "llamacpp": NotRequired[LlamaCppOptions | None],
        # Ours alone: always in memory; whether a load that seems too large for the memory is refused; and
        # whether requests are recorded.
        "pinned": NotRequired[bool | None],
        "memory-check": NotRequired[bool | None],
        "record": NotRequired[bool | None],
    },
)


class ConfigureRequest(ConfigureOptions):
    """`POST /engines/_configure`: how a model is to be run from now on; `PATCH` changes what it names."""

    model: str
    mode: NotRequired[str | None]


class ConfiguredReply(TypedDict):
    """`POST` and `PATCH /engines/_configure` when it holds, but a request would be refused; else nothing."""

    refusal: RefusalView


class ResetReply(TypedDict):
    """`DELETE /engines/_configure`: how many configurations were forgotten."""

    forgotten: int


# A value in force, and whether it was configured, came with the model, or is the default.
InForce = TypedDict("InForce", {"value": object, "from": str})


class ConfigurationView(TypedDict):
    """One row of `GET /engines/_configure`; stock clients read the capitalised keys.

    `Effective` is there when it was asked for: what is in force, under the names of the options.
    """

    Backend: str
    Model: str
    ModelID: str
    Mode: str
    Config: ConfigureOptions
    Effective: NotRequired[dict[str, InForce]]
