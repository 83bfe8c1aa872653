"""llama.cpp's plug-in: which program, which command line, which models."""

from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.engines.base import (
    Address,
    Context,
    Draft,
    Engine,
    EngineSettings,
    KnowsContext,
    Options,
    Origin,
)
from modelrunner.engines.flags import split_flags
from modelrunner.engines.llamacpp import (
    DEFAULT_CONTEXT,
    LlamaCpp,
    base_arguments,
    check_extra,
    context_size,
    default_context,
)
from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.contract import EngineContract

ROOT = Path("/bundle")
MODEL = ROOT / "model/model.gguf"
ADDRESS = Address(socket=Path("/run/x.sock"))
BATCH = "--batch-size 2048 --ubatch-size 2048"
DEFAULT = f"--ctx-size {DEFAULT_CONTEXT}"
GUESSES = "--spec-draft-n-max 8 --spec-draft-p-min 0.76"
FIXED = f"--model {MODEL} --host /run/x.sock"


def _bundle(
    config: ModelConfig | None = None, *, projector: Path | None = None, template: Path | None = None
) -> Bundle:
    config = config or ModelConfig(format=Format.GGUF)
    return Bundle(root=ROOT, config=config, weights=(MODEL,), projector=projector, template=template)


def _argv(
    bundle: Bundle, mode: Mode = Mode.COMPLETION, options: Options | None = None, **settings: object
) -> str:
    """The command line after the program and the platform's base."""
    engine = LlamaCpp(EngineSettings(**settings))  # type: ignore[arg-type]  # each test gives what it is about
    argv = engine.launch(bundle, mode, options or Options(), ADDRESS).argv
    return " ".join(argv[argv.index("--metrics") + 1 :]).removeprefix("--no-mmap ")


def _trained(length: int, packaged: int | None = None, pooling: str | None = None) -> ModelConfig:
    metadata = {"general.architecture": "llama", "llama.context_length": str(length)}
    if pooling is not None:
        metadata["llama.pooling_type"] = pooling
    return ModelConfig(format=Format.GGUF, context_size=packaged, metadata=metadata)


class TestContract(EngineContract):
    """LlamaCpp keeps the contract that every engine keeps."""

    def make(self) -> Engine:
        return LlamaCpp(EngineSettings())


@pytest.mark.parametrize(
    ("system", "machine", "cpus", "base"),
    [
        ("Linux", "x86_64", 8, "-ngl 999 --metrics"),
        ("Darwin", "x86_64", 8, "-ngl 999 --metrics --no-mmap"),
        ("Darwin", "arm64", 8, "-ngl 999 --metrics --no-mmap --threads 4"),
        ("Linux", "aarch64", 2, "-ngl 999 --metrics --threads 2"),
        ("Windows", "ARM64", 12, "-ngl 999 --metrics --threads 6"),
    ],
)
def test_the_base_follows_the_platform(system: str, machine: str, cpus: int, base: str) -> None:
    """No memory map on macOS, half the cores on ARM; `--jinja` is no part of it."""
    assert " ".join(base_arguments(system, machine, cpus)) == base


