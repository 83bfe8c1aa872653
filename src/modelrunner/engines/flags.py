"""Which runtime flags a user may pass to an engine: what tunes, never what opens a path, a port or a process.

The lists are closed: a flag that nobody has thought about is refused (CVE-2026-28400 was a flag too many).
Source of the lists: Docker Model Runner, without the flags that make an engine unreachable for its daemon.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from modelrunner.errors import InvalidRequest, UnknownFlag

_LLAMACPP = """
    -t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict --prio --poll
    -Cb --cpu-mask-batch -Crb --cpu-range-batch --cpu-strict-batch --prio-batch --poll-batch

    -c --ctx-size -n --predict --n-predict --keep
    -b --batch-size -ub --ubatch-size --swa-full -fa --flash-attn --perf --no-perf

    --samplers -s --seed --temp --temperature --top-k --top-p --min-p --top-nsigma --xtc-probability
    --xtc-threshold --typical --repeat-last-n --repeat-penalty --presence-penalty --frequency-penalty
    --dry-multiplier --dry-base --dry-allowed-length --dry-penalty-last-n --mirostat --mirostat-lr
    --mirostat-ent --ignore-eos --dynatemp-range --dynatemp-exp

    -dev --device -ngl --gpu-layers --n-gpu-layers -sm --split-mode -ts --tensor-split -mg --main-gpu
    -fit --fit -fitt --fit-target -fitc --fit-ctx

    -kvo --kv-offload -nkvo --no-kv-offload --repack -nr --no-repack --no-host -ctk --cache-type-k
    -ctv --cache-type-v --mlock --mmap --no-mmap -dio --direct-io -ndio --no-direct-io -cram --cache-ram
    -kvu --kv-unified --context-shift --no-context-shift

    --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor
    --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast

    -np --parallel -cb --cont-batching -nocb --no-cont-batching --warmup --no-warmup -to --timeout
    --threads-http --cache-prompt --no-cache-prompt --cache-reuse --sleep-idle-seconds

    --mmproj-auto --no-mmproj --no-mmproj-auto --mmproj-offload --no-mmproj-offload
    --image-min-tokens --image-max-tokens --spm-infill

    --spec-draft-threads -td --threads-draft --spec-draft-threads-batch -tbd --threads-batch-draft
    --spec-draft-cpu-mask -Cd --cpu-mask-draft --spec-draft-cpu-range -Crd --cpu-range-draft
    --spec-draft-cpu-strict --cpu-strict-draft --spec-draft-prio --prio-draft --spec-draft-poll --poll-draft
    --spec-draft-cpu-mask-batch -Cbd --cpu-mask-batch-draft --spec-draft-cpu-strict-batch
    --cpu-strict-batch-draft --spec-draft-prio-batch --prio-batch-draft --spec-draft-poll-batch
    --poll-batch-draft

    --spec-draft-override-tensor -otd --override-tensor-draft --spec-draft-cpu-moe -cmoed --cpu-moe-draft
    --spec-draft-n-cpu-moe --spec-draft-ncmoe -ncmoed --n-cpu-moe-draft --spec-draft-n-max --draft-n-max
    --draft-max --spec-draft-n-min --draft-n-min --draft-min --spec-draft-p-split --draft-p-split
    --spec-draft-p-min --draft-p-min --spec-draft-backend-sampling --no-spec-draft-backend-sampling
    --spec-draft-device -devd --device-draft --spec-draft-ngl -ngld --gpu-layers-draft
    --n-gpu-layers-draft --spec-draft-type-k -ctkd --cache-type-k-draft --spec-draft-type-v -ctvd
    --cache-type-v-draft -cd --ctx-size-draft

    --spec-type --spec-ngram-mod-n-min --spec-ngram-mod-n-max --spec-ngram-mod-n-match
    --spec-ngram-simple-size-n --spec-ngram-simple-size-m --spec-ngram-simple-min-hits
    --spec-ngram-map-k-size-n --spec-ngram-map-k-size-m --spec-ngram-map-k-min-hits
    --spec-ngram-map-k4v-size-n --spec-ngram-map-k4v-size-m --spec-ngram-map-k4v-min-hits

    --lora-init-without-apply --control-vector-layer-range
    --grammar -j --json-schema -bs --backend-sampling
    --chat-template --chat-template-kwargs --jinja --no-jinja --pooling --reasoning-format
    --reasoning-budget --prefill-assistant --no-prefill-assistant
    --webui --no-webui --webui-config --metrics --props --slots
    --embedding --embeddings --rerank --reranking -sps --slot-prompt-similarity
    -cmoe --cpu-moe -ncmoe --n-cpu-moe --check-tensors --op-offload --no-op-offload
    -v --verbose
