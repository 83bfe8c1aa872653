"""What people type, as references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import InvalidReference
from modelrunner.models.description.names import as_id, is_hugging_face, parse_name
from modelrunner.oci.endpoint import endpoint
from modelrunner.oci.reference import parse_reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
LOCAL = "registry.local:5000"


# Every row of the reference's table that is a name, with one difference that is meant: a digest beside a tag
# is kept, as is the tag's case, and both have to agree. The rows that are refused are below; those that are
# the id of a model here are the store's.
@pytest.mark.parametrize(
    ("typed", "canonical", "familiar"),
    [
        ("gemma3", "docker.io/ai/gemma3:latest", "ai/gemma3:latest"),
        ("gemma3:v1", "docker.io/ai/gemma3:v1", "ai/gemma3:v1"),
        ("gemma3:", "docker.io/ai/gemma3:latest", "ai/gemma3:latest"),
        ("  gemma3  ", "docker.io/ai/gemma3:latest", "ai/gemma3:latest"),
        ("MyModel", "docker.io/ai/mymodel:latest", "ai/mymodel:latest"),
        ("MyOrg/Model:Q4_K_M", "docker.io/myorg/model:Q4_K_M", "myorg/model:Q4_K_M"),
        ("library/gemma3", "docker.io/library/gemma3:latest", "library/gemma3:latest"),
        ("docker.io/gemma3", "docker.io/ai/gemma3:latest", "ai/gemma3:latest"),
        ("index.docker.io/ai/gemma3:v1", "docker.io/ai/gemma3:v1", "ai/gemma3:v1"),
        (
            "registry.example.com/model",
            "registry.example.com/model:latest",
            "registry.example.com/model:latest",
        ),
        (
            "registry.example.com/Org/Model:V1",
            "registry.example.com/org/model:V1",
            "registry.example.com/org/model:V1",
        ),
        ("localhost:5000/m", "localhost:5000/m:latest", "localhost:5000/m:latest"),
        ("localhost/m", "localhost/m:latest", "localhost/m:latest"),
        ("127.0.0.1:5000/o/m:1", "127.0.0.1:5000/o/m:1", "127.0.0.1:5000/o/m:1"),
        ("hf.co/Org/Model", "huggingface.co/org/model:latest", "huggingface.co/org/model:latest"),
        ("hf.co/Org/M-GGUF:Q8_0", "huggingface.co/org/m-gguf:Q8_0", "huggingface.co/org/m-gguf:Q8_0"),
        ("HF.co/Org/M", "hf.co/org/m:latest", "hf.co/org/m:latest"),
        (f"gemma3@{DIGEST}", f"docker.io/ai/gemma3@{DIGEST}", f"ai/gemma3@{DIGEST}"),
        (f"ai/gemma3:V1@{DIGEST}", f"docker.io/ai/gemma3:V1@{DIGEST}", f"ai/gemma3:V1@{DIGEST}"),
        ("1234567890ab", "docker.io/ai/1234567890ab:latest", "ai/1234567890ab:latest"),
        (DIGEST, f"docker.io/ai/{DIGEST}", f"ai/{DIGEST}"),
        ("sha256:1234", "docker.io/ai/sha256:1234", "ai/sha256:1234"),
        ("abc123", "docker.io/ai/abc123:latest", "ai/abc123:latest"),
        ("1234567890AB", "docker.io/ai/1234567890ab:latest", "ai/1234567890ab:latest"),
    ],
)
def test_a_typed_name_becomes_a_canonical_one(typed: str, canonical: str, familiar: str) -> None:
    """Organisation `ai`, tag `latest`, lower case but in the tag; both printed forms read as the same."""
    reference = parse_name(typed)

    assert (canonical, familiar) == (str(reference), reference.familiar)
    assert [reference, reference] == [parse_reference(canonical), parse_reference(familiar)]


@pytest.mark.parametrize(
    ("typed", "base"),
    [
        ("gemma3", "https://registry-1.docker.io"),
        ("registry.example.com/model", "https://registry.example.com"),
        ("localhost:5000/m", "http://localhost:5000"),
        ("localhost/m", "http://localhost"),
        ("nas.local/m", "http://nas.local"),
        # The reference speaks TLS here; to loopback that is what no registry does, and no other client.
        ("127.0.0.1:5000/o/m:1", "http://127.0.0.1:5000"),
    ],
)
def test_a_typed_name_says_how_its_registry_is_spoken_to(typed: str, base: str) -> None:
    """Plain HTTP is for this machine and for `.local`; Docker Hub's API has a host of its own."""
    assert base == endpoint(parse_name(typed).registry).base


@pytest.mark.parametrize("typed", ["gemma3", "registry.example.com/model", "docker.io/ai/x"])
def test_insecure_registry_is_for_every_registry(typed: str) -> None:
    """Also for one that is named."""
    assert endpoint(parse_name(typed).registry, insecure_all=True).is_plain


