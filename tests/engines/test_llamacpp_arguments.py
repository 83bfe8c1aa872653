"""llama-server's arguments, as the embedded engine reads them."""

import pytest

from modelrunner.engines.flag_tables import ALLOWED
from modelrunner.engines.llamacpp_arguments import ArgumentError, Settings, parse

# On the list of flags that users may pass, and without an attribute in xllamacpp.
UNSUPPORTED = {"-dev", "--device", "--top-nsigma", "--spm-infill", "-cd", "--ctx-size-draft"}
VALUES = ("1", "1,1", "f16", "none", "on", "linear", "0-1", "{}")


def _takes(flag: str) -> bool:
    """Whether the flag is read, alone or with one of some values of all kinds."""
    for rest in ([], *([value] for value in VALUES), ["1", "2"]):
        try:
            return bool(parse([flag, *rest]))
        except ArgumentError:
            continue
    return False


@pytest.mark.parametrize("flag", sorted(ALLOWED["llama.cpp"] - UNSUPPORTED))
def test_flags_that_users_may_pass_are_read(flag: str) -> None:
    """Every flag of the allow-list that xllamacpp can express."""
    assert _takes(flag)


@pytest.mark.parametrize("flag", sorted(UNSUPPORTED))
def test_flags_that_cannot_be_honoured_are_refused(flag: str) -> None:
    """Rather than ignored."""
    with pytest.raises(ArgumentError, match="invalid argument"):
        parse([flag, "1"])


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("", {}),
        ("-m /a.gguf --host /x.sock", {"model.path": "/a.gguf", "hostnames": ["/x.sock"]}),
        ("--model=/a=b.gguf", {"model.path": "/a=b.gguf"}),
        ("--host 127.0.0.1 --port 0", {"hostnames": ["127.0.0.1"], "port": 0}),
        ("--ctx_size 512", {"n_ctx": 512}),
        ("-c 1 -c 2", {"n_ctx": 2}),
        ("--ctx-size -1", {"n_ctx": 0}),
        ("--seed -1", {"sampling.seed": 4294967295}),
        ("-ngl 999", {"n_gpu_layers": 999}),
        ("-ngl auto", {"n_gpu_layers": -1}),
        ("--gpu-layers all", {"n_gpu_layers": -2}),
        ("--flash-attn --jinja", {"flash_attn_type": 1, "use_jinja": True}),
        ("-fa off", {"flash_attn_type": 0}),
        ("--cache-type-k q8_0 -ctv bf16", {"cache_type_k": 8, "cache_type_v": 30}),
        ("--reasoning-format deepseek-legacy", {"reasoning_format": 2}),
        ("--spec-type ngram-simple,ngram-map-k4v", {"speculative.types": [6, 8]}),
        (
            "--control-vector-layer-range 1 2",
            {"control_vector_layer_start": 1, "control_vector_layer_end": 2},
        ),
        ('--chat-template-kwargs {"a":true}', {"default_template_kwargs": {"a": "true"}}),
        ("--fit-target 1,2", {"fit_params_target": [1 << 20, 2 << 20]}),
        ("--rope-scale 4", {"rope_freq_scale": 0.25}),
        ("--n-cpu-moe 0", {"tensor_buft_overrides": ""}),
        (
            "-ncmoe 2",
            {
                "tensor_buft_overrides": r"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU,"
                r"blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"
            },
        ),
        ("--no-mmap --mlock", {"mmap": False, "mlock": True}),
        ("-v", {"verbosity": 2147483647}),
        ("--version", {"version": True}),
    ],
)
def test_a_command_line_becomes_settings(line: str, settings: Settings) -> None:
    """In long, short and joined forms, with llama-server's own spelling of dashes; the last one wins."""
    assert parse(line.split()) == settings


def test_masks_and_ranges_become_a_switch_for_each_cpu() -> None:
    """Hexadecimal, lowest CPU last; a range includes its ends."""
    mask, between = parse(["--cpu-mask", "0x5"]), parse(["--cpu-range", "1-2"])

    assert mask == {"cpuparams.cpumask": [True, False, True] + [False] * 509}
    assert between == {"cpuparams.cpumask": [False, True, True] + [False] * 509}


def test_a_tensor_split_has_a_place_for_every_device() -> None:
    """The rest get nothing."""
    assert parse(["-ts", "3,1"]) == {"tensor_split": [3.0, 1.0] + [0.0] * 126}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--bogus", "error: invalid argument: --bogus"),
        ("stray", "error: invalid argument: stray"),
        ("--jinja=x", "error: invalid argument: --jinja=x"),
        ("--threads", 'error while handling argument "--threads": expected value for argument'),
        ("--threads x", 'error while handling argument "--threads": invalid literal'),
        ("--threads=", 'error while handling argument "--threads": invalid literal'),
        ("--pooling middle", "`middle` is none of none, mean, cls, last, rank"),
        ("--prio 9", "9 is not between -1 and 3"),
        ("--fit maybe", "neither on nor off: maybe"),
        ("--rope-scale 0", 'error while handling argument "--rope-scale"'),
        ("--cpu-range 3-1", "no range of CPUs: 3-1"),
        ("--chat-template-kwargs [1]", "no JSON object"),
        ("--control-vector-layer-range 1", "expected value for argument"),
        ("--log-file x", "error: invalid argument: --log-file"),
    ],
)
def test_what_cannot_be_read_is_told(line: str, message: str) -> None:
    """In the words of llama-server, as far as it has any."""
    with pytest.raises(ArgumentError) as caught:
        parse(line.split())

    assert message in str(caught.value)
