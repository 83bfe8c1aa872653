"""Models in Hugging Face's cache, LM Studio's folder, and loose files."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.models.description import kinds
from modelrunner.models.local.candidate import Candidate, Found, Unusable
from modelrunner.models.local.model_folder import read_files, read_hugging_face, read_lm_studio
from modelrunner.oci.digest import Digest


def _write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _cached(
    root: Path, repository: str, files: Mapping[str, bytes], *, commit: str = "abc", main: bool = True
) -> Path:
    """Lay a repository out as Hugging Face's cache does: blobs by digest, a snapshot of links."""
    entry = root / f"models--{repository.replace('/', '--')}"
    (entry / "blobs").mkdir(parents=True, exist_ok=True)
    (entry / "refs").mkdir(exist_ok=True)
    if main:
        (entry / "refs" / "main").write_text(commit)
    for name, content in files.items():
        is_large = name.endswith((".gguf", ".safetensors"))
        blob = entry / "blobs" / (hashlib.sha256 if is_large else hashlib.sha1)(content).hexdigest()
        blob.write_bytes(content)
        link = entry / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return entry


def _parts(found: Iterable[Found]) -> dict[str, list[str]]:
    return {each.name: [part.name for part in each.parts] for each in found if isinstance(each, Candidate)}


def _unusable(found: Iterable[Found]) -> dict[str, str]:
    return {each.name: each.reason for each in found if isinstance(each, Unusable)}


GGUF = {
    "Tiny-Q4_K_M.gguf": b"q4",
    "Tiny-Q8_0.gguf": b"q8",
    "mmproj-F16.gguf": b"projector",
    "chat.jinja": b"{{ x }}",
    "LICENSE": b"free",
    "README.md": b"hello",
}


def test_each_quantization_of_a_repository_is_a_model(tmp_path: Path) -> None:
    """With what belongs to all of them; named as `hf.co` would be, and their digests are known."""
    _cached(tmp_path, "Org/Tiny-GGUF", GGUF)
    found = list(read_hugging_face(tmp_path))

    beside = ["LICENSE", "chat.jinja", "mmproj-F16.gguf"]
    assert {
        "huggingface.co/org/tiny-gguf:Q4_K_M": ["Tiny-Q4_K_M.gguf", *beside],
        "huggingface.co/org/tiny-gguf:Q8_0": ["Tiny-Q8_0.gguf", *beside],
    } == _parts(found)
    (first, _) = (each for each in found if isinstance(each, Candidate))
    assert Digest.of(b"q4") == first.parts[0].digest
    assert first.parts[1].digest is None  # named by git's digest, which is another one
    assert first.settled


def test_a_safetensors_repository_keeps_its_folders(tmp_path: Path) -> None:
    """And tokenizers of any kind, but no code and nothing hidden."""
    _cached(
        tmp_path,
        "Org/Safe",
        {
            "model.safetensors": b"w",
            "config.json": b"{}",
            "spiece.model": b"sp",
            "merges.txt": b"m",
            "code.py": b"evil",
            "pytorch_model.bin": b"pickle",
            ".gitattributes": b"",
            "text_encoder/model.safetensors": b"t",
        },
    )
    (found,) = read_hugging_face(tmp_path)

    assert isinstance(found, Candidate)
    assert ("huggingface.co/org/safe:latest", kinds.CONFIG_V02) == (found.name, found.config_type)
    assert [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "spiece.model",
        "text_encoder/model.safetensors",
    ] == sorted(part.name for part in found.parts)


def test_the_branch_main_is_taken_and_else_the_newest(tmp_path: Path) -> None:
    """Of several snapshots in the cache."""
    for commit, moment in (("old", 1000), ("new", 2000)):
        entry = _cached(tmp_path, "a/b", {"m.gguf": commit.encode()}, commit=commit, main=False)
        os.utime(entry / "snapshots" / commit, (moment, moment))

    def taken() -> bytes:
        (found,) = read_hugging_face(tmp_path)
        assert isinstance(found, Candidate)
        return found.parts[0].path.read_bytes()

    newest = taken()
    (entry / "refs" / "main").write_text("old\n")
    named = taken()
    (entry / "refs" / "main").write_text("../../../../etc")

    assert [b"new", b"old", b"new"] == [newest, named, taken()]


def test_a_snapshot_that_leads_out_of_its_entry_is_not_followed(tmp_path: Path) -> None:
    """Links in it lead to the blobs beside it, and nowhere else."""
    entry = _cached(tmp_path / "hub", "a/b", {"m.gguf": b"w"})
    (tmp_path / "secret.gguf").write_bytes(b"secret")
    (entry / "snapshots" / "abc" / "evil.gguf").symlink_to(tmp_path / "secret.gguf")
    found = list(read_hugging_face(tmp_path / "hub"))

    (reason,) = _unusable(found).values()
    assert "`evil.gguf` is a link that leads outside" in reason
    assert [["m.gguf"]] == list(_parts(found).values())