@pytest.mark.parametrize(
    ("typed", "default_registry", "canonical", "familiar"),
    [
        ("gemma3", "docker.io", "docker.io/ai/gemma3:latest", "ai/gemma3:latest"),
        ("gemma3", "foo.io", "foo.io/ai/gemma3:latest", "foo.io/ai/gemma3:latest"),
        ("foo.io/ai/gemma3", "foo.io", "foo.io/ai/gemma3:latest", "foo.io/ai/gemma3:latest"),
        ("docker.io/gemma3", "foo.io", "docker.io/ai/gemma3:latest", "docker.io/ai/gemma3:latest"),
        ("index.docker.io/ai/x", "foo.io", "docker.io/ai/x:latest", "docker.io/ai/x:latest"),
        ("hf.co/Org/Model", "foo.io", "huggingface.co/org/model:latest", "huggingface.co/org/model:latest"),
    ],
)
def test_the_default_registry_is_that_of_names_that_give_none(
    typed: str, default_registry: str, canonical: str, familiar: str
) -> None:
    """A model of Docker Hub keeps its host in the familiar form when short names are another registry's."""
    reference = parse_name(typed, default_registry=default_registry)

    assert (canonical, familiar) == (str(reference), reference.familiar)
    assert reference == parse_name(familiar, default_registry=default_registry)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        HEX,
        "invalid:reference:format",
        "https://huggingface.co/o/m",
        "some-repo:invalid tag!",
        f"gemma3@sha256:{HEX[:-1]}",
        f"gemma3:@{DIGEST}",
        "gemma3@",
        "../etc/passwd",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a" * 5000,
    ],
)
def test_what_is_no_name_is_refused(typed: str) -> None:
    """Whatever is outside the grammar is an invalid reference."""
    with pytest.raises(InvalidReference):
        parse_name(typed)


def test_an_address_is_refused_with_the_way_out() -> None:
    """Somebody who pastes an address is told to leave the scheme out, and which ones are no mistake."""
    with pytest.raises(InvalidReference) as caught:
        parse_name("https://huggingface.co/o/m")

    assert "leave `https://` out; only files that end in `.gguf` are fetched by address" == caught.value.hint


@pytest.mark.parametrize(
    "typed", ["x", "x:latest", "ai/x", "ai/x:latest", f"{LOCAL}/ai/x", f"{LOCAL}/ai/x:latest"]
)
def test_all_spellings_of_a_name_are_the_same_with_another_default_registry(typed: str) -> None:
    """Short, with the organisation and in full, a name means the one model."""
    assert f"{LOCAL}/ai/x:latest" == str(parse_name(typed, default_registry=LOCAL))


@pytest.mark.parametrize("typed", ["x", "ai/x", f"{LOCAL}/ai/x"])
def test_all_spellings_with_a_digest_are_the_same(typed: str) -> None:
    """The digest selects the content, and no tag is invented beside it."""
    assert f"{LOCAL}/ai/x@{DIGEST}" == str(parse_name(f"{typed}@{DIGEST}", default_registry=LOCAL))


def test_docker_hub_is_never_replaced_when_it_is_named() -> None:
    """An explicit registry wins over the default one."""
    assert str(parse_name("docker.io/ai/x", default_registry="foo.io")) == "docker.io/ai/x:latest"


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        (HEX, HEX),
        (DIGEST, HEX),
        (HEX[:12], HEX[:12]),
        (f" {HEX[:12]}\n", HEX[:12]),
        (HEX[:11], None),
        (HEX[:13], None),
        (f"sha256:{HEX[:12]}", None),
        (HEX.upper(), None),
        (HEX[:12].upper(), None),
        (f"sha512:{HEX}", None),
        (f"sha256:{HEX}0", None),
        ("g" * 12, None),
        ("١٢٣٤٥٦٧٨٩٠١٢", None),
        ("", None),
    ],
)
def test_an_id_has_12_or_64_lower_case_digits(text: str, digits: str | None) -> None:
    """Nothing else is taken for an id."""
    assert digits == as_id(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf.co/Org/Model", True),
        (" huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct:abc123", True),
        ("huggingface.co/model:latest", True),
        ("HF.co/Org/M", False),
        ("hf.company/org/m", False),
        ("registry.example.com/hf.co/m", False),
        ("ai/gemma3", False),
        ("", False),
    ],
)
def test_hugging_face_is_recognised_by_its_hosts(text: str, expected: bool) -> None:
    """Only the two spellings of its host, in lower case."""
    assert expected is is_hugging_face(text)


_component = st.from_regex(r"[A-Za-z0-9]{1,6}((\.|_|__|-{1,3})[A-Za-z0-9]{1,6}){0,2}", fullmatch=True)
_hosts = st.sampled_from(
    ["", "docker.io/", "index.docker.io/", "hf.co/", "localhost:5000/", "Foo.io/", "[::1]:80/"]
)
_defaults = st.sampled_from(["docker.io", "foo.io", "localhost:5000", "registry.local"])


@st.composite
def _names(draw: st.DrawFn) -> str:
    """What somebody may type: any case, with or without organisation, tag and digest, blanks around it."""
    host = draw(_hosts)
    path = "/".join(draw(st.lists(_component, min_size=1, max_size=3)))
    if not host and "." in path.partition("/")[0]:
        host = "docker.io/"  # or the first part would be the host
    tag = draw(st.from_regex(r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,12})?", fullmatch=True))
    digest = draw(st.sampled_from(["", f"@{DIGEST}"]))
    blank = draw(st.sampled_from(["", " ", "\n"]))
    return f"{blank}{host}{path}{tag}{digest}{blank}"


@given(_names(), _defaults)
def test_every_name_of_the_grammar_is_read_and_printed(typed: str, default_registry: str) -> None:
    """Both printed forms read as the same reference, and print as they are."""
    reference = parse_name(typed, default_registry=default_registry)
    again = parse_name(str(reference), default_registry=default_registry)

    assert (reference, str(reference)) == (again, str(again))
    assert reference == parse_name(reference.familiar, default_registry=default_registry)


@given(st.text(max_size=80), _defaults)
def test_any_text_is_a_reference_or_refused(text: str, default_registry: str) -> None:
    """No text fails in another way, and a canonical name stays what it is."""
    try:
        reference = parse_name(text, default_registry=default_registry)
    except InvalidReference:
        return
    assert reference == parse_name(str(reference), default_registry=default_registry)
    assert reference == parse_name(reference.familiar, default_registry=default_registry)
