"""Directories that engines are pointed at."""

import errno
import io
import os
import shutil
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelrunner.errors import InsufficientStorage, RunnerError, StoreError, UnsupportedModel
from modelrunner.models.artifacts.packages import package_gguf
from modelrunner.models.bundles.bundle import Bundle, _translate, load_bundle, unpack
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import CONFIG_CNCF, CONFIG_V01, CONFIG_V02, Format
from modelrunner.testing.artifacts import Artifacts, Layer
from modelrunner.testing.gguf import tiny_gguf

FULL: list[Layer] = [
    (kinds.GGUF_LAYER, "m-00001-of-00002.gguf", b"one"),
    (kinds.GGUF_LAYER, "m-00002-of-00002.gguf", b"two"),
    (kinds.LICENSE_LAYER, "LICENSE", b"MIT"),
    (kinds.TEMPLATE_LAYER, "t.jinja", b"{{ x }}"),
    (kinds.PROJECTOR_LAYER, "p.gguf", b"eyes"),
    (kinds.LORA_LAYER, "l.gguf", b"lora"),
]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "bundles" / "sha256" / "abc"


def test_a_model_of_docker_s_first_form_is_laid_out(artifacts: Artifacts, target: Path) -> None:
    """Under the names that the reference gives, with the inner configuration beside."""
    config = b'{"config":{"format":"gguf","context_size":4096},"descriptor":{}}'
    manifest, parsed = artifacts.make(FULL, config=config)

    bundle = unpack(manifest, parsed, artifacts.path, target)

    assert {
        "config.json": b'{"format":"gguf","context_size":4096}\n',
        "model/model-00001-of-00002.gguf": b"one",
        "model/model-00002-of-00002.gguf": b"two",
        "model/model.mmproj": b"eyes",
        "model/template.jinja": b"{{ x }}",
        "model/model-00001.lora": b"lora",
    } == tree(target)
    model = target / "model"
    assert bundle.root == target
    assert bundle.weights == (model / "model-00001-of-00002.gguf", model / "model-00002-of-00002.gguf")
    assert bundle.projector == model / "model.mmproj"
    assert bundle.template == model / "template.jinja"
    assert bundle.adapters == (model / "model-00001.lora",)
    assert bundle.config == parsed
    assert [entry.name for entry in target.parent.iterdir()] == ["abc"]


def test_a_packaged_file_is_laid_out(tmp_path: Path, target: Path) -> None:
    """From packaging to the engine's directory."""
    draft = package_gguf(tiny_gguf(tmp_path / "m.gguf"))
    (tmp_path / "config").write_bytes(draft.config_bytes)
    where = {**draft.paths, draft.manifest_value.config.digest: tmp_path / "config"}

    bundle = unpack(draft.manifest_value, draft.config, where.__getitem__, target)

    assert bundle.weights == (target / "model" / "model.gguf",)
    assert bundle.weights[0].samefile(tmp_path / "m.gguf")


def test_a_tree_is_laid_out_as_it_was(artifacts: Artifacts, target: Path) -> None:
    """Docker's second form; the model's own config.json does not meet ours."""
    manifest, config = artifacts.make(
        [
            (kinds.FILE_LAYER, "config.json", b'{"own":1}'),
            (kinds.SAFETENSORS_LAYER, "sub/m.safetensors", b"weights"),
            (kinds.LICENSE_LAYER, "LICENSE", b"MIT"),
            (kinds.FILE_LAYER, None, b"nameless"),
        ],
        config_type=CONFIG_V02,
        config=ModelConfig(format=Format.SAFETENSORS),
    )

    bundle = unpack(manifest, config, artifacts.path, target)

    assert {
        "config.json": b'{"format":"safetensors"}\n',
        "model/config.json": b'{"own":1}',
        "model/sub/m.safetensors": b"weights",
        "model/LICENSE": b"MIT",
    } == tree(target)
    assert bundle.weights == (target / "model" / "sub" / "m.safetensors",)


def test_a_pack_is_laid_out_with_its_whole_configuration(artifacts: Artifacts, target: Path) -> None:
    """And with the format that its layers tell."""
    raw = b'{"modelfs":{"type":"layers","diffIds":[]},"config":{"paramSize":"1b"}}'
    manifest, config = artifacts.make(
        [
            (kinds.CNCF_WEIGHT, "m-Q4.gguf", b"weights"),
            (kinds.CNCF_WEIGHT, "mmproj-F16.gguf", b"eyes"),
            (kinds.CNCF_WEIGHT_CONFIG, "chat_template.jinja", b"{{ x }}"),
        ],
        config_type=CONFIG_CNCF,
        config=raw,
        artifact_type=kinds.CNCF_MANIFEST,
    )

    bundle = unpack(manifest, config, artifacts.path, target)

    assert raw + b"\n" == (target / "config.json").read_bytes()
    assert bundle.weights == (target / "model" / "m-Q4.gguf",)
    assert bundle.projector == target / "model" / "mmproj-F16.gguf"
    assert bundle.template == target / "model" / "chat_template.jinja"
    assert bundle.config.format is Format.GGUF