def test_what_is_no_model_in_the_cache_is_passed_over(tmp_path: Path) -> None:
    """Data sets, an entry without a snapshot, other files."""
    (tmp_path / "datasets--a--b" / "snapshots" / "x").mkdir(parents=True)
    (tmp_path / "models--a--empty").mkdir()
    (tmp_path / "version.txt").write_text("1")

    assert [] == list(read_hugging_face(tmp_path))


def test_lm_studio_s_models_are_named_as_at_hugging_face(tmp_path: Path) -> None:
    """By publisher and repository; files that people may write to are not shared unasked."""
    _write(tmp_path, {"Pub/Some-GGUF/Some-Q4_0.gguf": b"w", "Pub/Some-GGUF/mmproj-Some-f16.gguf": b"p"})
    (found,) = read_lm_studio(tmp_path)

    assert isinstance(found, Candidate)
    assert {"huggingface.co/pub/some-gguf:Q4_0": ["Some-Q4_0.gguf", "mmproj-Some-f16.gguf"]} == _parts(
        [found]
    )
    assert not found.settled


def test_loose_files_are_named_by_themselves(tmp_path: Path) -> None:
    """A set of shards is one model; one that is incomplete says so."""
    _write(
        tmp_path,
        {
            "Loose-UD-Q4_K_XL.gguf": b"1",
            "Set-Q2_K-00001-of-00002.gguf": b"2",
            "Set-Q2_K-00002-of-00002.gguf": b"3",
            "Cut-Q2_K-00001-of-00002.gguf": b"4",
            "sub/Deep.gguf": b"5",
        },
    )
    found = list(read_files(tmp_path))

    assert {
        "local/loose:UD-Q4_K_XL": ["Loose-UD-Q4_K_XL.gguf"],
        "local/set:Q2_K": ["Set-Q2_K-00001-of-00002.gguf", "Set-Q2_K-00002-of-00002.gguf"],
        "local/deep:latest": ["Deep.gguf"],
    } == _parts(found)
    assert {"local/cut:Q2_K": "incomplete: 1 of 2 shards are here"} == _unusable(found)


def test_each_model_of_a_folder_has_a_name_of_its_own(tmp_path: Path) -> None:
    """The folders above tell those of the same name apart, and else a number."""
    _write(
        tmp_path,
        {
            "p1/Foo-GGUF/Zoo-Q4_K_M.gguf": b"1",
            "p2/Foo-GGUF/Zoo-Q4_K_M.gguf": b"2",
            "p2/Foo-GGUF/zoo q4_k_m.gguf": b"3",
            "p2/Foo-GGUF/zoo.q4_k_m.gguf": b"4",
            "safe.gguf": b"5",
            "safe/model.safetensors": b"6",
        },
    )

    assert {
        "local/zoo:Q4_K_M": ["Zoo-Q4_K_M.gguf"],
        "local/p2-foo-gguf-zoo:Q4_K_M": ["Zoo-Q4_K_M.gguf"],
        "local/zoo-q4_k_m:latest": ["zoo q4_k_m.gguf"],
        "local/zoo:q4_k_m": ["zoo.q4_k_m.gguf"],
        "local/safe:latest": ["safe.gguf"],
        "local/safe:latest-2": ["model.safetensors"],
    } == _parts(read_files(tmp_path))


def test_one_file_brings_its_shards_and_its_projector(tmp_path: Path) -> None:
    """Any of them stands for all; its neighbours stay where they are."""
    _write(
        tmp_path,
        {
            "Set-Q2_K-00001-of-00002.gguf": b"2",
            "Set-Q2_K-00002-of-00002.gguf": b"3",
            "mmproj-F16.gguf": b"p",
            "Other.gguf": b"o",
        },
    )
    found = list(read_files(tmp_path / "Set-Q2_K-00002-of-00002.gguf"))

    assert {
        "local/set:Q2_K": [
            "Set-Q2_K-00001-of-00002.gguf",
            "Set-Q2_K-00002-of-00002.gguf",
            "mmproj-F16.gguf",
        ]
    } == _parts(found)


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    """Somebody asked for it."""
    _write(tmp_path, {"real/file": b"w"})
    (tmp_path / "Model-Q8_0.gguf").symlink_to(tmp_path / "real" / "file")
    (found,) = read_files(tmp_path / "Model-Q8_0.gguf")

    assert isinstance(found, Candidate)
    assert ("local/model:Q8_0", tmp_path / "real" / "file") == (found.name, found.parts[0].path)


def test_a_place_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Whichever program's it would be."""
    for read in (read_hugging_face, read_lm_studio, read_files):
        with pytest.raises(InvalidRequest):
            list(read(tmp_path / "nothing"))
