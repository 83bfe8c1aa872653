"""Which runtime flags each engine takes from users, of which type; and those it is refused, with the reason.

The lists are closed: a flag that nobody has thought about is refused (CVE-2026-28400 was a flag too many).
Source of the lists: Docker Model Runner, without the flags that make an engine unreachable for its daemon; of
types and ranges: llama.cpp common/arg.cpp, vLLM vllm/engine/arg_utils.py.
"""

from collections.abc import Mapping

from modelrunner.engines.flag_kinds import (
    INT32,
    Flag,
    Kind,
    boolean,
    cpu_mask,
    cpu_range,
    either,
    json_object,
    one_of,
    real,
    several,
    some_of,
    switches,
    table,
    text,
    whole,
)

_MOST_THREADS = 512
_CACHE_TYPE = one_of("f32 f16 bf16 q8_0 q4_0 q4_1 iq4_nl q5_0 q5_1")
_COUNT = whole(0)
_LAYERS = either(whole(-2), one_of("auto all"))
_SHARE = real(0, 1)
_THREADS = whole(-1, _MOST_THREADS)
_FLASH = Flag("--flash-attn", (one_of("on off auto 1 0 true false enabled disabled"),), bare="on")
_LLAMACPP_VALUES: Mapping[str, Kind] = {
    # CPU
    "-t --threads, -tb --threads-batch": _THREADS,
    "--spec-draft-threads -td --threads-draft": _THREADS,
    "--spec-draft-threads-batch -tbd --threads-batch-draft": _THREADS,
    "-C --cpu-mask, -Cb --cpu-mask-batch": cpu_mask(),
    "--spec-draft-cpu-mask -Cd --cpu-mask-draft": cpu_mask(),
    "--spec-draft-cpu-mask-batch -Cbd --cpu-mask-batch-draft": cpu_mask(),
    "-Cr --cpu-range, -Crb --cpu-range-batch, --spec-draft-cpu-range -Crd --cpu-range-draft": cpu_range(),
    "--cpu-strict, --cpu-strict-batch, --spec-draft-cpu-strict --cpu-strict-draft": boolean(),
    "--spec-draft-cpu-strict-batch --cpu-strict-batch-draft": boolean(),
    "--prio, --prio-batch, --spec-draft-prio --prio-draft": whole(-1, 3),
    "--spec-draft-prio-batch --prio-batch-draft": whole(-1, 3),
    "--poll, --poll-batch, --spec-draft-poll --poll-draft": whole(0, 100),
    "--spec-draft-poll-batch --poll-batch-draft": whole(0, 100),
    # context and batch
    "-c --ctx-size, --keep": whole(-1),
    "-cd --ctx-size-draft, -fitc --fit-ctx": _COUNT,
    "-n --predict --n-predict": whole(-2),
    "-b --batch-size, -ub --ubatch-size": whole(1),
    # sampling
    "--samplers": several(text(), ";"),
    "-s --seed": whole(-1, 2**32 - 1),
    "--temp --temperature, --top-nsigma, --presence-penalty, --frequency-penalty": real(),
    "--top-k": whole(),
    "--top-p, --min-p, --xtc-probability, --xtc-threshold, --typical": _SHARE,
    "--repeat-last-n, --dry-penalty-last-n": whole(-1),
    "--repeat-penalty, --dry-multiplier, --dry-base, --dynatemp-range, --dynatemp-exp": real(0),
    "--dry-allowed-length": whole(),
    "--mirostat": whole(0, 2),
    "--mirostat-lr, --mirostat-ent": real(0),
    "--grammar": text(),
    "-j --json-schema": json_object(),
    # GPU
    "-dev --device, --spec-draft-device -devd --device-draft": several(text(), ","),
    "-ngl --gpu-layers --n-gpu-layers": _LAYERS,
    "--spec-draft-ngl -ngld --gpu-layers-draft --n-gpu-layers-draft": _LAYERS,
    "-sm --split-mode": one_of("none layer row tensor"),
    "-ts --tensor-split": several(real(0), ",/"),
    "-mg --main-gpu": whole(0, 127),
    "-fit --fit": boolean(),
    "-fitt --fit-target": several(_COUNT, ","),
    "-ncmoe --n-cpu-moe": _COUNT,
    "--spec-draft-n-cpu-moe --spec-draft-ncmoe -ncmoed --n-cpu-moe-draft": _COUNT,
    "--spec-draft-override-tensor -otd --override-tensor-draft": text(),
    # memory and cache
    "-ctk --cache-type-k, -ctv --cache-type-v": _CACHE_TYPE,
    "--spec-draft-type-k -ctkd --cache-type-k-draft": _CACHE_TYPE,
    "--spec-draft-type-v -ctvd --cache-type-v-draft": _CACHE_TYPE,
    "-cram --cache-ram": whole(-1),
    "--cache-reuse": _COUNT,
    # RoPE
    "--rope-scaling": one_of("none linear yarn"),
    "--rope-scale, --rope-freq-base, --rope-freq-scale": real(0),
    "--yarn-orig-ctx": _COUNT,
    "--yarn-ext-factor, --yarn-attn-factor, --yarn-beta-slow, --yarn-beta-fast": real(),
    # server
    "-np --parallel": either(whole(-1, -1), whole(1, 256)),
    "-to --timeout": _COUNT,
    "--threads-http": whole(-1, 4096),
    "--sleep-idle-seconds": either(whole(-1, -1), whole(1)),
    "-sps --slot-prompt-similarity": _SHARE,
    "--image-min-tokens, --image-max-tokens": _COUNT,
    "--chat-template": text(),
    "--chat-template-kwargs, --webui-config": json_object(),
    "--pooling": one_of("none mean cls last rank"),
    "--reasoning-format": one_of("none auto deepseek deepseek-legacy"),
    "--reasoning-budget": whole(-1),
    # speculative decoding
    "--spec-draft-n-max --draft-n-max --draft-max, --spec-draft-n-min --draft-n-min --draft-min": _COUNT,
    "--spec-draft-p-split --draft-p-split, --spec-draft-p-min --draft-p-min": _SHARE,
    "--spec-type": some_of(
        "none draft-simple draft-eagle3 draft-mtp draft-dflash"
        " ngram-simple ngram-map-k ngram-map-k4v ngram-mod ngram-cache"
    ),
    "--spec-ngram-mod-n-min, --spec-ngram-mod-n-max, --spec-ngram-mod-n-match": _COUNT,
    "--spec-ngram-simple-size-n, --spec-ngram-simple-size-m, --spec-ngram-simple-min-hits": _COUNT,
    "--spec-ngram-map-k-size-n, --spec-ngram-map-k-size-m, --spec-ngram-map-k-min-hits": _COUNT,
    "--spec-ngram-map-k4v-size-n, --spec-ngram-map-k4v-size-m, --spec-ngram-map-k4v-min-hits": _COUNT,
}
_LLAMACPP_SWITCHES = """
    --swa-full
    --perf | --no-perf
    --ignore-eos
    -kvo --kv-offload | -nkvo --no-kv-offload
    --repack | -nr --no-repack
    --no-host
    --mlock
    --mmap | --no-mmap
    -dio --direct-io | -ndio --no-direct-io
    -kvu --kv-unified
    --context-shift | --no-context-shift
    -cb --cont-batching | -nocb --no-cont-batching
    --warmup | --no-warmup
    --cache-prompt | --no-cache-prompt
    --cache-idle-slots | --no-cache-idle-slots
    --mmproj-auto | --no-mmproj --no-mmproj-auto
    --mmproj-offload | --no-mmproj-offload
    --spm-infill
    --spec-draft-cpu-moe -cmoed --cpu-moe-draft
    --spec-draft-backend-sampling | --no-spec-draft-backend-sampling
    --lora-init-without-apply
    -bs --backend-sampling
    --jinja | --no-jinja
    --prefill-assistant | --no-prefill-assistant
    --webui | --no-webui
    --metrics
    --props
    --slots
    --embeddings --embedding
    --reranking --rerank
    -cmoe --cpu-moe
    --check-tensors
    --op-offload | --no-op-offload
    -v --verbose
"""
_VLLM_VALUES: Mapping[str, Kind] = {
    "--tensor-parallel-size -tp, --pipeline-parallel-size -pp": whole(1, 4096),
    "--max-model-len": either(whole(1), text()),  # also `1k`, `1M` and `auto`
    "--max-num-batched-tokens, --max-num-seqs": whole(1),
    "--block-size": whole(1, 1024),
    "--swap-space": real(0),
    "--seed": whole(-(2**31), 2**32 - 1),
    "--dtype": one_of("auto half float16 bfloat16 float float32"),
    "--quantization -q, --kv-cache-dtype, --tokenizer-mode, --load-format, --revision": text(),
    "--max-logprobs": whole(-1),
    "--served-model-name": text(),
    "--gpu-memory-utilization": _SHARE,
}
_VLLM_SWITCHES = """
    --enforce-eager
    --no-enable-sleep-mode
    --enable-prefix-caching
    --enable-chunked-prefill
    --disable-custom-all-reduce
    --use-v2-block-manager
    --disable-log-stats
"""

