import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import InvalidReference
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference, parse_reference

HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("gemma3", "docker.io/ai/gemma3:latest"),
        ("ai/gemma3:latest", "docker.io/ai/gemma3:latest"),
        ("ai/gemma3:v1", "docker.io/ai/gemma3:v1"),
        ("ai/mymodel:latest", "docker.io/ai/mymodel:latest"),
        ("myorg/model:Q4_K_M", "docker.io/myorg/model:Q4_K_M"),
        ("library/gemma3:latest", "docker.io/library/gemma3:latest"),
        ("docker.io/gemma3:latest", "docker.io/ai/gemma3:latest"),
        ("index.docker.io/ai/gemma3:v1", "docker.io/ai/gemma3:v1"),
        ("registry-1.docker.io/ai/gemma3:v1", "docker.io/ai/gemma3:v1"),
        ("registry.example.com/model:latest", "registry.example.com/model:latest"),
        ("registry.example.com/org/model:V1", "registry.example.com/org/model:V1"),
        ("localhost:5000/m:latest", "localhost:5000/m:latest"),
        ("localhost/m:latest", "localhost/m:latest"),
        ("127.0.0.1:5000/o/m:1", "127.0.0.1:5000/o/m:1"),
        ("[::1]:5000/o/m:1", "[::1]:5000/o/m:1"),
        ("huggingface.co/org/m-gguf:Q8_0", "huggingface.co/org/m-gguf:Q8_0"),
        ("hf.co/org/m:latest", "hf.co/org/m:latest"),
        (f"ai/gemma3@{DIGEST}", f"docker.io/ai/gemma3@{DIGEST}"),
        (f"ai/gemma3:V1@{DIGEST}", f"docker.io/ai/gemma3:V1@{DIGEST}"),  # not dropped, as the reference does
        ("1234567890ab", "docker.io/ai/1234567890ab:latest"),
        (f"sha256:{HEX}", f"docker.io/ai/sha256:{HEX}"),
        ("ai/sha256:1234", "docker.io/ai/sha256:1234"),
        ("ai/abc123:latest", "docker.io/ai/abc123:latest"),
        ("a/b__c/d---e/f.g_h", "docker.io/a/b__c/d---e/f.g_h:latest"),
    ],
)
def test_a_reference_has_one_canonical_form(text: str, canonical: str) -> None:
    """Registry, organisation and tag are filled in."""
    assert str(parse_reference(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "gemma3:",
        HEX,
        "ai/invalid:reference:format",
        "https://huggingface.co/o/m:latest",
        "Model",
        "ai/Model",
        "ai//model",
        "ai/model/",
        "/model",
        "ai/-model",
        "ai/model_",
        "ai/mo___del",
        "ai/model:.tag",
        f"ai/model:{'t' * 129}",
        "ai/model:tag\n",
        "ai/mod el",
        "../../etc/passwd",
        "ai/../model",
        "ai/model@",
        "ai/model@sha256:abc",
        f"ai/model@{DIGEST}@{DIGEST}",
        f"ai/{'m' * 260}",
        "host.example:99999/m",
        "host.example:0/m",
        "[::::1]/m",
        "user:password@host.example/m",
        "-host.example/m",
    ],
)
def test_text_outside_of_the_grammar_is_refused(text: str) -> None:
    """The error names the text."""
    with pytest.raises(InvalidReference, match="invalid model reference"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ai/gemma3:latest", "foo.io/ai/gemma3:latest"),
        ("docker.io/ai/gemma3", "docker.io/ai/gemma3:latest"),
        ("model", "foo.io/model:latest"),
    ],
)
def test_only_a_name_without_a_registry_belongs_to_the_default_one(text: str, canonical: str) -> None:
    """An explicit Docker Hub stays Docker Hub."""
    assert str(parse_reference(text, default_registry="foo.io")) == canonical