"""
_VLLM = """
    --tensor-parallel-size -tp --pipeline-parallel-size -pp --max-model-len --max-num-batched-tokens
    --max-num-seqs --block-size --swap-space --seed --dtype --quantization -q --kv-cache-dtype
    --enforce-eager --enable-prefix-caching --enable-chunked-prefill --disable-custom-all-reduce
    --use-v2-block-manager --tokenizer-mode --max-logprobs --revision --load-format --disable-log-stats
    --served-model-name --gpu-memory-utilization
"""
ALLOWED: Mapping[str, frozenset[str]] = {
    "llama.cpp": frozenset(_LLAMACPP.split()),
    "vllm": frozenset(_VLLM.split()),
}
# The reference lets these through; with them the daemon can no longer talk to its engine, or measure it.
_CUTS_OFF = frozenset({"--api-key", "--api-prefix", "--no-metrics", "--no-slots"})
_NEGATIVE_NUMBER = re.compile(r"-[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATORS = ";&|<>"
_DEEPEST = 64  # levels of `hf-overrides`; a model's own configuration has a handful


def flag_key(token: str) -> str:
    """The name of a flag, before the first `=`; empty for a value."""
    return token.partition("=")[0] if token.startswith("-") else ""


def split_flags(raw: str) -> tuple[str, ...]:
    """Split one line into flags by the quoting rules of a shell, without any of its other powers.

    Raises:
        InvalidRequest: a quote that is not closed, or an unquoted operator such as `;`.
    """
    lexer = shlex.shlex(raw, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = tuple(lexer)
    except ValueError as exc:
        raise InvalidRequest(f"runtime flags cannot be split: {exc}", hint="close the quotes") from exc
    for token in tokens:
        # An operator comes as a token of its own, unless it stands quoted among other characters.
        if token and not set(token) - set(_OPERATORS):
            raise InvalidRequest(
                f"runtime flags cannot be split: unquoted `{token}`",
                hint="put quotes around a value that contains it",
            )
    return tokens


def check_flags(engine: str, flags: Sequence[str]) -> tuple[str, ...]:
    """Let only flags pass that the engine's list has, with values that can be no flag and no path.

    Each rule is asked of all tokens before the next one, so that an unknown flag is named first.

    Raises:
        UnknownFlag: a flag that is not on the list; engines without a list take none.
        InvalidRequest: a value that could be taken for a flag or a path, or is empty.
    """
    allowed = ALLOWED.get(engine, frozenset())
    for key in _keys(flags):
        if key not in allowed:
            raise UnknownFlag(
                f"runtime flag `{key}` is not allowed for backend `{engine}`",
                hint="it would cut the engine off from its daemon" if key in _CUTS_OFF else None,
            )
    if not all(token.strip() for token in flags):
        raise InvalidRequest("a runtime flag is empty", hint="leave it out")
    for token in flags:
        _check_value(token)
    for token in flags:
        if "/" in token or "\\" in token:
            raise InvalidRequest(
                f"invalid runtime flag `{token}`: paths are not allowed (contains '/' or '\\')",
                hint="files come with the model, not with its flags",
            )
    return tuple(flags)


def _keys(flags: Sequence[str]) -> Iterator[str]:
    """The names of all flags; a negative number right after a flag is that flag's value."""
    before = ""
    for token in flags:
        is_value = bool(before) and "=" not in before and _NEGATIVE_NUMBER.fullmatch(token)
        key = "" if is_value else flag_key(token)
        if key:
            yield key
        before = token if key else ""


def _check_value(token: str) -> None:
    value = token.partition("=")[2] if token.startswith("-") else ""
    if value.startswith("-") and not "0" <= value[1:2] <= "9":
        raise InvalidRequest(
            f"invalid flag `{token}`: value cannot start with '-' unless followed by a digit"
        )


def check_overrides(overrides: Mapping[str, object]) -> None:
    """Let only plain identifiers be keys of `hf-overrides`, at every depth.

    Raises:
        InvalidRequest: a key that is anything else, or too many levels.
    """
    _check_keys(overrides, "", _DEEPEST)


def _check_keys(value: object, path: str, levels: int) -> None:
    if levels == 0:
        raise InvalidRequest(f"invalid hf_overrides: more than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not _IDENTIFIER.fullmatch(key):
                where = f"nested key `{key}` in `{path}`" if path else f"key `{key}`"
                raise InvalidRequest(
                    f"invalid hf_overrides {where}: must contain only alphanumeric characters and"
                    " underscores, and start with a letter or underscore"
                )
            _check_keys(inner, f"{path}.{key}" if path else key, levels - 1)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, inner in enumerate(value):
            _check_keys(inner, f"{path}[{index}]", levels - 1)
