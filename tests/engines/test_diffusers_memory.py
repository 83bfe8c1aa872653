"""What making images takes, from the headers in the archive."""

import json
import zipfile
from pathlib import Path

import pytest

from modelrunner.engines.diffusers_memory import estimate
from modelrunner.engines.estimate import Device
from modelrunner.errors import RunnerError

MIB, GIB = 1 << 20, 1 << 30
RAM = Device("ram", 16 * GIB, 16 * GIB)
GPU = Device("cuda:0", 24 * GIB, 24 * GIB)


def _weights(dtype: str, count: int) -> bytes:
    """A safetensors file with one tensor of zeros."""
    size = count * (4 if dtype == "F32" else 2)
    head = json.dumps({"w": {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(size)


def _dduf(path: Path, configs: dict[str, object], weights: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for component, config in configs.items():
            archive.writestr(f"{component}/config.json", json.dumps(config))
        for component, content in weights.items():
            archive.writestr(f"{component}/model.safetensors", content)
    return path


def _stable_diffusion(path: Path) -> Path:
    configs = {"vae": {"block_out_channels": [128, 256, 512, 512]}, "unet": {"sample_size": 64}}
    return _dduf(path, configs, {"unet": _weights("F16", MIB), "vae": _weights("F32", MIB)})


def test_all_components_count_as_they_are_computed_with(tmp_path: Path) -> None:
    """On a processor in 32 bits, however they are stored; and an image takes what was measured, or more."""
    found = estimate(_stable_diffusion(tmp_path / "m.dduf"), [RAM])

    assert 8 * MIB == found.weights
    # Measured for 512 by 512 pixels: 1049 MiB of a decoder; of a denoiser 444, of which 90 do not grow.
    assert max(1049, 4 * 354 + 90) * MIB <= found.compute <= 1.15 * (4 * 354 + 90) * MIB
    assert {"ram": found.total} == found.by_device


def test_on_a_gpu_it_takes_half_and_passes_through_the_ram(tmp_path: Path) -> None:
    """Numbers have 16 bits there."""
    path = _stable_diffusion(tmp_path / "m.dduf")
    here, there = estimate(path, [RAM]), estimate(path, [RAM, GPU])

    assert ("cuda:0", 4 * MIB) == (there.device, there.weights)
    assert (here.compute - 90 * MIB) // 2 == there.compute - 90 * MIB
    assert there.by_device["cuda:0"] >= there.weights + there.compute
    assert there.by_device["ram"] == here.overhead + there.weights


@pytest.mark.parametrize(
    ("configs", "numbers"),
    [
        ({}, 8 * 128 * 1024**2),
        ({"vae": {"block_out_channels": [64, 64]}, "unet": {"sample_size": 32}}, 36 * 2 * 512**2 * 320),
        ({"vae": {"block_out_channels": [128] * 4}, "transformer": {"sample_size": 128}}, 8 * 128 * 1024**2),
        ({"vae": {"block_out_channels": [1 << 40]}, "unet": {"sample_size": 1 << 40}}, 8 * 16384 * 4096**2),
        ({"vae": [], "unet": {"sample_size": "large"}}, 36 * 2 * (4 * 128**2) * 320),
        (
            {"transformer": {"num_attention_heads": 64, "attention_head_dim": 128, "patch_size": 1}},
            16 * 2 * (4 * 128**2) // 4 * 8192,
        ),
    ],
)
def test_the_larger_of_two_steps_counts(tmp_path: Path, configs: dict[str, object], numbers: int) -> None:
    """The largest image that is decoded whole, or the largest that is denoised; never without bound."""
    found = estimate(_dduf(tmp_path / "m.dduf", configs, {}), [RAM])

    assert 90 * MIB + 4 * numbers == found.compute


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_cannot_be_told(tmp_path: Path, content: bytes) -> None:
    """The engine's own words are the better answer."""
    path = tmp_path / "m.dduf"
    path.write_bytes(content)
    with pytest.raises(RunnerError, match="cannot be read"):
        estimate(path, [RAM])
    _dduf(path, {}, {"unet": b"\x10\0\0\0\0\0\0\0"})
    with pytest.raises(RunnerError, match="truncated"):
        estimate(path, [RAM])
