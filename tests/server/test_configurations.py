"""Configurations of single models: what a request means, and which one applies."""

import pytest

from modelrunner.engines.base import Options
from modelrunner.errors import InvalidRequest, UnknownFlag
from modelrunner.models.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.plan import Key
from modelrunner.server.configurations import (
    Configuration,
    Configurations,
    KeepAlive,
    configuration,
    mode_of,
)
from modelrunner.wire import ConfigureRequest

MODEL, OTHER = Digest.of(b"model"), Digest.of(b"other")


def key(mode: Mode, model: Digest = MODEL) -> Key:
    return Key("llama.cpp", model, mode)


@pytest.mark.parametrize(
    ("request_", "mode"),
    [
        ({"model": "m"}, Mode.COMPLETION),
        ({"model": "m", "mode": None}, Mode.COMPLETION),
        ({"model": "m", "mode": "reranking"}, Mode.RERANKING),
        ({"model": "m", "runtime-flags": ["--embeddings"]}, Mode.EMBEDDING),
        ({"model": "m", "raw-runtime-flags": "-t 4 --embeddings"}, Mode.EMBEDDING),
        ({"model": "m", "mode": "completion", "runtime-flags": ["--embeddings"]}, Mode.COMPLETION),
    ],
)
def test_the_mode_is_named_or_follows_from_the_flags(request_: ConfigureRequest, mode: Mode) -> None:
    """A named mode wins; `--embeddings` means embedding; else it is completion."""
    assert mode == mode_of(request_)


def test_an_unknown_mode_is_an_error_that_lists_the_modes() -> None:
    """The hint has what could have been meant."""
    with pytest.raises(InvalidRequest, match="invalid mode: `singing`") as caught:
        mode_of({"model": "m", "mode": "singing"})

    assert "`completion`" in (caught.value.hint or "")


def test_a_request_becomes_options_and_goes_back() -> None:
    """What is read is shown again under the names of the request."""
    request: ConfigureRequest = {
        "model": "m",
        "context-size": 8192,
        "raw-runtime-flags": "--temp 0.7",
        "speculative": {"draft_model": "d"},
        "keep_alive": "10m",
        "llamacpp": {"reasoning-budget": 0},
    }
    read = configuration(request, "llama.cpp")

    assert Options(context_size=8192, flags=("--temp", "0.7"), reasoning_budget=0) == read.options
    assert {
        "context-size": 8192,
        "runtime-flags": ["--temp", "0.7"],
        "speculative": {"draft_model": "d"},
        "keep_alive": "10m0s",
        "llamacpp": {"reasoning-budget": 0},
    } == read.as_wire()


def test_the_list_of_flags_wins_over_the_line() -> None:
    """Both at once: the line is not looked at."""
    read = configuration(
        {"model": "m", "runtime-flags": ["-v"], "raw-runtime-flags": "--temp 1"}, "llama.cpp"
    )

    assert ("-v",) == read.options.flags


def test_nothing_configured_shows_nothing() -> None:
    """Unset fields are left out."""
    assert {} == configuration({"model": "m", "context-size": None}, "llama.cpp").as_wire()


def test_flags_are_judged_by_the_engine_that_was_chosen() -> None:
    """A flag of one engine is unknown to the other."""
    request: ConfigureRequest = {"model": "m", "runtime-flags": ["--max-model-len", "4096"]}

    assert configuration(request, "vllm").options.flags
    with pytest.raises(UnknownFlag, match="not allowed"):
        configuration(request, "llama.cpp")


@pytest.mark.parametrize("size", [2**31, -(2**31)])
def test_a_context_size_beyond_32_bits_is_refused(size: int) -> None:
    """It is not cut off silently."""
    with pytest.raises(InvalidRequest, match="context size"):
        configuration({"model": "m", "context-size": size}, "llama.cpp")


def test_reranking_borrows_from_completion_and_embedding_does_not() -> None:
    """Until it is configured itself."""
    configurations = Configurations(keep_alive=300.0)
    talking = Configuration(options=Options(context_size=10), keep_alive=KeepAlive(None))
    configurations.put(key(Mode.COMPLETION), talking)

    assert talking == configurations.effective(key(Mode.RERANKING))
    assert Configuration() == configurations.effective(key(Mode.EMBEDDING))
    assert configurations.keep_alive(key(Mode.RERANKING)) is None
    assert 300.0 == configurations.keep_alive(key(Mode.EMBEDDING))

    own = Configuration(keep_alive=KeepAlive(0.0))
    configurations.put(key(Mode.RERANKING), own)
    assert own == configurations.effective(key(Mode.RERANKING))
    assert 0.0 == configurations.keep_alive(key(Mode.RERANKING))


def test_forgetting_is_by_engine_and_model() -> None:
    """No engine named means any; no models means all."""
    configurations = Configurations(keep_alive=300.0)

    def fill() -> None:
        for model in (MODEL, OTHER):
            configurations.put(key(Mode.COMPLETION, model), Configuration())

    fill()
    configurations.forget(engine="vllm", models=[MODEL])
    assert 2 == len(configurations.items())
    configurations.forget(models=[MODEL])
    assert [key(Mode.COMPLETION, OTHER)] == [kept for kept, _ in configurations.items()]
    fill()
    configurations.forget()
    assert () == configurations.items()
