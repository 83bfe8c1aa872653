"""How one model is to be run: what a request means, and what merging two comes to."""

import pytest

from modelrunner.engines.base import Options
from modelrunner.errors import InvalidRequest, UnknownFlag
from modelrunner.models.description.kinds import Mode
from modelrunner.server.configuration.configuration import (
    Configuration,
    KeepAlive,
    configuration,
    merge,
    mode_of,
    replacement,
)
from modelrunner.wire.configuration import ConfigureOptions, ConfigureRequest


@pytest.mark.parametrize(
    ("request_", "mode"),
    [
        ({"model": "m"}, None),
        ({"model": "m", "mode": None}, None),
        ({"model": "m", "mode": "reranking"}, Mode.RERANKING),
        ({"model": "m", "runtime-flags": ["--embeddings"]}, Mode.EMBEDDING),
        ({"model": "m", "raw-runtime-flags": "-t 4 --embeddings"}, Mode.EMBEDDING),
        ({"model": "m", "mode": "completion", "runtime-flags": ["--embeddings"]}, Mode.COMPLETION),
    ],
)
def test_the_mode_is_named_or_follows_from_the_flags(request_: ConfigureRequest, mode: Mode | None) -> None:
    """A named mode wins; `--embeddings` means embedding; else it is the model's own."""
    assert mode == mode_of(request_)


def test_an_unknown_mode_is_an_error_that_lists_the_modes() -> None:
    """The hint has what could have been meant."""
    with pytest.raises(InvalidRequest, match="invalid mode: `singing`") as caught:
        mode_of({"model": "m", "mode": "singing"})

    assert "`completion`" in (caught.value.hint or "")


def test_a_request_becomes_options_and_goes_back() -> None:
    """What is read is shown again under the names of the request."""
    request: ConfigureOptions = {
        "context-size": 8192,
        "raw-runtime-flags": "--temp 0.7",
        "speculative": {"draft_model": "d"},
        "keep_alive": "10m",
        "llamacpp": {"reasoning-budget": 0},
        "pinned": True,
        "memory-check": False,
    }
    read = configuration(request, "llama.cpp")

    assert Options(context_size=8192, flags=("--temp", "0.7"), reasoning_budget=0) == read.options
    assert {
        "context-size": 8192,
        "runtime-flags": ["--temp", "0.7"],
        "speculative": {"draft_model": "d"},
        "keep_alive": "10m0s",
        "llamacpp": {"reasoning-budget": 0},
        "pinned": True,
        "memory-check": False,
    } == read.as_wire()


def test_the_list_of_flags_wins_over_the_line() -> None:
    """Both at once: the line is not looked at."""
    read = configuration({"runtime-flags": ["-v"], "raw-runtime-flags": "--temp 1"}, "llama.cpp")

    assert ("-v",) == read.options.flags


def test_nothing_configured_shows_nothing() -> None:
    """Unset fields are left out."""
    assert {} == configuration({"context-size": None}, "llama.cpp").as_wire()


def test_flags_are_judged_by_the_engine_that_was_chosen() -> None:
    """A flag of one engine is unknown to the other."""
    request: ConfigureOptions = {"runtime-flags": ["--max-model-len", "4096"]}

    assert configuration(request, "vllm").options.flags
    with pytest.raises(UnknownFlag, match="not allowed"):
        configuration(request, "llama.cpp")


