"""llama-server's arguments, read into settings of xllamacpp's `CommonParams`: attribute path to value.

Pure, and imports next to nothing: a wrong argument is reported before the engine's library is loaded.
Not every flag has an attribute; those that have none are refused like flags that do not exist.
Source: llama.cpp, common/arg.cpp, as of the build in xllamacpp 2026.10.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

VERSION = "version"
JSON_SCHEMA = "sampling.json_schema"  # no attribute: becomes the grammar
TEMPLATE_FILE = "chat_template_file"  # no attribute: its text becomes `chat_template`
ADAPTERS = "lora_adapters"

T = TypeVar("T")
Value = object
Settings = dict[str, Value]
Convert = Callable[[str], Value]
Adapters = list[tuple[str, float]]  # paths and scales

_CPUS_IN_A_MASK = 512
_DEVICES = 128


class ArgumentError(ValueError):
    """Arguments that cannot be used; the text is what llama-server would print."""


def _boolean(text: str) -> bool:
    if text in {"on", "enabled", "true", "1"}:
        return True
    if text in {"off", "disabled", "false", "0"}:
        return False
    raise ValueError(f"neither on nor off: {text}")


def _choice(**values: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if text.replace("-", "_") not in values:
            raise ValueError(f"`{text}` is none of {', '.join(values)}")
        return values[text.replace("-", "_")]

    return convert


def _among(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"{value} is not between {low} and {high}")
        return value

    return convert


def _seed(text: str) -> int:
    return int(text) % 2**32  # -1, for a random seed, is the largest number


def _context(text: str) -> int:
    return max(0, int(text))  # llama.cpp takes -1 for the largest number there is, and dies


def _layers(text: str) -> int:
    return {"auto": -1, "all": -2}[text] if text in {"auto", "all"} else int(text)


def _mask(text: str) -> list[bool]:
    bits = int(text.removeprefix("0x"), 16)
    return [bool(bits >> cpu & 1) for cpu in range(_CPUS_IN_A_MASK)]


def _range(text: str) -> list[bool]:
    low, dash, high = text.partition("-")
    if not dash:
        raise ValueError(f"no range: {text}")
    first, last = int(low or 0), int(high or _CPUS_IN_A_MASK - 1)
    if not first <= last < _CPUS_IN_A_MASK:
        raise ValueError(f"no range of CPUs: {text}")
    return [first <= cpu <= last for cpu in range(_CPUS_IN_A_MASK)]


def _split(text: str) -> list[float]:
    parts = [float(part) for part in text.replace("/", ",").split(",")]
    if len(parts) > _DEVICES:
        raise ValueError(f"more than {_DEVICES} devices")
    return parts + [0.0] * (_DEVICES - len(parts))


def _mebibytes(text: str) -> list[int]:
    return [int(part) << 20 for part in text.split(",")]


def _list(text: str) -> list[str]:
    return text.split(",")


def _names(text: str) -> set[str]:
    return set(text.split(","))


def _inverse(text: str) -> float:
    return 1.0 / float(text)


def _row(text: str) -> list[str]:
    import csv  # noqa: PLC0415 - as above

    return next(csv.reader([text]), [])


def _adapters(text: str) -> Adapters:
    return [(path, 1.0) for path in _row(text)]


def _scaled_adapters(text: str) -> Adapters:
    pairs = [entry.rpartition(":") for entry in _row(text)]
    return [(path, float(scale)) for path, _, scale in pairs]


_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"


def _experts(text: str) -> str:
    return ",".join(rf"blk\.{layer}{_EXPERTS}" for layer in range(_among(0, 10_000)(text)))


def _kwargs(text: str) -> dict[str, str]:
    import json  # noqa: PLC0415 - three milliseconds of every start, for a flag that few use

    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - the caller reports ValueError as a bad argument
    return {key: json.dumps(value) for key, value in values.items()}


_SPECULATIONS = _choice(
    none=0,
    draft_simple=1,
    draft_eagle3=2,
    draft_mtp=3,
    draft_dflash=4,
    ngram_simple=6,
    ngram_map_k=7,
    ngram_map_k4v=8,
    ngram_mod=9,
    ngram_cache=10,
)


def _speculations(text: str) -> list[Value]:
    return [_SPECULATIONS(name) for name in text.split(",")]


_CACHE_TYPE = _choice(f32=0, f16=1, bf16=30, q8_0=8, q4_0=2, q4_1=3, iq4_nl=20, q5_0=6, q5_1=7)


def _cpu(prefix: str, names: dict[str, str]) -> list[tuple[str, str, Convert]]:
    """The flags of one `CpuParams`, by what they set."""
    converters: dict[str, Convert] = {
        "n_threads": int,
        "cpumask": _mask,
        "range": _range,
        "strict_cpu": _boolean,
        "priority": _among(-1, 3),
        "poll": _among(0, 100),
    }
    return [
        (flags, f"{prefix}.{'cpumask' if what == 'range' else what}", converters[what])
        for what, flags in names.items()
    ]


# Flags that take a value: names, attribute, converter.
_VALUED: list[tuple[str, str, Convert]] = [
    ("-m --model", "model.path", str),
    ("-mm --mmproj", "mmproj.path", str),
    ("-md --model-draft --spec-draft-model", "speculative.draft.mparams.path", str),
    ("-a --alias", "model_alias", _names),
    ("--host", "hostnames", _list),
    ("--port", "port", _among(0, 65535)),
    *_cpu(
        "cpuparams",
        {
            "n_threads": "-t --threads",
            "cpumask": "-C --cpu-mask",
            "range": "-Cr --cpu-range",
            "strict_cpu": "--cpu-strict",
            "priority": "--prio",
            "poll": "--poll",
        },
    ),
    *_cpu(
        "cpuparams_batch",
        {
            "n_threads": "-tb --threads-batch",
            "cpumask": "-Cb --cpu-mask-batch",
            "range": "-Crb --cpu-range-batch",
            "strict_cpu": "--cpu-strict-batch",
            "priority": "--prio-batch",
            "poll": "--poll-batch",
        },
    ),
    ("-c --ctx-size", "n_ctx", _context),
    ("-n --predict --n-predict", "n_predict", int),
    ("--keep", "n_keep", int),
    ("-b --batch-size", "n_batch", int),
    ("-ub --ubatch-size", "n_ubatch", int),
    ("-fa --flash-attn", "flash_attn_type", _choice(on=1, off=0, auto=-1, enabled=1, disabled=0)),
    ("--samplers", "sampling.samplers", str),
    ("-s --seed", "sampling.seed", _seed),
    ("--temp --temperature", "sampling.temp", float),
    ("--top-k", "sampling.top_k", int),
    ("--top-p", "sampling.top_p", float),
    ("--min-p", "sampling.min_p", float),
    ("--xtc-probability", "sampling.xtc_probability", float),
    ("--xtc-threshold", "sampling.xtc_threshold", float),
    ("--typical --typical-p", "sampling.typ_p", float),
    ("--repeat-last-n", "sampling.penalty_last_n", _among(-1, 2**31 - 1)),
    ("--repeat-penalty", "sampling.penalty_repeat", float),
    ("--presence-penalty", "sampling.penalty_present", float),
    ("--frequency-penalty", "sampling.penalty_freq", float),
    ("--dry-multiplier", "sampling.dry_multiplier", float),
    ("--dry-base", "sampling.dry_base", float),
    ("--dry-allowed-length", "sampling.dry_allowed_length", int),
    ("--dry-penalty-last-n", "sampling.dry_penalty_last_n", _among(-1, 2**31 - 1)),
    ("--dynatemp-range", "sampling.dynatemp_range", float),
    ("--dynatemp-exp", "sampling.dynatemp_exponent", float),
    ("--mirostat", "sampling.mirostat", _among(0, 2)),
    ("--mirostat-lr", "sampling.mirostat_eta", float),
    ("--mirostat-ent", "sampling.mirostat_tau", float),
    ("--grammar", "sampling.grammar", str),
    ("-j --json-schema", JSON_SCHEMA, str),
    ("-ngl --gpu-layers --n-gpu-layers", "n_gpu_layers", _layers),
    ("-sm --split-mode", "split_mode", _choice(none=0, layer=1, row=2, tensor=3)),
    ("-ts --tensor-split", "tensor_split", _split),
    ("-mg --main-gpu", "main_gpu", int),
    ("-fit --fit", "fit_params", _boolean),
    ("-fitt --fit-target", "fit_params_target", _mebibytes),
    ("-fitc --fit-ctx", "fit_params_min_ctx", int),
    ("-ctk --cache-type-k", "cache_type_k", _CACHE_TYPE),
    ("-ctv --cache-type-v", "cache_type_v", _CACHE_TYPE),
    ("-cram --cache-ram", "cache_ram_mib", int),
    ("--rope-scaling", "rope_scaling_type", _choice(none=0, linear=1, yarn=2)),
    ("--rope-scale", "rope_freq_scale", _inverse),
    ("--rope-freq-base", "rope_freq_base", float),
    ("--rope-freq-scale", "rope_freq_scale", float),
    ("--yarn-orig-ctx", "yarn_orig_ctx", int),
    ("--yarn-ext-factor", "yarn_ext_factor", float),
    ("--yarn-attn-factor", "yarn_attn_factor", float),
    ("--yarn-beta-slow", "yarn_beta_slow", float),
    ("--yarn-beta-fast", "yarn_beta_fast", float),
    ("-np --parallel", "n_parallel", _among(-1, 256)),
    ("-to --timeout", "timeout", _among(0, 2**31 - 1)),
    ("--threads-http", "n_threads_http", int),
    ("--cache-reuse", "n_cache_reuse", int),
    ("--sleep-idle-seconds", "sleep_idle_seconds", int),
    ("-sps --slot-prompt-similarity", "slot_prompt_similarity", float),
    ("--image-min-tokens", "image_min_tokens", int),
    ("--image-max-tokens", "image_max_tokens", int),
    ("-ncmoe --n-cpu-moe", "tensor_buft_overrides", _experts),
    ("--chat-template", "chat_template", str),
    ("--chat-template-file", TEMPLATE_FILE, str),
    ("--chat-template-kwargs", "default_template_kwargs", _kwargs),
    ("--pooling", "pooling_type", _choice(none=0, mean=1, cls=2, last=3, rank=4)),
    ("--reasoning-format", "reasoning_format", _choice(none=0, auto=1, deepseek_legacy=2, deepseek=3)),
    ("--reasoning-budget", "sampling.reasoning_budget_tokens", _among(-1, 2**31 - 1)),
    ("--webui-config --ui-config", "ui_config_json", str),
    ("--api-prefix", "api_prefix", str),
    ("--api-key", "api_keys", _list),
    *_cpu(
        "speculative.draft.cpuparams",
        {
            "n_threads": "--spec-draft-threads -td --threads-draft",
            "cpumask": "--spec-draft-cpu-mask -Cd --cpu-mask-draft",
            "range": "--spec-draft-cpu-range -Crd --cpu-range-draft",
            "strict_cpu": "--spec-draft-cpu-strict --cpu-strict-draft",
            "priority": "--spec-draft-prio --prio-draft",
            "poll": "--spec-draft-poll --poll-draft",
        },
    ),
    *_cpu(
        "speculative.draft.cpuparams_batch",
        {
            "n_threads": "--spec-draft-threads-batch -tbd --threads-batch-draft",
            "cpumask": "--spec-draft-cpu-mask-batch -Cbd --cpu-mask-batch-draft",
            "strict_cpu": "--spec-draft-cpu-strict-batch --cpu-strict-batch-draft",
            "priority": "--spec-draft-prio-batch --prio-batch-draft",
            "poll": "--spec-draft-poll-batch --poll-batch-draft",
        },
    ),
    (
        "--spec-draft-override-tensor -otd --override-tensor-draft",
        "speculative.draft.tensor_buft_overrides",
        str,
    ),
    (
        "--spec-draft-n-cpu-moe --spec-draft-ncmoe -ncmoed --n-cpu-moe-draft",
        "speculative.draft.tensor_buft_overrides",
        _experts,
    ),
    ("--spec-draft-n-max --draft-n-max --draft-max", "speculative.draft.n_max", int),
    ("--spec-draft-n-min --draft-n-min --draft-min", "speculative.draft.n_min", int),
    ("--spec-draft-p-split --draft-p-split", "speculative.draft.p_split", float),
    ("--spec-draft-p-min --draft-p-min", "speculative.draft.p_min", float),
    ("--spec-draft-device -devd --device-draft", "speculative.draft.devices", str),
    (
        "--spec-draft-ngl -ngld --gpu-layers-draft --n-gpu-layers-draft",
        "speculative.draft.n_gpu_layers",
        _layers,
    ),
    ("--spec-draft-type-k -ctkd --cache-type-k-draft", "speculative.draft.cache_type_k", _CACHE_TYPE),
    ("--spec-draft-type-v -ctvd --cache-type-v-draft", "speculative.draft.cache_type_v", _CACHE_TYPE),
    ("--spec-type", "speculative.types", _speculations),
    ("--spec-ngram-mod-n-min", "speculative.ngram_mod.n_min", int),
    ("--spec-ngram-mod-n-max", "speculative.ngram_mod.n_max", int),
    ("--spec-ngram-mod-n-match", "speculative.ngram_mod.n_match", int),
    *(
        (f"--spec-ngram-{flag}-{what}", f"speculative.ngram_{flag.replace('-', '_')}.{attribute}", int)
        for flag in ("simple", "map-k", "map-k4v")
        for what, attribute in (("size-n", "size_n"), ("size-m", "size_m"), ("min-hits", "min_hits"))
    ),
    ("--slot-save-path", "slot_save_path", str),
    ("-lm --load-mode", "load_mode", _choice(auto=-1, none=0, mmap=1, mlock=2, dio=4)),
    ("-lv --verbosity", "verbosity", int),
]
# Flags that stand alone: names, attribute, value.
_SWITCHES: list[tuple[str, str, Value]] = [
    ("--version", VERSION, True),
    ("--swa-full", "swa_full", True),
    ("--perf", "no_perf", False),
    ("--no-perf", "no_perf", True),
    ("--ignore-eos", "sampling.ignore_eos", True),
    ("-bs --backend-sampling", "sampling.backend_sampling", True),
    ("-kvo --kv-offload", "no_kv_offload", False),
    ("-nkvo --no-kv-offload", "no_kv_offload", True),
    ("--repack", "no_extra_bufts", False),
    ("-nr --no-repack", "no_extra_bufts", True),
    ("--no-host", "no_host", True),
    ("--mlock", "mlock", True),
    ("--mmap", "mmap", True),
    ("--no-mmap", "mmap", False),
    ("-dio --direct-io", "dio", True),
    ("-ndio --no-direct-io", "dio", False),
    ("-kvu --kv-unified", "kv_unified", True),
    ("-no-kvu --no-kv-unified", "kv_unified", False),
    ("--context-shift", "ctx_shift", True),
    ("--no-context-shift", "ctx_shift", False),
    ("-cb --cont-batching", "cont_batching", True),
    ("-nocb --no-cont-batching", "cont_batching", False),
    ("--warmup", "warmup", True),
    ("--no-warmup", "warmup", False),
    ("--cache-idle-slots", "cache_idle_slots", True),
    ("--no-cache-idle-slots", "cache_idle_slots", False),
    ("--cache-prompt", "cache_prompt", True),
    ("--no-cache-prompt", "cache_prompt", False),
    ("--mmproj-auto", "no_mmproj", False),
    ("--no-mmproj --no-mmproj-auto", "no_mmproj", True),
    ("--mmproj-offload", "mmproj_use_gpu", True),
    ("--no-mmproj-offload", "mmproj_use_gpu", False),
    ("-cmoe --cpu-moe", "tensor_buft_overrides", _EXPERTS),
    (
        "--spec-draft-cpu-moe -cmoed --cpu-moe-draft",
        "speculative.draft.tensor_buft_overrides",
        _EXPERTS,
    ),
    ("--spec-draft-backend-sampling", "speculative.draft.backend_sampling", True),
    ("--no-spec-draft-backend-sampling", "speculative.draft.backend_sampling", False),
    ("--lora-init-without-apply", "lora_init_without_apply", True),
    ("--jinja", "use_jinja", True),
    ("--no-jinja", "use_jinja", False),
    ("--prefill-assistant", "prefill_assistant", True),
    ("--no-prefill-assistant", "prefill_assistant", False),
    ("--webui --ui", "ui", True),
    ("--no-webui --no-ui", "ui", False),
    ("--metrics", "endpoint_metrics", True),
    ("--no-metrics", "endpoint_metrics", False),
    ("--props", "endpoint_props", True),
    ("--slots", "endpoint_slots", True),
    ("--no-slots", "endpoint_slots", False),
    ("--embedding --embeddings", "embedding", True),
    ("--rerank --reranking", "reranking", True),
    ("--check-tensors", "check_tensors", True),
    ("--op-offload", "no_op_offload", False),
    ("--no-op-offload", "no_op_offload", True),
    ("-v --verbose", "verbosity", 2**31 - 1),
]
_UNSUPPORTED = frozenset({"-dev", "--device", "--top-nsigma", "--top-n-sigma", "--spm-infill"})
_ADAPTERS: dict[str, Callable[[str], Adapters]] = {"--lora": _adapters, "--lora-scaled": _scaled_adapters}
_BY_NAME = {name: (path, convert) for names, path, convert in _VALUED for name in names.split()}
_ALONE = {name: (path, value) for names, path, value in _SWITCHES for name in names.split()}


def parse(arguments: Sequence[str]) -> Settings:
    """Read a command line; the last of several wins. Settings hold only what the command line says.

    Raises:
        ArgumentError: an unknown flag, a missing or a bad value.
    """
    settings: Settings = {}
    adapters: Adapters = []  # the one flag that adds to what it said before
    rest = list(reversed(arguments))
    while rest:
        token = rest.pop()
        name, joined, value = token.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        if joined and token.startswith("-"):
            rest.append(value)
        if name in _ALONE and not joined:
            path, constant = _ALONE[name]
            settings[path] = constant
        elif name == "--control-vector-layer-range":
            settings["control_vector_layer_start"] = _read(name, int, rest)
            settings["control_vector_layer_end"] = _read(name, int, rest)
        elif name in _ADAPTERS:
            adapters += _read(name, _ADAPTERS[name], rest)
            settings[ADAPTERS] = adapters
        elif name in _BY_NAME:
            path, convert = _BY_NAME[name]
            settings[path] = _read(name, convert, rest)
        elif name in _UNSUPPORTED:
            raise ArgumentError(f"error: invalid argument: {name} (the embedded engine has no way to set it)")
        else:
            raise ArgumentError(f"error: invalid argument: {token}")
    return settings


def _read(name: str, convert: Callable[[str], T], rest: list[str]) -> T:
    if name in {"-fa", "--flash-attn"} and (not rest or rest[-1].startswith("-")):
        return convert("on")  # as it was written before it took a value
    if not rest:
        raise ArgumentError(f'error while handling argument "{name}": expected value for argument')
    text = rest.pop()
    try:
        return convert(text)
    except (ValueError, ZeroDivisionError, OverflowError) as exc:
        raise ArgumentError(f'error while handling argument "{name}": {exc}') from exc
