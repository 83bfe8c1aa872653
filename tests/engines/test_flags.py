"""Runtime flags: the allow-lists, injection, paths, splitting, and the keys of hf-overrides."""

import pytest

from modelrunner.engines.flag_tables import ALLOWED, REFUSED
from modelrunner.engines.flags import (
    check_flags,
    check_overrides,
    flag_key,
    read_flags,
    split_flags,
)
from modelrunner.errors import InvalidRequest, UnknownFlag

LLAMACPP, VLLM = "llama.cpp", "vllm"
MANY = (
    "--n-gpu-layers 99 --jinja --top-p 0.8 --top-k 20 --temp 0.7 --min-p 0.0 --presence-penalty 1.5 --no-mmap"
    " --flash-attn --cache-type-k q8_0 --cache-type-v q8_0"
)
NEVER = """
    --log-file --output-file --model-path --config-file --lora-path --lora --lora-scaled --control-vector
    --control-vector-scaled --grammar-file --prompt-file --slot-save-path -mm --mmproj -mmu --mmproj-url -jf
    --json-schema-file --chat-template-file --path --webui-config-file --api-key-file --ssl-key-file
    --ssl-cert-file --models-dir --models-preset -md --model-draft -m --model --host --port -hf --tools
    --override-tensor --override-kv --rpc --mcp-servers-config
"""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--threads 4",
        "-v -t 4",
        "--threads=4 --ctx-size=2048",
        "-ngl 99 --main-gpu 0",
        MANY,
        "--threads=-1",
        "--temp=-0.5",
        "--seed=0",
        "--reasoning-budget -1",
        "--seed -1 --temp -0.5 --top-k 4",
        "--control-vector-layer-range 1 2",
    ],
)
def test_llamacpp_takes_flags_that_tune(line: str) -> None:
    """They come back as they were."""
    flags = tuple(line.split())

    assert check_flags(LLAMACPP, flags) == flags


@pytest.mark.parametrize(
    "line", ["--tensor-parallel-size 2 --max-model-len 4096", "-tp 2 -q awq", "--seed -1"]
)
def test_vllm_takes_flags_of_its_own(line: str) -> None:
    """Each engine has its list."""
    assert check_flags(VLLM, line.split()) == tuple(line.split())


@pytest.mark.parametrize("flag", NEVER.split())
def test_flags_that_open_paths_and_ports_are_on_no_list(flag: str) -> None:
    """Whatever takes a path, an address or a program is refused, alone and with a value."""
    for flags in ([flag], [f"{flag}=x"], [flag, "x"], ["--threads", "4", flag]):
        with pytest.raises(UnknownFlag, match="not allowed"):
            check_flags(LLAMACPP, flags)

    assert flag not in ALLOWED[VLLM]


@pytest.mark.parametrize("flag", ["--api-key", "--api-prefix", "--no-metrics", "--no-slots"])
def test_flags_that_cut_the_engine_off_are_refused(flag: str) -> None:
    """The daemon could no longer talk to its engine; the hint says so."""
    with pytest.raises(UnknownFlag) as caught:
        check_flags(LLAMACPP, [flag, "x"])

    assert caught.value.hint is not None
    assert "cut" in caught.value.hint


def test_the_error_names_flag_and_backend() -> None:
    """A user reads which flag, and for which engine."""
    with pytest.raises(UnknownFlag) as caught:
        check_flags(VLLM, ["--output-file", "x"])

    assert caught.value.message == "runtime flag `--output-file` is not allowed for backend `vllm`"


@pytest.mark.parametrize("engine", ["mlx", "sglang", "diffusers", "unknown"])
def test_an_engine_without_a_list_takes_no_flag(engine: str) -> None:
    """Every flag is refused, and no flags at all are fine."""
    assert check_flags(engine, []) == ()
    with pytest.raises(UnknownFlag, match=f"not allowed for backend `{engine}`"):
        check_flags(engine, ["--threads", "4"])


@pytest.mark.parametrize("flags", [["-1"], ["--threads", "4", "-1"], ["--seed=1", "-1"], ["--seed", "-l"]])
def test_a_negative_number_is_a_value_only_right_after_a_flag(flags: list[str]) -> None:
    """Elsewhere it is a flag that nobody knows."""
    with pytest.raises(UnknownFlag, match="not allowed"):
        check_flags(LLAMACPP, flags)


@pytest.mark.parametrize("token", ["--seed=--log-file=x", "--seed=-l", "--seed=-", "--temp=-.5"])
def test_a_joined_value_cannot_be_a_flag(token: str) -> None:
    """After `=`, a dash must be the sign of a number."""
    with pytest.raises(
        InvalidRequest, match="value cannot start with '-' unless followed by a digit"
    ) as caught:
        check_flags(LLAMACPP, [token])

    assert f"`{token}`" in caught.value.message