@pytest.mark.parametrize("size", [2**31, -(2**31)])
def test_a_context_size_beyond_32_bits_is_refused(size: int) -> None:
    """It is not cut off silently."""
    with pytest.raises(InvalidRequest, match="context size"):
        configuration({"context-size": size}, "llama.cpp")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"vllm": {"gpu-memory-utilization": 1.5}}, "vllm.gpu-memory-utilization"),
        ({"vllm": {"gpu-memory-utilization": -0.1}}, "vllm.gpu-memory-utilization"),
        ({"llamacpp": {"reasoning-budget": -2}}, "llamacpp.reasoning-budget"),
        ({"speculative": {"num_tokens": -1}}, "speculative.num_tokens"),
        ({"speculative": {"min_acceptance_rate": 1.1}}, "speculative.min_acceptance_rate"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(
    options: ConfigureOptions, field: str
) -> None:
    """The message says which of the fields it was."""
    with pytest.raises(InvalidRequest, match=f"invalid `{field}`"):
        configuration(options, "llama.cpp")


@pytest.mark.parametrize("utilization", [0.0, 0.5, 1.0])
def test_the_bounds_of_a_range_belong_to_it(utilization: float) -> None:
    """All of the memory, and none of it."""
    read = configuration({"vllm": {"gpu-memory-utilization": utilization}}, "vllm")

    assert {"gpu-memory-utilization": utilization} == read.vllm


@pytest.mark.parametrize(
    ("changes", "merged"),
    [
        ({}, {"context-size": 512, "runtime-flags": ["-v"], "vllm": {"hf-overrides": {"a": 1, "b": 2}}}),
        ({"context-size": 1024, "runtime-flags": None, "vllm": None}, {"context-size": 1024}),
        (
            {"keep_alive": "1h", "vllm": None},
            {"context-size": 512, "runtime-flags": ["-v"], "keep_alive": "1h"},
        ),
        (
            {"raw-runtime-flags": "--temp 0", "vllm": None},
            {"context-size": 512, "runtime-flags": ["--temp", "0"]},
        ),
        ({"runtime-flags": [], "vllm": None}, {"context-size": 512}),
        (
            {"runtime-flags": None, "vllm": {"hf-overrides": {"a": None, "c": 3}}},
            {"context-size": 512, "vllm": {"hf-overrides": {"b": 2, "c": 3}}},
        ),
        (
            {"runtime-flags": None, "vllm": None, "llamacpp": {"reasoning-budget": 0}, "pinned": True},
            {"context-size": 512, "llamacpp": {"reasoning-budget": 0}, "pinned": True},
        ),
    ],
)
def test_merging_changes_what_is_named(changes: ConfigureOptions, merged: ConfigureOptions) -> None:
    """Null takes away, objects are merged inside, flags are replaced as one."""
    before: ConfigureOptions = {
        "context-size": 512,
        "runtime-flags": ["-v"],
        "vllm": {"hf-overrides": {"a": 1, "b": 2}},
    }

    assert merged == merge(before, changes)
    assert {"a": 1, "b": 2} == (before["vllm"] or {})["hf-overrides"]


def test_a_replacement_leaves_what_stock_clients_cannot_mention() -> None:
    """Compose configures at every start, and must not take a pin away."""
    before: ConfigureOptions = {"context-size": 512, "pinned": True, "memory-check": False}

    assert {"keep_alive": "1h", "pinned": True, "memory-check": False} == replacement(
        before, {"keep_alive": "1h"}
    )
    assert {"pinned": False, "memory-check": None} == replacement(
        before, {"pinned": False, "memory-check": None}
    )


def test_an_engine_is_started_again_only_for_what_it_is_told() -> None:
    """How long it stays is the daemon's affair."""
    one = Configuration(options=Options(context_size=1), keep_alive=KeepAlive(None), pinned=True)

    assert one.runs_like(Configuration(options=Options(context_size=1), memory_check=False))
    assert not one.runs_like(Configuration(options=Options(context_size=2)))
    assert not one.runs_like(Configuration(options=Options(context_size=1), vllm={"hf-overrides": {"a": 1}}))


def test_an_engine_gets_what_has_a_place_of_its_own_in_a_request() -> None:
    """vLLM's two options are for its command line, although they are kept as they came."""
    overrides = {"rope_scaling": {"factor": 2.0}}
    read = configuration({"vllm": {"hf-overrides": overrides, "gpu-memory-utilization": 0.5}}, "vllm")

    options = read.for_engine()

    assert options.overrides == overrides
    assert options.gpu_memory_utilization == 0.5
    assert (
        configuration({"context-size": 7}, "vllm").for_engine()
        == configuration({"context-size": 7}, "vllm").options
    )