def test_files_are_links_to_the_blobs(artifacts: Artifacts, target: Path) -> None:
    """A model takes its space once."""
    manifest, config = artifacts.make(FULL)

    bundle = unpack(manifest, config, artifacts.path, target)

    assert bundle.weights[0].samefile(artifacts.path(manifest.layers[0].digest))


def test_files_are_copied_where_they_cannot_be_linked(
    artifacts: Artifacts, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On file systems without hard links, or when the blobs are on another one."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    manifest, config = artifacts.make(FULL)

    bundle = unpack(manifest, config, artifacts.path, target)

    assert bundle.weights[0].read_bytes() == b"one"
    assert not bundle.weights[0].samefile(artifacts.path(manifest.layers[0].digest))


def test_a_bundle_is_found_again_with_the_same_parts(artifacts: Artifacts, target: Path) -> None:
    """The first use and the later ones do not differ."""
    manifest, config = artifacts.make(FULL)
    first = unpack(manifest, config, artifacts.path, target)

    assert first == load_bundle(target, manifest, config)


@pytest.mark.parametrize("gone", ["config.json", "model", "model/model-00002-of-00002.gguf", "."])
def test_an_incomplete_bundle_is_not_used_but_made_again(
    artifacts: Artifacts, target: Path, gone: str
) -> None:
    """Whatever is missing."""
    manifest, config = artifacts.make(FULL)
    first = unpack(manifest, config, artifacts.path, target)
    path = target / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()

    assert load_bundle(target, manifest, config) is None
    assert first == unpack(manifest, config, artifacts.path, target)
    assert first == load_bundle(target, manifest, config)
    assert [entry.name for entry in target.parent.iterdir()] == ["abc"]


def test_a_file_of_the_wrong_size_makes_a_bundle_incomplete(artifacts: Artifacts, target: Path) -> None:
    """Another program may have left it."""
    manifest, config = artifacts.make(FULL)
    bundle = unpack(manifest, config, artifacts.path, target)
    bundle.weights[0].unlink()
    bundle.weights[0].write_bytes(b"other size")

    assert load_bundle(target, manifest, config) is None


def test_a_complete_bundle_is_left_alone(artifacts: Artifacts, target: Path) -> None:
    """Another process may have been faster, and its engine reads it."""
    manifest, config = artifacts.make(FULL)
    unpack(manifest, config, artifacts.path, target)
    before = target.stat().st_ino

    unpack(manifest, config, artifacts.path, target)

    assert before == target.stat().st_ino


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "incomplete"])
def test_several_lay_the_same_model_out_at_once(
    artifacts: Artifacts, target: Path, *, is_there: bool
) -> None:
    """As an estimate and a load do; whatever the others are about to do, each has the whole model."""
    manifest, config = artifacts.make(FULL)
    for _ in range(50):
        if is_there:
            (target / "rest").mkdir(parents=True)
        start = threading.Barrier(4)

        def lay_out(start: threading.Barrier = start) -> Bundle:
            start.wait()
            return unpack(manifest, config, artifacts.path, target)

        with ThreadPoolExecutor(4) as threads:
            bundles = [done.result() for done in [threads.submit(lay_out) for _ in range(4)]]

        assert [load_bundle(target, manifest, config)] * 4 == bundles
        assert [entry.name for entry in target.parent.iterdir()] == ["abc"]
        shutil.rmtree(target)


def test_archives_are_unpacked_beside_the_weights(artifacts: Artifacts, target: Path) -> None:
    """The weights' own layers win over files of their names in archives; blobs stay as they are."""
    manifest, config = artifacts.make(
        [
            (kinds.SAFETENSORS_LAYER, None, b"weights"),
            (kinds.VLLM_CONFIG_ARCHIVE, None, tar(config__json=b"{}", model__safetensors=b"evil")),
            (kinds.DIRECTORY_ARCHIVE, None, tar(config__json=b'{"a":1}', extra__txt=b"x")),
            (kinds.FILE_LAYER, "extra.txt", b"later"),
        ],
    )

    bundle = unpack(manifest, config, artifacts.path, target)

    assert {
        "config.json": b'{"a":1}',
        "extra.txt": b"x",
        "model.safetensors": b"weights",
    } == tree(target / "model")
    assert bundle == load_bundle(target, manifest, config)
    assert artifacts.path(manifest.layers[0].digest).read_bytes() == b"weights"


