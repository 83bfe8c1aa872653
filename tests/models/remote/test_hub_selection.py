import pytest

from modelrunner.errors import ModelNotFound, UnsupportedModel
from modelrunner.models.description.kinds import Format
from modelrunner.models.remote.hub_selection import Choice, HubFile, choose


def _choose(names: str, wish: str = "latest") -> Choice:
    return choose([HubFile(name, 1) for name in names.split()], wish, "org/repo")


def _weights(names: str, wish: str = "latest") -> str:
    return " ".join(file.path for file in _choose(names, wish).weights)


THREE = "m-Q2_K.gguf m-Q4_K_M.gguf m-Q8_0.gguf"
DYNAMIC = "m-Q4_K_M.gguf m-Q4_K_XL.gguf m-UD-Q4_K_XL.gguf m-UD-IQ1_S.gguf m-BF16.gguf"


@pytest.mark.parametrize(
    ("names", "wish", "expected"),
    [
        (THREE, "Q8_0", "m-Q8_0.gguf"),
        (THREE, "latest", "m-Q4_K_M.gguf"),
        (THREE, "main", "m-Q4_K_M.gguf"),
        (THREE, "", "m-Q4_K_M.gguf"),
        (THREE, "q2_k", "m-Q2_K.gguf"),
        (THREE, "m-Q8_0.gguf", "m-Q8_0.gguf"),
        ("m-Q2_K.gguf m-Q3_K_S.gguf", "latest", "m-Q2_K.gguf"),
        ("m.q4_k_m.gguf m.q8_0.gguf", "Q8_0", "m.q8_0.gguf"),
        ("m_IQ4_XS.gguf m_Q8_0.gguf", "IQ4_XS", "m_IQ4_XS.gguf"),
        (DYNAMIC, "UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        (DYNAMIC, "Q4_K_XL", "m-Q4_K_XL.gguf"),
        (DYNAMIC, "IQ1_S", "m-UD-IQ1_S.gguf"),
        (DYNAMIC, "bf16", "m-BF16.gguf"),
        ("model.gguf", "latest", "model.gguf"),
        ("m-a.gguf m-special.gguf", "special", "m-special.gguf"),
        ("Q4_K_M/m-Q4_K_M-00001-of-00002.gguf Q4_K_M/m-Q4_K_M-00002-of-00002.gguf Q8_0/m-Q8_0.gguf", "Q4_K_M",
         "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf Q4_K_M/m-Q4_K_M-00002-of-00002.gguf"),
        ("m-Q4_K_M.gguf imatrix.gguf", "latest", "m-Q4_K_M.gguf"),
        ("m-Q4_K.gguf m-Q4_K_M.gguf m-Q4_K_S.gguf", "Q4_K", "m-Q4_K.gguf"),
        ("m-Q4_K_M.gguf m-Q4_K_M-00001-of-00001.gguf.part", "latest", "m-Q4_K_M.gguf"),
    ],
)  # fmt: skip
def test_a_quantization_is_chosen_by_name(names: str, wish: str, expected: str) -> None:
    """Exactly, in any case, with any separator, in a folder too; without a wish the usual one."""
    assert expected == _weights(names, wish)


@pytest.mark.parametrize(
    ("names", "wish", "hint"),
    [
        (THREE, "Q5_K_M", "`Q2_K`, `Q4_K_M`, `Q8_0`"),
        (THREE, "Q4", "`Q2_K`, `Q4_K_M`, `Q8_0`"),
        ("a/m-Q8_0.gguf b/m-Q8_0.gguf m-Q4_0.gguf", "Q8_0", "choose one of"),
    ],
)
def test_what_is_not_there_or_could_be_several_is_an_error(names: str, wish: str, hint: str) -> None:
    """That lists what there is: another model than was asked for is worse."""
    with pytest.raises(ModelNotFound) as caught:
        _choose(names, wish)

    assert hint in (caught.value.hint or "")


def test_an_incomplete_set_of_shards_is_refused() -> None:
    """Before anything is fetched."""
    with pytest.raises(UnsupportedModel, match="found 1 of 3 shards"):
        _choose("m-Q8_0-00002-of-00003.gguf")


@pytest.mark.parametrize(
    ("projectors", "expected"),
    [
        ("mmproj-BF16.gguf mmproj-F16.gguf mmproj-F32.gguf", "mmproj-F16.gguf"),
        ("mmproj-BF16.gguf mmproj-F32.gguf", "mmproj-BF16.gguf"),
        ("mmproj-F32.gguf", "mmproj-F32.gguf"),
        ("x-mmproj-model-f16.gguf", "x-mmproj-model-f16.gguf"),
    ],
)
def test_a_projector_goes_along(projectors: str, expected: str) -> None:
    """F16 before BF16, which some engines cannot use, before any other; never as the model."""
    choice = _choose(f"m-Q4_0.gguf {projectors}")

    assert choice.projector is not None
    assert ("m-Q4_0.gguf", expected) == (choice.weights[0].path, choice.projector.path)


def test_the_template_is_a_jinja_file_or_none() -> None:
    """`tokenizer_config.json` has one inside, but is none."""
    with_one = _choose("m-Q4_0.gguf chat_template.jinja tokenizer_config.json sub/a.jinja")
    without = _choose("m-Q4_0.gguf tokenizer_config.json chat_template.json")

    assert with_one.template is not None
    assert ("chat_template.jinja", None) == (with_one.template.path, without.template)


def test_a_safetensors_repository_is_taken_whole() -> None:
    """But for code, pictures, hidden files and a second copy of the weights."""
    choice = _choose(
        ".gitattributes LICENSE README.md config.json consolidated.safetensors "
        "model-00001-of-00002.safetensors model-00002-of-00002.safetensors modeling_x.py "
        "original/params.json pytorch_model.bin spiece.model "
        "tokenizer.json vae/diffusion_pytorch_model.safetensors picture.png merges.txt"
    )

    assert Format.SAFETENSORS == choice.format
    assert [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ] == [file.path for file in choice.weights]
    assert ["LICENSE", "README.md", "config.json", "merges.txt", "spiece.model", "tokenizer.json"] == [
        file.path for file in choice.others
    ]


def test_a_consolidated_file_that_is_alone_is_the_model() -> None:
    """There is no other copy of it."""
    assert "consolidated.safetensors" == _weights("consolidated.safetensors params.json")


def test_a_whisper_model_is_what_its_engine_reads() -> None:
    """Of the folder as CTranslate2 has it; without a tokenizer there is none."""
    names = "README.md config.json model.bin tokenizer.json vocabulary.txt LICENSE run.py"
    choice = _choose(names)

    assert (Format.CTRANSLATE2, ["model.bin"]) == (choice.format, [file.path for file in choice.weights])
    assert {"LICENSE", "config.json", "tokenizer.json", "vocabulary.txt"} == {f.path for f in choice.others}
    with pytest.raises(UnsupportedModel):
        _choose("config.json model.bin vocabulary.txt")


def test_a_dduf_file_is_a_model() -> None:
    """Where there is nothing else."""
    assert Format.DDUF == _choose("flux.dduf README.md").format


def test_a_repository_without_weights_is_refused() -> None:
    """In the reference's words."""
    with pytest.raises(UnsupportedModel, match=r"no model weight files \(GGUF or SafeTensors\) found"):
        _choose("pytorch_model.bin config.json")