@pytest.mark.parametrize(
    ("bundle", "mode", "options", "line"),
    [
        (_bundle(), Mode.COMPLETION, Options(), f"{FIXED} {DEFAULT} --jinja"),
        (_bundle(), Mode.EMBEDDING, Options(), f"{FIXED} --embeddings {BATCH} {DEFAULT} --jinja"),
        (_bundle(), Mode.RERANKING, Options(), f"{FIXED} --embeddings --reranking {BATCH} {DEFAULT} --jinja"),
        (_bundle(), Mode.COMPLETION, Options(context_size=1234), f"{FIXED} --ctx-size 1234 --jinja"),
        (_bundle(), Mode.COMPLETION, Options(context_size=-1), f"{FIXED} --ctx-size 0 --jinja"),
        (_bundle(), Mode.COMPLETION, Options(context_size=0), f"{FIXED} {DEFAULT} --jinja"),
        (_bundle(), Mode.COMPLETION, Options(context_size=-2), f"{FIXED} {DEFAULT} --jinja"),
        (
            _bundle(ModelConfig(context_size=2048)),
            Mode.COMPLETION,
            Options(context_size=512),
            f"{FIXED} --ctx-size 512 --jinja",
        ),
        (
            _bundle(ModelConfig(context_size=2048)),
            Mode.COMPLETION,
            Options(),
            f"{FIXED} --ctx-size 2048 --jinja",
        ),
        (
            _bundle(template=ROOT / "t.jinja"),
            Mode.COMPLETION,
            Options(),
            f"{FIXED} --chat-template-file /bundle/t.jinja {DEFAULT} --jinja",
        ),
        (
            _bundle(template=ROOT / "t.jinja"),
            Mode.EMBEDDING,
            Options(),
            f"{FIXED} --embeddings {BATCH} {DEFAULT} --jinja",
        ),
        (
            _bundle(),
            Mode.COMPLETION,
            Options(flags=("--temp", "0.7")),
            f"{FIXED} {DEFAULT} --temp 0.7 --jinja",
        ),
        (
            _bundle(projector=ROOT / "p.mmproj"),
            Mode.COMPLETION,
            Options(),
            f"{FIXED} {DEFAULT} --mmproj /bundle/p.mmproj",
        ),
        *(
            (
                _bundle(),
                Mode.COMPLETION,
                Options(reasoning_budget=budget, context_size=4096),
                f"{FIXED} --reasoning-budget {budget} --ctx-size 4096 --jinja",
            )
            for budget in (-1, 0, 2048)
        ),
        (
            _bundle(),
            Mode.COMPLETION,
            Options(name="ai/smollm2:latest"),
            f"{FIXED} --alias ai/smollm2:latest {DEFAULT} --jinja",
        ),
        (
            _bundle(projector=ROOT / "p.mmproj"),
            Mode.COMPLETION,
            Options(draft=Draft((ROOT / "d.gguf",))),
            f"{FIXED} {DEFAULT} --mmproj /bundle/p.mmproj --model-draft /bundle/d.gguf",
        ),
        (
            _bundle(),
            Mode.COMPLETION,
            Options(draft=Draft((ROOT / "d.gguf",), tokens=8, probability=0.756)),
            f"{FIXED} {DEFAULT} --jinja --model-draft /bundle/d.gguf {GUESSES}",
        ),
        (
            _bundle(),
            Mode.COMPLETION,
            Options(draft=Draft((ROOT / "d.gguf",), tokens=0, probability=0.0)),
            f"{FIXED} {DEFAULT} --jinja --model-draft /bundle/d.gguf",
        ),
        (
            _bundle(),
            Mode.EMBEDDING,
            Options(draft=Draft((ROOT / "d.gguf",))),
            f"{FIXED} --embeddings {BATCH} {DEFAULT} --jinja",
        ),
        (
            replace(_bundle(), adapters=(ROOT / "a.gguf", ROOT / 'b,"c".gguf')),
            Mode.COMPLETION,
            Options(),
            f'{FIXED} {DEFAULT} --jinja --lora /bundle/a.gguf --lora "/bundle/b,""c"".gguf"',
        ),
        (
            _bundle(),
            Mode.COMPLETION,
            Options(states=Path("/states")),
            f"{FIXED} {DEFAULT} --jinja --slots --slot-save-path /states/",
        ),
    ],
)
def test_the_command_line_keeps_its_order(bundle: Bundle, mode: Mode, options: Options, line: str) -> None:
    """Base, model and address, mode, reasoning, context, flags, projector or jinja, and what is ours."""
    assert _argv(bundle, mode, options) == line


def test_a_port_stands_where_the_socket_would() -> None:
    """An address without a socket is host and port."""
    argv = LlamaCpp().launch(_bundle(), Mode.COMPLETION, Options(), Address(port=8080)).argv

    assert "--host 127.0.0.1 --port 8080" in " ".join(argv)


@pytest.mark.parametrize(
    ("flags", "spelled"),
    [
        (("--threads=4", "--seed=-1"), "--threads 4 --seed -1"),
        (("--flash-attn", "--cache-type-k", "q8_0"), "--flash-attn on --cache-type-k q8_0"),
        (("--flash-attn", "off"), "--flash-attn off"),
        (("-fa",), "-fa on"),
        (("--chat-template-kwargs", '{"a":"b=c"}'), '--chat-template-kwargs {"a":"b=c"}'),
    ],
)
def test_flags_are_spelled_as_a_native_server_reads_them(flags: tuple[str, ...], spelled: str) -> None:
    """It knows no `--flag=value`, and wants a value for flash attention."""
    assert _argv(_bundle(), options=Options(flags=flags)) == f"{FIXED} {DEFAULT} {spelled} --jinja"


