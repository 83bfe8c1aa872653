"""Configurations of all three kinds, read and written."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import UnsupportedModel
from modelrunner.models.description.config import (
    ModelConfig,
    check_config_type,
    config_cncf,
    config_v01,
    go_json,
    parse_config,
    rfc3339,
)
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_TYPES, CONFIG_V01, CONFIG_V02, Format
from modelrunner.oci.digest import Digest

CREATED = datetime(2025, 6, 15, 12, tzinfo=UTC)
DIGEST = Digest.of(b"hello")
DOCKER = b"""{"config":{"format":"gguf","quantization":"MOSTLY_Q4_K_M","parameters":"361.82M",
 "architecture":"llama","size":"256.35MiB","gguf":{"general.file_type":"15","llama.context_length":"8192"},
 "context_size":8192},
 "descriptor":{"created":"2025-06-15T12:00:00Z"},"rootfs":{"type":"rootfs","diff_ids":[]}}"""
PACK = b"""{"descriptor":{"createdAt":"2025-06-15T12:00:00Z","family":"llama"},
 "modelfs":{"type":"layers","diffIds":[]},
 "config":{"architecture":"llama","format":"GGUF","paramSize":"8b","quantization":"Q4"}}"""
FROM_DOCKER = ModelConfig(
    format=Format.GGUF,
    architecture="llama",
    parameters="361.82M",
    quantization="MOSTLY_Q4_K_M",
    size="256.35MiB",
    context_size=8192,
    created=CREATED,
    metadata={"general.file_type": "15", "llama.context_length": "8192"},
)
FROM_PACK = ModelConfig(
    format=Format.GGUF,
    architecture="llama",
    parameters="8b",
    quantization="Q4",
    size="8b",
    created=CREATED,
)


@pytest.mark.parametrize(
    ("raw", "media_type", "config"),
    [
        (DOCKER, CONFIG_V01, FROM_DOCKER),
        (DOCKER, CONFIG_V02, FROM_DOCKER),
        (DOCKER, "", FROM_DOCKER),
        (DOCKER, "application/vnd.oci.image.config.v1+json", FROM_DOCKER),
        (PACK, CONFIG_CNCF, FROM_PACK),
        (PACK, "", FROM_PACK),
    ],
)
def test_a_configuration_is_read_by_its_type_and_else_by_its_content(
    raw: bytes, media_type: str, config: ModelConfig
) -> None:
    """Docker's two versions share one form; CNCF's size is its number of parameters."""
    assert config == parse_config(raw, media_type)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"modelfs":{},"config":{"format":"gguf","paramSize":"1b"}}',
        b'{"descriptor":{"createdAt":"2025-06-15T12:00:00Z"},"config":{"format":"gguf","paramSize":"1b"}}',
        b'{"config":{"format":"gguf","paramSize":"1b"}}',
    ],
)
def test_any_of_three_keys_marks_the_pack_of_an_unknown_type(raw: bytes) -> None:
    """The keys alone count, at their places."""
    assert parse_config(raw, "unknown").parameters == "1b"


def test_the_same_words_as_values_mark_nothing() -> None:
    """Docker's form may speak of paramSize and modelfs."""
    raw = (
        b'{"config":{"parameters":"paramSize","architecture":"modelfs"},"descriptor":{"created":"createdAt"}}'
    )

    assert parse_config(raw, "unknown").parameters == "paramSize"


def test_docker_s_type_wins_over_the_public_specification_s_key() -> None:
    """`createdAt` alone would make it ModelPack, and its size would be lost."""
    raw = b'{"config":{"size":"1GB"},"descriptor":{"createdAt":"2025-06-15T12:00:00Z"}}'

    config = parse_config(raw, CONFIG_V01)

    assert (config.size, config.created) == ("1GB", CREATED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gguf", Format.GGUF),
        ("safetensors", Format.SAFETENSORS),
        ("dduf", Format.DDUF),
        ("diffusers", Format.DDUF),
        ("GGUF", Format.GGUF),
        ("onnx", Format.ONNX),
        ("pickle", None),
        ("", None),
    ],
)
def test_formats_are_known_by_name(text: str, expected: Format | None) -> None:
    """Diffusers is an old name of DDUF; unknown formats are not an error here."""
    assert expected is parse_config(go_json({"config": {"format": text}}), CONFIG_V01).format


@pytest.mark.parametrize(
    ("tokens", "expected"), [(4096, 4096), (0, None), (-1, None), (2**31 - 1, 2**31 - 1), (2**31, None)]
)
def test_a_context_size_out_of_range_is_unknown(tokens: int, expected: int | None) -> None:
    """It is a positive number of 32 bits."""
    assert expected == parse_config(go_json({"config": {"context_size": tokens}}), CONFIG_V01).context_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-06-15T12:00:00Z", CREATED),
        ("2025-06-15T14:00:00+02:00", CREATED),
        ("2025-06-15T12:00:00.123456789Z", CREATED.replace(microsecond=123456)),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00:00+23:00", None),
    ],
)
def test_the_time_of_creation_is_read_or_unknown(text: str, expected: datetime | None) -> None:
    """RFC 3339 in any zone; what is no date is no reason to refuse a model."""
    assert expected == parse_config(go_json({"descriptor": {"created": text}}), CONFIG_V01).created