def test_weights_may_come_in_an_archive(artifacts: Artifacts, target: Path) -> None:
    """CNCF allows it; the parts are then told by name."""
    manifest, config = artifacts.make(
        [("application/vnd.cncf.model.weight.v1.tar", "m.tar", tar(m__gguf=b"weights"))],
        config_type=CONFIG_CNCF,
    )

    bundle = unpack(manifest, config, artifacts.path, target)

    assert bundle.weights == (target / "model" / "m.gguf",)
    assert bundle == load_bundle(target, manifest, config)


def test_nothing_is_left_when_it_fails(artifacts: Artifacts, target: Path) -> None:
    """The directory appears complete or not at all."""
    manifest, config = artifacts.make(FULL)
    artifacts.path(manifest.layers[4].digest).unlink()

    with pytest.raises(StoreError, match="missing from the store"):
        unpack(manifest, config, artifacts.path, target)

    assert list(target.parent.iterdir()) == []


def test_a_damaged_blob_is_not_laid_out(artifacts: Artifacts, target: Path) -> None:
    """Its size shows it at no cost."""
    manifest, config = artifacts.make(FULL)
    artifacts.path(manifest.layers[0].digest).write_bytes(b"shorter or longer")

    with pytest.raises(StoreError, match="damaged blob"):
        unpack(manifest, config, artifacts.path, target)


def test_names_that_collide_leave_nothing(artifacts: Artifacts, target: Path) -> None:
    """They are noticed before anything is written."""
    manifest, config = artifacts.make(
        [(kinds.GGUF_LAYER, "a", b"1"), (kinds.GGUF_LAYER, "a/b", b"2")], config_type=CONFIG_V02
    )

    with pytest.raises(UnsupportedModel, match="filepath collision"):
        unpack(manifest, config, artifacts.path, target)

    assert not target.parent.exists()


def test_a_name_that_no_file_system_takes_is_the_model_s_fault(artifacts: Artifacts, target: Path) -> None:
    """A path that is too long as a whole, for instance; how long depends on where it is."""
    path = "/".join(["x" * 200] * 25)
    manifest, config = artifacts.make([(kinds.GGUF_LAYER, path, b"1")], config_type=CONFIG_V02)

    with pytest.raises(UnsupportedModel, match="file names of the model cannot be used"):
        unpack(manifest, config, artifacts.path, target)


def test_what_a_killed_process_left_is_removed(artifacts: Artifacts, target: Path) -> None:
    """After a day, and only of the same model."""
    target.parent.mkdir(parents=True)
    for name, age in (("abc.tmp-old", 2), ("abc.tmp-new", 0), ("abd.tmp-old", 2)):
        entry = target.parent / name
        entry.mkdir()
        moment = entry.stat().st_mtime - age * 86400
        os.utime(entry, (moment, moment))
    manifest, config = artifacts.make(FULL)

    unpack(manifest, config, artifacts.path, target)

    assert {"abc", "abc.tmp-new", "abd.tmp-old"} == {entry.name for entry in target.parent.iterdir()}


@pytest.mark.parametrize("content", [b"[]", b'{"\xff":1}', b'{"x":' + b"[" * 100_000])
def test_a_configuration_that_is_no_json_is_refused(
    artifacts: Artifacts, target: Path, content: bytes
) -> None:
    """Its bytes come from the store, but whose they were is not known."""
    manifest, _ = artifacts.make(FULL, config_type=CONFIG_V01)
    artifacts.path(manifest.config.digest).write_bytes(content)

    with pytest.raises(UnsupportedModel, match="unreadable model configuration"):
        unpack(manifest, ModelConfig(), artifacts.path, target)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, InsufficientStorage),
        (errno.EDQUOT, InsufficientStorage),
        (errno.ENOENT, StoreError),
        (errno.EACCES, StoreError),
        (errno.EIO, StoreError),
        (errno.ENOTDIR, UnsupportedModel),
    ],
)
def test_each_failure_of_the_disk_has_its_error(number: int, expected: type[RunnerError]) -> None:
    """A full disk is told apart from a damaged store and from an odd model."""
    assert expected is type(_translate(OSError(number, "why", "name"), Path("/bundles/x")))
