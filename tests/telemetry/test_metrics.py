"""What is counted is written as Prometheus reads it, checked by its own parser."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelrunner.telemetry.exposition import joined
from modelrunner.telemetry.metrics import Family, Histogram


def parsed(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    return {
        family.name: {
            (("", sample.name), *sorted(sample.labels.items())): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


@given(st.dictionaries(st.text(), st.floats(min_value=0, allow_infinity=False)))
def test_any_label_comes_back_as_it_was(values: dict[str, float]) -> None:
    family = Family("made_total", "counter", 'with \\ and "quotes"\nand lines', ("model",))
    for label, value in values.items():
        family.add(value, label)

    found = parsed("".join(family.lines())).get("made", {})

    assert values == {dict(labels)["model"]: value for labels, value in found.items()}


def test_a_family_without_labels_begins_with_nothing() -> None:
    assert {"x": {(("", "x_total"),): 0.0}} == parsed("".join(Family("x_total", "counter", "x").lines()))


def test_a_histogram_counts_at_most_and_in_all() -> None:
    histogram = Histogram("took_seconds", "how long", (0.1, 1), ("model",))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value, "m")

    found = parsed("".join(histogram.lines()))["took_seconds"]

    buckets = {dict(labels).get("le"): value for labels, value in found.items()}
    assert (2, 3, 4) == (buckets["0.1"], buckets["1"], buckets["+Inf"])
    sums = {dict(labels)[""]: value for labels, value in found.items()}
    assert math.isclose(7.65, sums["took_seconds_sum"])
    assert 4 == sums["took_seconds_count"]


def test_names_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    family = Family("x_total", "counter", "x", ("model",))
    for number in range(5000):
        family.add(1, str(number))

    assert len(family.values) <= 2001
    assert 5000 == sum(family.values.values())
    assert family.values["other",] == 3000


def test_engines_are_joined_under_one_head_with_labels() -> None:
    head = "# HELP llamacpp:tokens_total Tokens.\n# TYPE llamacpp:tokens_total counter\n"
    text = head + "llamacpp:tokens_total {}\n"
    one = text.format(3) + "# TYPE h histogram\n" + 'h_bucket{le="+Inf"} 1\nh_sum 2.5\nh_count 1\n'
    two = text.format(4) + 'vllm:x{model="theirs",a="b,c}"} 1e3\n'

    result = joined([(one, {"model": 'a"b'}), (two, {"model": "c"})])

    assert 1 == result.count("# TYPE llamacpp:tokens_total")
    found = parsed(result)
    assert [3, 4] == list(found["llamacpp:tokens"].values())
    assert {'a"b', "c"} == {dict(labels)["model"] for labels in found["llamacpp:tokens"]}
    assert ["h_bucket", "h_count", "h_sum"] == sorted(dict(labels)[""] for labels in found["h"])
    assert [(("", "vllm:x"), ("a", "b,c}"), ("model", "c"))] == list(found["vllm:x"])


@given(st.text(), st.binary())
def test_an_engine_that_says_nonsense_spoils_nothing(text: str, raw: bytes) -> None:
    nonsense = f"{text}\nx {text}\nx{{a={text}}} 1\n# TYPE y {text}\n{raw.decode('latin-1')}"

    result = joined([(nonsense, {"model": "m"}), ("fine 1\n", {"model": "n"})])

    assert 1.0 in parsed(result)["fine"].values()


@pytest.mark.parametrize("name", ["modelrunner_requests_total", "process_cpu_seconds_total"])
def test_an_engine_does_not_speak_for_the_daemon(name: str) -> None:
    text = f"# HELP {name} Its own.\n# TYPE {name} counter\n{name} 5\n"

    assert "" == joined([(text, {"model": "m"})])