@pytest.mark.parametrize(
    "token", ["/etc/passwd", "--threads=/var/x", "../f", "./f", "C:\\f", "\\\\srv\\x", "http://x"]
)
def test_paths_are_refused(token: str) -> None:
    """A slash of either kind has no business in a flag."""
    with pytest.raises(InvalidRequest, match="paths are not allowed") as caught:
        check_flags(LLAMACPP, ["--threads", "4", token])

    assert f"`{token}`" in caught.value.message


def test_an_unknown_flag_is_named_before_a_path() -> None:
    """All tokens pass one rule before the next, whatever their order."""
    with pytest.raises(UnknownFlag, match="--bad"):
        check_flags(LLAMACPP, ["--threads=/x", "--bad"])


@pytest.mark.parametrize(
    ("token", "key"), [("--threads=4", "--threads"), ("-t", "-t"), ("4", ""), ("", ""), ("--a=b=c", "--a")]
)
def test_the_key_of_a_flag_is_what_stands_before_the_first_equals_sign(token: str, key: str) -> None:
    """Values and the empty text have none."""
    assert flag_key(token) == key


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        ("", ()),
        ("--temp 0.7  --top-k 20", ("--temp", "0.7", "--top-k", "20")),
        ("--grammar 'root ::= \"a b\"'", ("--grammar", 'root ::= "a b"')),
        ('--samplers "top_k;temperature"', ("--samplers", "top_k;temperature")),
        ("--chat-template-kwargs '{\"a\": 1}' # x", ("--chat-template-kwargs", '{"a": 1}', "#", "x")),
    ],
)
def test_a_line_is_split_by_shell_quoting(raw: str, tokens: tuple[str, ...]) -> None:
    """Quotes hold together, and nothing else of a shell happens."""
    assert split_flags(raw) == tokens


@pytest.mark.parametrize(
    "raw", ["--grammar 'a", '--temp "1', "--temp 1; rm x", "--temp 1 && y", "a | b", "a > b"]
)
def test_a_line_that_is_no_list_of_words_is_refused(raw: str) -> None:
    """An open quote or an operator is told, instead of silently ending the line."""
    with pytest.raises(InvalidRequest, match="cannot be split"):
        split_flags(raw)


@pytest.mark.parametrize("key", ["_", "a1", "camelCase", "snake_case"])
def test_identifiers_are_keys_of_overrides(key: str) -> None:
    """At the top and below, with scalars and null as values."""
    check_overrides({key: {key: [1, "x/../y", None, True, {key: 0.5}]}})


@pytest.mark.parametrize(
    "key",
    [
        *("a-b", "1a", "a b", "'", '"', ";", "`", "$x", "a|b", "a&b", "a\nb", "a\r", "a\n"),
        *("[a]", "a.b", "a:b", "a/b", "ä", ""),
    ],
)
def test_other_keys_are_refused(key: str) -> None:
    """At every depth; the message says where."""
    plain = "must contain only alphanumeric characters and underscores, and start with a letter or underscore"
    with pytest.raises(InvalidRequest) as top:
        check_overrides({key: 1})
    with pytest.raises(InvalidRequest) as deep:
        check_overrides({"a": {"b": [0, {key: 1}]}})

    assert top.value.message == f"invalid hf_overrides key `{key}`: {plain}"
    assert deep.value.message == f"invalid hf_overrides nested key `{key}` in `a.b[1]`: {plain}"


def test_overrides_have_a_bounded_depth() -> None:
    """Deeper ones are refused, not followed."""
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(InvalidRequest, match="levels"):
        check_overrides({"a": value})