@pytest.mark.parametrize(
    ("config", "options", "size"),
    [
        (ModelConfig(), Options(), None),
        (ModelConfig(), Options(context_size=-1), 0),
        (ModelConfig(context_size=-1), Options(), 0),
        (ModelConfig(context_size=4096), Options(context_size=-5), 4096),
        (_trained(131072, packaged=131072), Options(), None),
        (_trained(131072, packaged=16384), Options(), 16384),
        (_trained(131072, packaged=131072), Options(context_size=65536), 65536),
    ],
)
def test_a_context_is_chosen_by_user_or_packager(
    config: ModelConfig, options: Options, size: int | None
) -> None:
    """The training length, copied at packaging, is nobody's choice."""
    assert context_size(config, options) == size


@pytest.mark.parametrize(
    ("config", "size"),
    [(ModelConfig(), DEFAULT_CONTEXT), (_trained(131072), DEFAULT_CONTEXT), (_trained(512), 512)],
)
def test_without_a_choice_the_context_is_bounded(config: ModelConfig, size: int) -> None:
    """A long training length does not fill the memory; a short one is not exceeded."""
    assert default_context(config) == size


@pytest.mark.parametrize("flag", ["-c 512", "--ctx-size=512", "--ctx_size 512"])
def test_a_context_given_as_a_flag_is_not_overridden(flag: str) -> None:
    """Neither among the flags of a model nor in LLAMA_ARGS."""
    words = tuple(flag.split())

    assert "8192" not in _argv(_bundle(), options=Options(flags=words))
    assert "8192" not in _argv(_bundle(), extra_args=words)


@pytest.mark.parametrize(
    ("config", "options", "extra", "tokens", "origin"),
    [
        (_trained(131072), Options(), "", DEFAULT_CONTEXT, "default"),
        (_trained(512), Options(), "", 512, "default"),
        (_trained(131072, packaged=16384), Options(), "", 16384, "packaged"),
        (_trained(131072, packaged=16384), Options(context_size=1024), "", 1024, "configured"),
        (_trained(131072, packaged=16384), Options(context_size=0), "", 16384, "packaged"),
        (_trained(131072), Options(context_size=-1), "", 131072, "configured"),
        (_trained(131072, packaged=-1), Options(), "", 131072, "packaged"),
        (_trained(131072), Options(context_size=1024, flags=("-c", "2048")), "", 2048, "configured"),
        (_trained(131072), Options(flags=("--ctx-size=1", "--ctx_size", "2")), "", 2, "configured"),
        (_trained(131072), Options(flags=("-c", "0")), "", 131072, "configured"),
        (_trained(131072), Options(), "-c 4096", 4096, "configured"),
        (_trained(131072), Options(context_size=1024), "-c 4096", 1024, "configured"),
    ],
)
def test_the_context_is_known_before_the_start(
    config: ModelConfig, options: Options, extra: str, tokens: int, origin: str
) -> None:
    """It is the one that the command line comes to, and says who chose it."""
    engine = LlamaCpp(EngineSettings(extra_args=tuple(extra.split())))

    assert isinstance(engine, KnowsContext)
    assert Context(tokens, Origin(origin)) == engine.context(config, options)


def test_a_context_as_large_as_an_unknown_training_length_is_unknown() -> None:
    """Only llama-server will know it."""
    assert LlamaCpp().context(ModelConfig(), Options(context_size=-1)) is None
    assert LlamaCpp().context(ModelConfig(), Options(flags=("-c", "0"))) is None


def test_a_chat_model_is_told_how_to_make_one_embedding_of_many() -> None:
    """Only when its header says nothing of pooling, and only for embeddings."""
    silent, outspoken = _trained(512), _trained(512, pooling="3")

    assert _argv(_bundle(silent), Mode.EMBEDDING).startswith(f"{FIXED} --embeddings --pooling mean ")
    assert "--pooling" not in _argv(_bundle(outspoken), Mode.EMBEDDING)
    assert "--pooling" not in _argv(_bundle(silent), Mode.RERANKING)
    assert "--pooling" not in _argv(_bundle(silent), Mode.COMPLETION)