TABLES: Mapping[str, Mapping[str, Flag]] = {
    "llama.cpp": table(_LLAMACPP_VALUES)
    | switches(_LLAMACPP_SWITCHES)
    | dict.fromkeys(("-fa", "--flash-attn"), _FLASH)
    | {
        "--control-vector-layer-range": Flag(
            "--control-vector-layer-range", (whole(0, INT32), whole(0, INT32))
        )
    },
    "vllm": table(_VLLM_VALUES) | switches(_VLLM_SWITCHES),
}
ALLOWED: Mapping[str, frozenset[str]] = {engine: frozenset(flags) for engine, flags in TABLES.items()}

_CONTROLLED = "the daemon itself says which model runs, in which mode, and where the engine listens"
_PATHS = "it names a file or a folder, and an engine opens only what comes with its model"
_CUTS_OFF = "it would cut the engine off from its daemon"
_NETWORK = "it would make the engine fetch something or talk to others"
_CODE = "it would run code that does not come with the engine"
_REFUSED: Mapping[str, Mapping[str, str]] = {
    "llama.cpp": {
        _CONTROLLED: "-m --model --model-path -a --alias --host --port --reuse-port --models-dir --models-max"
        " --models-autoload --no-models-autoload -h --help --version --list-devices",
        "adapters come with the model: package them with `--lora`": "--lora --lora-path --lora-scaled",
        "projectors come with the model: package them with `--mmproj`": "-mm --mmproj",
        "name the draft model as `speculative.draft_model`": "-md --model-draft --spec-draft-model",
        "templates come with the model: package them with `--chat-template`": "--chat-template-file",
        _PATHS: "--log-file --output-file --config-file --control-vector --control-vector-scaled -f --file"
        " --grammar-file --prompt-file --slot-save-path -jf --json-schema-file --path --webui-config-file"
        " --api-key-file --ssl-key-file --ssl-cert-file --models-preset --media-path -lcs"
        " --lookup-cache-static -lcd --lookup-cache-dynamic",
        _CUTS_OFF: "--api-key --api-prefix --no-metrics --no-slots",
        _NETWORK: "-mu --model-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -hft --hf-token -mmu"
        " --mmproj-url --rpc --webui-mcp-proxy -hfd --hf-repo-draft --spec-draft-hf",
        _CODE: "--tools --mcp-servers-config",
    },
    "vllm": {
        _CONTROLLED: "--model --host --port --uds --runner --convert --task --headless",
        _PATHS: "--download-dir --tokenizer --hf-config-path --chat-template --config --ssl-keyfile"
        " --ssl-certfile --ssl-ca-certs --lora-modules --allowed-local-media-path --output-file"
        " --log-config-file --generation-config",
        _CUTS_OFF: "--api-key --root-path --disable-fastapi-docs",
        _CODE: "--trust-remote-code --middleware --logits-processors --worker-cls --worker-extension-cls"
        " --tool-parser-plugin --reasoning-parser-plugin --model-impl",
        "give overrides as `vllm.hf-overrides`": "--hf-overrides",
    },
}
REFUSED: Mapping[str, Mapping[str, str]] = {
    engine: {name: reason for reason, names in reasons.items() for name in names.split()}
    for engine, reasons in _REFUSED.items()
}