@pytest.mark.parametrize(
    ("text", "default_registry", "familiar"),
    [
        ("ai/gemma3", "docker.io", "ai/gemma3:latest"),
        ("ai/gemma3", "index.docker.io", "ai/gemma3:latest"),
        ("docker.io/gemma3:v1", "docker.io", "ai/gemma3:v1"),
        (f"ai/gemma3:v1@{DIGEST}", "docker.io", f"ai/gemma3:v1@{DIGEST}"),
        ("registry.example.com/m:1", "docker.io", "registry.example.com/m:1"),
        ("docker.io/v1.0/m:1", "docker.io", "docker.io/v1.0/m:1"),
        ("docker.io/localhost/m:1", "docker.io", "docker.io/localhost/m:1"),
        ("docker.io/ai/gemma3", "foo.io", "docker.io/ai/gemma3:latest"),
        ("ai/gemma3", "foo.io", "foo.io/ai/gemma3:latest"),
        ("gemma3", "foo.io", "foo.io/gemma3:latest"),
    ],
)
def test_docker_hub_is_silent_in_the_familiar_form(text: str, default_registry: str, familiar: str) -> None:
    """Other registries keep their host; Docker Hub does too where a name without a host is another's."""
    assert parse_reference(text, default_registry=default_registry).familiar == familiar


def test_where_a_reference_was_read_is_no_part_of_it() -> None:
    """The same artifact is the same, whatever names without a registry mean."""
    one = parse_reference("docker.io/ai/x")
    other = parse_reference("docker.io/ai/x", default_registry="foo.io")

    assert (one, hash(one)) == (other, hash(other))


def test_a_digest_without_its_tag() -> None:
    """What is left names the tag, or `latest` when there was none."""
    left = [
        str(parse_reference(text).without_digest)
        for text in (f"ai/x:v1@{DIGEST}", f"ai/x@{DIGEST}", "ai/x:v1")
    ]

    assert left == ["docker.io/ai/x:v1", "docker.io/ai/x:latest", "docker.io/ai/x:v1"]


_component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
_registries = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "127.0.0.1:80", "a.example.com", "UPPER", "[::1]:443"]
)


@st.composite
def _references(draw: st.DrawFn) -> Reference:
    registry = draw(_registries)
    least = 2 if registry == "docker.io" else 1
    repository = "/".join(draw(st.lists(_component, min_size=least, max_size=4)))
    digest = Digest("sha256", draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)))
    tag = draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
    kind = draw(st.sampled_from(["tag", "digest", "both"]))
    return Reference(
        registry, repository, None if kind == "digest" else tag, None if kind == "tag" else digest
    )


_DEFAULTS = st.sampled_from(
    ["docker.io", "index.docker.io", "foo.io", "localhost:5000", "127.0.0.1:80", "[::1]"]
)


@given(_references(), _DEFAULTS)
def test_a_printed_reference_reads_as_itself(reference: Reference, default_registry: str) -> None:
    """Parsing and printing are inverse, also for the familiar form, whatever the default registry is."""
    read = parse_reference(str(reference), default_registry=default_registry)

    assert read == reference
    assert str(read) == str(reference)
    assert parse_reference(read.familiar, default_registry=default_registry) == reference


_pieces = st.lists(
    st.one_of(
        _component,
        _registries,
        st.sampled_from(
            [":", "/", "@", "//", ".", "-", "..", ":latest", "ai/", "hf.co/", f"@{DIGEST}", HEX, "A"]
        ),
    ),
    max_size=8,
).map("".join)


@given(st.one_of(st.text(max_size=60), _pieces), _DEFAULTS)
def test_any_text_is_a_reference_or_a_clear_error(text: str, default_registry: str) -> None:
    """Nothing but our own error comes out, and what is accepted is stable in both forms."""
    try:
        reference = parse_reference(text, default_registry=default_registry)
    except InvalidReference:
        return
    again = parse_reference(str(reference), default_registry=default_registry)

    assert again == reference
    assert str(again) == str(reference)
    assert parse_reference(reference.familiar, default_registry=default_registry) == reference
