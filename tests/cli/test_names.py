"""Names in tables, filters and scripts."""

import pytest

from modelrunner.cli.names import display_name, matches, short_id, sort_key, spellings


@pytest.mark.parametrize(
    ("tag", "registry", "expected"),
    [
        ("ai/gemma3:latest", "", "gemma3"),
        ("docker.io/ai/gemma3:latest", "", "gemma3"),
        ("index.docker.io/ai/gemma3", "", "gemma3"),
        ("ai/gemma3:v1", "", "gemma3:v1"),
        ("docker.io/myorg/gemma3:latest", "", "myorg/gemma3"),
        ("hf.co/a/b:Q4_K_S", "", "hf.co/a/b:Q4_K_S"),
        ("", "", ""),
        ("registry.local:5000/ai/x:latest", "registry.local:5000", "x"),
        ("docker.io/ai/x:latest", "registry.local:5000", "docker.io/ai/x"),
        ("docker.io/ai/x:latest", "docker.io", "x"),
    ],
)
def test_a_name_is_shown_without_its_defaults(tag: str, registry: str, expected: str) -> None:
    """Tables leave out the default registry, `ai/` and `:latest`, and nothing else."""
    assert expected == display_name(tag, registry)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("ai/smollm2:latest", ["ai/smollm2:latest", "ai/smollm2"]),
        ("docker.io/ai/smollm2:latest", ["docker.io/ai/smollm2:latest", "ai/smollm2:latest", "ai/smollm2"]),
        ("ai/smollm2:135M-Q4_0", ["ai/smollm2:135M-Q4_0"]),
        ("localhost:5000/a/b:latest", ["localhost:5000/a/b:latest", "localhost:5000/a/b"]),
    ],
)
def test_scripts_find_a_tag_under_each_of_its_spellings(tag: str, expected: list[str]) -> None:
    """Compose compares names literally, so the bare name is listed besides `:latest`."""
    assert expected == spellings(tag)


@pytest.mark.parametrize(
    ("tag", "wanted", "expected"),
    [
        ("docker.io/ai/smollm2:latest", "smollm2", True),
        ("ai/smollm2:latest", "smollm2", True),
        ("ai/smollm2:135M", "smollm2", True),
        ("ai/smollm2:135M", "smollm2:135M", True),
        ("ai/smollm2:135M", "smollm2:360M", False),
        ("myorg/smollm2:latest", "smollm2", False),
        ("myorg/smollm2:latest", "myorg/smollm2", True),
        ("ai/smollm2-vllm:latest", "smollm2", False),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b", True),
        ("huggingface.co/a/b:q4", "hf.co/a/b", True),
        ("ai/smollm2:latest", "", False),
    ],
)
def test_a_filter_is_normalised_like_the_tags(tag: str, wanted: str, *, expected: bool) -> None:
    """A filter finds a repository's tags, or one tag when it gives one, however either is written."""
    assert expected == matches(tag, wanted)


def test_names_sort_without_case_and_the_plain_one_first() -> None:
    """The plain name comes before its variants, and both before a longer name; `<none>` comes first."""
    names = ["qwen3-coder", "Mango", "qwen3:4B-F16", "apple", "qwen3:14B-Q6_K", "<none>", "qwen3", "Zebra"]

    expected = ["<none>", "apple", "Mango", "qwen3", "qwen3:14B-Q6_K", "qwen3:4B-F16", "qwen3-coder", "Zebra"]
    assert expected == sorted(names, key=sort_key)


def test_an_id_is_shown_by_twelve_digits() -> None:
    """The algorithm is left out."""
    assert short_id("sha256:354bf30d0aa3ffff") == "354bf30d0aa3"