@pytest.mark.parametrize(
    ("context", "options", "expected"),
    [
        (512, Options(), "512"),
        (513, Options(), "512"),
        (513, Options(flags=("--parallel", "3")), "513"),
        (4096, Options(), "4096"),
        (32_768, Options(), "8192"),
        (32_768, Options(context_size=32_768), "8192"),
        (4096, Options(context_size=-1), "4096"),
        (4096, Options(context_size=1024), "1024"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.EMBEDDING, Mode.RERANKING])
def test_an_encoder_takes_an_input_as_long_as_its_context(
    mode: Mode, context: int, options: Options, expected: str
) -> None:
    """In one go, because it cannot take it in several; within bounds."""
    metadata = {"general.architecture": "bert", "bert.context_length": str(context), "bert.pooling_type": "1"}
    argv = _argv(_bundle(ModelConfig(format=Format.GGUF, metadata=metadata)), mode, options)

    assert f"--batch-size {expected} --ubatch-size {expected} " in argv


def test_a_model_that_generates_embeds_in_smaller_pieces() -> None:
    """For each token of a piece it computes results of all its words."""
    assert "--batch-size 2048 --ubatch-size 2048 " in _argv(
        _bundle(), Mode.EMBEDDING, Options(context_size=9000)
    )
    assert "--batch-size 512 --ubatch-size 512 " in _argv(
        _bundle(), Mode.EMBEDDING, Options(context_size=515)
    )


def test_a_batch_that_a_user_chose_stays() -> None:
    """Nothing is added to it."""
    assert "--batch-size" not in _argv(_bundle(), Mode.EMBEDDING, Options(flags=("-ub", "64")))


@pytest.mark.parametrize(
    ("flags", "extra", "slots"),
    [
        ("", "", 4),
        ("--parallel 2", "", 2),
        ("-np=3", "", 3),
        ("-np -1", "", 4),
        ("", "--parallel 6", 6),
        ("-np 2", "--parallel 6", 2),
        ("--parallel 2 -np 5", "", 5),
    ],
)
def test_it_says_how_many_requests_it_serves_at_once(flags: str, extra: str, slots: int) -> None:
    """The last flag decides, a model's own after LLAMA_ARGS; llama-server's four when there is none."""
    engine = LlamaCpp(EngineSettings(extra_args=tuple(extra.split())))

    assert engine.slots(Options(flags=tuple(flags.split()))) == slots


def _key(bundle: Bundle | None = None, options: Options | None = None, extra: str = "") -> str:
    engine = LlamaCpp(EngineSettings(extra_args=tuple(extra.split())))
    states = engine.states(bundle or _bundle(), Mode.COMPLETION, options or Options())
    assert states is not None
    return states.key


def test_states_are_exchanged_between_equal_launches() -> None:
    """What the model is called, and where states are kept, changes nothing."""
    assert _key() == _key(options=Options(name="ai/x", states=Path("/states")))


@pytest.mark.parametrize(
    ("bundle", "options", "extra"),
    [
        (_bundle(template=ROOT / "t.jinja"), None, ""),
        (replace(_bundle(), weights=(Path("/other/model.gguf"),)), None, ""),
        (replace(_bundle(), adapters=(ROOT / "a.gguf",)), None, ""),
        (None, Options(context_size=512), ""),
        (None, Options(flags=("-ctk", "q8_0")), ""),
        (None, Options(draft=Draft((ROOT / "d.gguf",))), ""),
        (None, None, "--rope-scale 2"),
    ],
)
def test_states_are_not_exchanged_otherwise(
    bundle: Bundle | None, options: Options | None, extra: str
) -> None:
    """Other weights, another configuration, other arguments of the daemon."""
    assert _key(bundle, options, extra) != _key()


@pytest.mark.parametrize(
    ("bundle", "mode", "flags"),
    [
        (_bundle(), Mode.EMBEDDING, ()),
        (_bundle(), Mode.RERANKING, ()),
        (_bundle(projector=ROOT / "p.mmproj"), Mode.COMPLETION, ()),
        (_bundle(), Mode.COMPLETION, ("--no-cache-prompt",)),
        (_bundle(), Mode.COMPLETION, ("--no-cache_prompt",)),
    ],
)
def test_some_instances_have_no_states(bundle: Bundle, mode: Mode, flags: tuple[str, ...]) -> None:
    """Nothing is continued there, or nothing can be saved."""
    assert LlamaCpp().states(bundle, mode, Options(flags=flags)) is None


def test_images_are_refused() -> None:
    """llama.cpp makes none."""
    with pytest.raises(UnsupportedModel, match="unsupported backend mode `image-generation`"):
        LlamaCpp().launch(_bundle(), Mode.IMAGE, Options(), ADDRESS)


def test_a_model_without_gguf_is_refused() -> None:
    """The message says what is missing."""
    bundle = Bundle(root=ROOT, config=ModelConfig(), weights=())

    with pytest.raises(UnsupportedModel, match="GGUF file"):
        LlamaCpp().launch(bundle, Mode.COMPLETION, Options(), ADDRESS)


def test_no_debugger_is_started_when_a_check_fails() -> None:
    """It would take seconds to look, while users wait."""
    env = LlamaCpp().launch(_bundle(), Mode.COMPLETION, Options(), ADDRESS).env

    assert env["GGML_NO_BACKTRACE"] == "1"


def test_threads_that_wait_do_not_keep_another_engine_from_its_work() -> None:
    """They sleep soon; by default two engines on the same cores slow each other down thirtyfold."""
    env = LlamaCpp().launch(_bundle(), Mode.COMPLETION, Options(), ADDRESS).env

    assert env["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize(
    ("metadata", "refused"),
    [
        ({"general.architecture": "llama"}, False),
        ({"general.architecture": "bert"}, True),
        ({"general.architecture": "nomic-bert"}, True),
        ({"general.architecture": "jina-bert-v2"}, True),
        ({"general.architecture": "gemma-embedding"}, True),
        ({"general.architecture": "new", "new.attention.causal": "false", "new.pooling_type": "1"}, True),
        ({"general.architecture": "dream", "dream.attention.causal": "false"}, False),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": "3"}, False),
        ({}, False),
    ],
)
def test_models_that_only_embed_do_not_chat(metadata: dict[str, str], refused: bool) -> None:
    """They are refused for completion, and served for embeddings."""
    config = ModelConfig(format=Format.GGUF, metadata=metadata)
    engine = LlamaCpp()

    assert (engine.refuse(config, Mode.COMPLETION) is not None) == refused
    assert engine.refuse(config, Mode.EMBEDDING) is None
    assert engine.refuse(config, Mode.RERANKING) is None


def test_models_that_rank_do_nothing_else() -> None:
    """Their pooling says so, whatever the architecture."""
    config = ModelConfig(metadata={"general.architecture": "qwen3", "qwen3.pooling_type": "4"})
    engine = LlamaCpp()

    assert engine.refuse(config, Mode.RERANKING) is None
    assert "ranks documents" in (engine.refuse(config, Mode.EMBEDDING) or "")
    assert "ranks documents" in (engine.refuse(config, Mode.COMPLETION) or "")


def test_the_architecture_is_known_without_a_header_too() -> None:
    """A ModelPack config has the name only."""
    assert LlamaCpp().refuse(ModelConfig(architecture="bert"), Mode.COMPLETION) is not None


def test_a_projector_is_no_model() -> None:
    """For no mode."""
    config = ModelConfig(metadata={"general.architecture": "clip"})

    assert "projector" in (LlamaCpp().refuse(config, Mode.EMBEDDING) or "")


@pytest.mark.parametrize("line", ["", "--threads 4 --ctx-size 2048", '--prompt "Hello, world!" --threads 4'])
def test_extra_arguments_follow_the_defaults(line: str) -> None:
    """They are added, they do not replace; quoted text is one argument."""
    extra = split_flags(line)
    argv = (
        LlamaCpp(EngineSettings(extra_args=extra)).launch(_bundle(), Mode.COMPLETION, Options(), ADDRESS).argv
    )
    base = argv.index("-ngl")

    assert argv[base : base + 2] == ("-ngl", "999")
    assert argv[argv.index("--model") - len(extra) : argv.index("--model")] == extra


@pytest.mark.parametrize(
    "argument",
    [
        *("--model", "--host", "--port", "--embeddings", "--mmproj", "-m", "--model=x", "--api-key"),
        *("--api_key=x", "--no_metrics", "-hf", "--reranking"),
    ],
)
def test_extra_arguments_cannot_take_over(argument: str) -> None:
    """In no spelling."""
    with pytest.raises(InvalidRequest, match=r"invalid LLAMA_ARGS: LLAMA_ARGS cannot override"):
        check_extra(("--threads", "4", argument, "x"))