@pytest.mark.parametrize("flags", [[""], ["--jinja", " "]])
def test_an_empty_flag_is_refused(flags: list[str]) -> None:
    """An engine would take it for an argument, and end."""
    with pytest.raises(InvalidRequest, match="empty"):
        check_flags(LLAMACPP, flags)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-c 4096 --parallel=2", {"--ctx-size": 4096, "--parallel": 2}),
        ("--ctx_size 1 -c 2", {"--ctx-size": 2}),
        ("--temp -0.5 --seed=-1", {"--temp": -0.5, "--seed": -1}),
        ("--no-mmap -nocb", {"--mmap": False, "--cont-batching": False}),
        ("-fa -ngl all", {"--flash-attn": "on", "--gpu-layers": "all"}),
        ("--flash-attn off --fit on", {"--flash-attn": "off", "--fit": True}),
        ("-ctk q8_0 -ts 3,1", {"--cache-type-k": "q8_0", "--tensor-split": (3.0, 1.0)}),
        ("--spec-type ngram-mod,draft-simple", {"--spec-type": ("ngram-mod", "draft-simple")}),
        ("--control-vector-layer-range 1 2", {"--control-vector-layer-range": (1, 2)}),
        ("-C 0xff -Cr 2-", {"--cpu-mask": "0xff", "--cpu-range": "2-"}),
        ('-j \'{"type":"object"}\'', {"--json-schema": '{"type":"object"}'}),
        ("--embedding --rerank", {"--embeddings": True, "--reranking": True}),
    ],
)
def test_flags_are_read_into_typed_values(line: str, expected: dict[str, object]) -> None:
    """By one name for all spellings; the last of several wins."""
    assert read_flags(LLAMACPP, split_flags(line)) == expected


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("--threads four", "a whole number from -1 to 512"),
        ("--threads 1.5", "a whole number"),
        ("--threads ²", "a whole number"),
        ("--threads 1_0", "a whole number"),
        ("--ctx-size -2", "a whole number from -1"),
        ("--parallel 0", "`-1`, or a whole number from 1 to 256"),
        ("-np 0", "a whole number from 1 to 256"),
        ("--temp nan", "a number"),
        ("--top-p 1.5", "a number from 0 to 1"),
        ("--cache-type-k q9", "one of `f32`"),
        ("--fit maybe", "`on` or `off`"),
        ("--cpu-mask xyz", "a hexadecimal number"),
        ("--cpu-range 7", "a range like `0-7`"),
        ("-ts 1,x", "a list of values, each a number"),
        ("--json-schema [1]", "a JSON object"),
        ("--json-schema {", "a JSON object"),
        ("--control-vector-layer-range 1 x", "a whole number"),
    ],
)
def test_a_value_that_a_flag_cannot_have_is_refused(line: str, hint: str) -> None:
    """When it is configured, not when the engine starts; the hint says what was expected."""
    with pytest.raises(InvalidRequest) as caught:
        check_flags(LLAMACPP, split_flags(line))

    assert "runtime flag `" in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("line", ["--threads", "--threads --jinja", "--control-vector-layer-range 1"])
def test_a_flag_without_its_value_is_refused(line: str) -> None:
    """It would take the next flag for it."""
    with pytest.raises(InvalidRequest, match="needs a value"):
        check_flags(LLAMACPP, line.split())


@pytest.mark.parametrize("line", ["4", "--jinja on", "--threads 4 5"])
def test_a_value_without_a_flag_is_refused(line: str) -> None:
    """An engine would end with an error that names neither."""
    with pytest.raises(InvalidRequest, match="is no runtime flag"):
        check_flags(LLAMACPP, line.split())


def test_a_switch_takes_no_value() -> None:
    """The hint says how it is written."""
    with pytest.raises(InvalidRequest, match="takes no value: `true`") as caught:
        check_flags(LLAMACPP, ["--jinja=true"])

    assert caught.value.hint == "write `--jinja`"


@pytest.mark.parametrize(
    ("flag", "near"),
    [("--ctx-siz", "--ctx-size"), ("--cach_type-k", "--cache-type-k"), ("--thread=4", "--threads")],
)
def test_an_unknown_flag_names_the_nearest(flag: str, near: str) -> None:
    """Most are misspelled."""
    with pytest.raises(UnknownFlag) as caught:
        check_flags(LLAMACPP, [flag])

    assert caught.value.hint == f"did you mean `{near}`?"


@pytest.mark.parametrize(
    ("engine", "flag", "reason"),
    [
        (LLAMACPP, "--model", "which model runs"),
        (LLAMACPP, "--slot_save_path", "names a file or a folder"),
        (LLAMACPP, "--lora", "package them"),
        (LLAMACPP, "--model-draft", "speculative.draft_model"),
        (LLAMACPP, "--no-slots", "cut the engine off"),
        (LLAMACPP, "--rpc", "talk to others"),
        (VLLM, "--trust-remote-code", "run code"),
        (VLLM, "--host", "where the engine listens"),
    ],
)
def test_a_flag_that_is_never_passed_on_is_refused_by_name(engine: str, flag: str, reason: str) -> None:
    """With the reason, and the way to the same end where there is one."""
    with pytest.raises(UnknownFlag) as caught:
        check_flags(engine, [flag, "x"])

    assert f"`{flag}`" in caught.value.message
    assert reason in (caught.value.hint or "")


@pytest.mark.parametrize("engine", sorted(ALLOWED))
def test_no_flag_is_both_taken_and_refused(engine: str) -> None:
    """The two lists of an engine have nothing in common."""
    assert not ALLOWED[engine] & set(REFUSED[engine])


@pytest.mark.parametrize("line", ["--max-model-len 4096", "--max-model-len=auto --swap-space 4 -q awq"])
def test_vllm_has_typed_flags_too(line: str) -> None:
    """Its list is read by the same rules."""
    assert "--max-model-len" in read_flags(VLLM, line.split())
    with pytest.raises(InvalidRequest, match="invalid value"):
        check_flags(VLLM, ["--dtype", "int3"])
