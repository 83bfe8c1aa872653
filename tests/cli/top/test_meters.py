"""What is read of the daemon's metrics."""

from modelrunner.cli.top.meters import Meters, read

TEXT = """
# HELP modelrunner_requests_total Requests.
# TYPE modelrunner_requests_total counter
modelrunner_requests_total{model="a",api="openai",outcome="ok",status="200"} 3
modelrunner_requests_total{model="a",api="openai",outcome="failed",status="500"} 1 1700000000000
modelrunner_tokens_total{model="a",kind="prompt"} 100
modelrunner_tokens_total{model="a",kind="completion"} 40
modelrunner_tokens_total{model="c",kind="completion"} 7
modelrunner_memory_capacity_bytes{device="ram"} 1e9
modelrunner_memory_capacity_bytes{device="gpu:0"} 2e9
modelrunner_places 2
llamacpp:n_decode_total{backend="llama.cpp",model="a",mode="completion"} 50
llamacpp:n_busy_slots_per_decode{backend="llama.cpp",model="a",mode="completion"} 1.5
llamacpp:tokens_predicted_total{backend="llama.cpp",model="a",mode="completion"} 40
vllm:generation_tokens_total{backend="vllm",model="b \\"quoted\\"",mode="completion"} 9
vllm:generation_tokens_total{backend="vllm",model="b \\"quoted\\"",mode="completion",engine="1"} 2
modelrunner_places NaN
nonsense{ 3
modelrunner_requests_total{model="x"} many
"""


def test_counters_are_read() -> None:
    """Of each model from what is most live of it, so nothing is counted twice."""
    meters = read(TEXT)

    assert sum(meters.requests.values()) == 4
    assert meters.tokens == {"a": 75, 'b \\"quoted\\"': 11, "c": 7}
    assert (meters.capacity, meters.places) == (3_000_000_000, 2)


def test_nothing_is_read_of_nothing() -> None:
    """Which is no error: another version may tell less."""
    assert read("") == Meters({}, {}, 0, 0)