def test_fields_that_are_null_or_missing_are_unknown() -> None:
    """Other writers leave out differently."""
    raw = (
        b'{"config":{"format":null,"gguf":null,"context_size":null},"descriptor":null,"rootfs":null,"more":1}'
    )

    assert ModelConfig() == parse_config(raw, CONFIG_V01) == parse_config(b"{}", CONFIG_CNCF)


def test_values_of_the_header_that_are_no_strings_become_such() -> None:
    """The public specification nests them."""
    raw = b'{"config":{"format":"gguf","gguf":{"a":1,"b":{"c":true},"d":"e"}}}'

    assert parse_config(raw, CONFIG_V01).metadata == {"a": "1", "b": '{"c":true}', "d": "e"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{",
        b'{"config":[]}',
        b'{"config":"text"}',
        b'{"config":{"format":5}}',
        b'{"config":{"context_size":"many"}}',
        b'{"config":{"gguf":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
    ],
)
@pytest.mark.parametrize("media_type", [CONFIG_V01, ""])
def test_what_is_no_configuration_is_refused(raw: bytes, media_type: str) -> None:
    """Wrong JSON, and right JSON of a wrong shape."""
    with pytest.raises(UnsupportedModel, match="unreadable model configuration"):
        parse_config(raw, media_type)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_configuration_or_refused(raw: bytes) -> None:
    """Nothing else can happen."""
    for media_type in (*CONFIG_TYPES, ""):
        try:
            parse_config(raw, media_type)
        except UnsupportedModel:
            continue


def test_known_types_pass_the_check_before_a_pull() -> None:
    """Three types are known, and an artifact of another is refused before its layers are fetched."""
    for media_type in CONFIG_TYPES:
        check_config_type(media_type)

    unknown = "application/vnd.docker.ai.model.config.v99.0+json"
    with pytest.raises(UnsupportedModel, match=r"unsupported model config media type: `.*v99"):
        check_config_type(unknown)


def test_docker_s_form_is_written_in_the_reference_s_order() -> None:
    """Keys in order, the header's keys sorted by bytes, empty fields left out."""
    config = ModelConfig(
        format=Format.GGUF,
        parameters="8B",
        context_size=4096,
        created=CREATED,
        metadata={"b": "<&>", "B": "ü\u2028", "a": '"\\\n\x01'},
    )

    assert config_v01(config, [DIGEST]) == (
        b'{"config":{"format":"gguf","parameters":"8B","gguf":{"B":"\xc3\xbc\\u2028",'
        b'"a":"\\"\\\\\\n\\u0001","b":"\\u003c\\u0026\\u003e"},"context_size":4096},'
        b'"descriptor":{"created":"2025-06-15T12:00:00Z"},'
        b'"rootfs":{"type":"rootfs","diff_ids":["%s"]}}' % str(DIGEST).encode()
    )


def test_an_empty_configuration_keeps_its_three_objects() -> None:
    """Only their fields are left out."""
    assert config_v01(ModelConfig(), []) == (
        b'{"config":{},"descriptor":{},"rootfs":{"type":"rootfs","diff_ids":[]}}'
    )


def test_what_is_written_reads_back() -> None:
    """In Docker's form nothing is lost."""
    assert FROM_DOCKER == parse_config(config_v01(FROM_DOCKER, [DIGEST]), CONFIG_V01)


def test_a_pack_has_its_own_names_and_one_decimal() -> None:
    """Size, context size and the header have no place in it."""
    assert config_cncf(FROM_DOCKER, [DIGEST]) == (
        b'{"descriptor":{"createdAt":"2025-06-15T12:00:00Z","family":"llama"},'
        b'"modelfs":{"type":"layers","diffIds":["%s"]},'
        b'"config":{"architecture":"llama","format":"gguf","paramSize":"361.8M","quantization":"MOSTLY_Q4_K_M"}}'
        % str(DIGEST).encode()
    )


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (CREATED, "2025-06-15T12:00:00Z"),
        (CREATED.replace(microsecond=120000), "2025-06-15T12:00:00.12Z"),
        (datetime(2025, 6, 15, 14, tzinfo=timezone(timedelta(hours=2))), "2025-06-15T12:00:00Z"),
    ],
)
def test_times_are_written_in_utc_without_needless_digits(moment: datetime, text: str) -> None:
    """As Go's time.Time does."""
    assert text == rfc3339(moment)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("16.78 M", "16.78M"),
        ("256.35 MiB", "256.35MiB"),
        ("  100 KB  ", "100KB"),
        ("361.82M", "361.82M"),
        ("8 x 7 B", "8 x 7B"),
        ("", ""),
    ],
)
def test_units_stand_right_behind_their_numbers(written: str, shown: str) -> None:
    """Older artifacts have a space between them (distribution 11.14)."""
    docker = json.dumps({"config": {"parameters": written, "size": written}}).encode()
    pack = json.dumps({"config": {"paramSize": written}}).encode()

    for raw, kind in ((docker, CONFIG_V01), (pack, CONFIG_CNCF)):
        config = parse_config(raw, kind)
        assert (shown, shown) == (config.parameters, config.size)
