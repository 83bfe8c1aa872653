"""Which layer of an artifact becomes which file of a bundle, and which file plays which part. Pure.

Artifacts of Docker's form 0.1 get fixed names; those of 0.2 and of CNCF ModelPack name their own files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path, PurePosixPath

from modelrunner.errors import UnsupportedModel
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import FileKind, Format, classify
from modelrunner.models.description.paths import inner_path, sanitised_path
from modelrunner.models.weights.gguf import SHARD_NAME
from modelrunner.oci.manifest import Descriptor, Manifest


class Role(Enum):
    """The part that a file plays for an engine."""

    GGUF = auto()
    SAFETENSORS = auto()
    DDUF = auto()
    CTRANSLATE2 = auto()
    ONNX = auto()
    PROJECTOR = auto()
    TEMPLATE = auto()
    ADAPTER = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """A layer, its role, and where it goes below the bundle's `model` directory."""

    path: PurePosixPath
    role: Role
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class Archive:
    """A layer that is a tar archive, to be unpacked into the `model` directory."""

    layer: Descriptor
    compressed: bool


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays what; paths below the `model` directory, the first shard first."""

    weights: tuple[PurePosixPath, ...]
    projector: PurePosixPath | None
    template: PurePosixPath | None
    adapters: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Everything that is to be laid out."""

    files: tuple[Place, ...]
    archives: tuple[Archive, ...]

    def cast(self, preferred: Format | None) -> Cast:
        """Give out the parts; weights of the preferred format go before others."""
        return _cast([(place.path, place.role) for place in self.files], preferred)


_ROLES = {
    kinds.GGUF_LAYER: Role.GGUF,
    kinds.CNCF_WEIGHT_GGUF: Role.GGUF,
    kinds.SAFETENSORS_LAYER: Role.SAFETENSORS,
    kinds.CNCF_WEIGHT_SAFETENSORS: Role.SAFETENSORS,
    kinds.DDUF_LAYER: Role.DDUF,
    kinds.CTRANSLATE2_LAYER: Role.CTRANSLATE2,
    kinds.ONNX_LAYER: Role.ONNX,
    kinds.PROJECTOR_LAYER: Role.PROJECTOR,
    kinds.PROJECTOR_LAYER_PUBLIC: Role.PROJECTOR,
    kinds.TEMPLATE_LAYER: Role.TEMPLATE,
    kinds.LORA_LAYER: Role.ADAPTER,
}
_WEIGHTS = {form: Role[form.name] for form in Format}
_BY_KIND = {
    FileKind.GGUF: Role.GGUF,
    FileKind.SAFETENSORS: Role.SAFETENSORS,
    FileKind.DDUF: Role.DDUF,
    FileKind.TEMPLATE: Role.TEMPLATE,
}
_SUFFIXES = {Role.GGUF: "gguf", Role.CTRANSLATE2: "bin", Role.ONNX: "onnx"}
_CNCF_PREFIX = "application/vnd.cncf.model."


def place_layers(manifest: Manifest, config: ModelConfig) -> Placement:
    """Decide where every layer goes.

    Raises:
        UnsupportedModel: no weights that anything could run; see `check_places` for the rest.
    """
    placement = _placed(manifest, config)
    model_format = effective_config(manifest, config).format
    if not placement.archives and not placement.cast(model_format).weights:
        raise _no_weights()
    return placement


def check_places(manifest: Manifest, config: ModelConfig) -> None:
    """Refuse a model that could not be laid out, before its layers are fetched.

    Raises:
        UnsupportedModel: names that collide or lead outside, or an archive that cannot be unpacked.
    """
    _placed(manifest, config)


def _placed(manifest: Manifest, config: ModelConfig) -> Placement:
    archives: list[Archive] = []
    layers: list[Descriptor] = []
    for layer in manifest.layers:
        if archive := _archive(layer, manifest):
            archives.append(archive)
        else:
            layers.append(layer)
    model_format = effective_config(manifest, config).format
    places = (
        _places_by_path(layers, model_format)
        if _named_by_path(manifest)
        else _places_by_role(layers, model_format)
    )
    _check_collisions(places)
    return Placement(tuple(places), tuple(archives))


def effective_config(manifest: Manifest, config: ModelConfig) -> ModelConfig:
    """Fill in the format from the layers where the configuration does not say it."""
    if config.format is not None:
        return config
    present = {
        _by_name(_name(layer)) if layer.media_type == kinds.CNCF_WEIGHT else _ROLES.get(layer.media_type)
        for layer in manifest.layers
    }
    found = next((model_format for model_format, role in _WEIGHTS.items() if role in present), None)
    return replace(config, format=found)


def scanned(directory: Path, preferred: Format | None) -> Cast:
    """Give out the parts among the files that archives brought.

    Raises:
        UnsupportedModel: there are no weights among them.
    """
    found = sorted(
        PurePosixPath(path.relative_to(directory).as_posix())
        for path in directory.rglob("*")
        if path.is_file()
    )
    parts = [(path, _by_name(path.name)) for path in found if not path.name.startswith(".")]
    cast = _cast(parts, preferred)
    if not cast.weights:
        raise _no_weights()
    return cast


def _named_by_path(manifest: Manifest) -> bool:
    """The configuration's type decides; the artifact's only where that is unknown."""
    kind = manifest.config.media_type
    if kind == kinds.CONFIG_V01:
        return False
    return kind in {kinds.CONFIG_V02, kinds.CONFIG_CNCF} or manifest.artifact_type == kinds.CNCF_MANIFEST


def _places_by_role(layers: Sequence[Descriptor], model_format: Format | None) -> list[Place]:
    """Docker 0.1: names are ours, only weights of one format are taken, and licences stay out."""
    roles = [(layer, _role(layer, model_format)) for layer in layers]
    present = {role for _, role in roles}
    weights = next((role for role in _WEIGHTS.values() if role in present), None)
    of_weights = [layer for layer, role in roles if role is weights]
    places = [
        Place(_weight_path(layer, weights, index, of_weights), weights, layer)
        for index, layer in enumerate(of_weights, start=1)
        if weights is not None
    ]
    adapters = 0
    for layer, role in roles:
        path: PurePosixPath | None = None
        if role is Role.PROJECTOR:
            path = PurePosixPath("model.mmproj")
        elif role is Role.TEMPLATE:
            path = PurePosixPath("template.jinja")
        elif role is Role.ADAPTER:
            adapters += 1
            path = PurePosixPath(f"model-{adapters:05d}.lora")
        elif layer.media_type == kinds.FILE_LAYER and _path_of(layer):
            path = inner_path(_path_of(layer))
        if path is not None and path not in {place.path for place in places}:
            places.append(Place(path, role, layer))
    return places


def _weight_path(
    layer: Descriptor, role: Role | None, index: int, layers: Sequence[Descriptor]
) -> PurePosixPath:
    """Name a file of weights. llama.cpp finds the other shards by these names."""
    if role is Role.DDUF:
        return PurePosixPath(f"{layer.digest.hex}.dduf")
    if role is not Role.GGUF and _path_of(layer):
        return inner_path(_path_of(layer))
    suffix = _SUFFIXES.get(role, "safetensors") if role else ""
    if len(layers) == 1:
        return PurePosixPath(f"model.{suffix}")
    return PurePosixPath(f"model-{index:05d}-of-{len(layers):05d}.{suffix}")


def _places_by_path(layers: Sequence[Descriptor], model_format: Format | None) -> list[Place]:
    """Docker 0.2 and CNCF: every layer goes where its annotation says."""
    places: dict[PurePosixPath, Place] = {}
    for layer in layers:
        text = _path_of(layer)
        if not text:
            continue
        path = sanitised_path(text)
        other = places.setdefault(path, Place(path, _role(layer, model_format), layer))
        if _path_of(other.layer) != text:
            raise UnsupportedModel(
                f"filepath collision: `{_path_of(other.layer)}` and `{text}` are both `{path}`"
            )
    return list(places.values())


def _check_collisions(places: Sequence[Place]) -> None:
    """Refuse two contents for one name, and a name that is a file and a directory."""
    taken: dict[PurePosixPath, Place] = {}
    for place in places:
        if taken.setdefault(place.path, place).layer.digest != place.layer.digest:
            raise UnsupportedModel(f"filepath collision: two files are `{place.path}`")
    for path in taken:
        for parent in path.parents:
            if parent in taken:
                raise UnsupportedModel(f"filepath collision: `{parent}` is a file, and `{path}` lies in it")


def _role(layer: Descriptor, model_format: Format | None) -> Role:
    """Tell a layer's role by its type; CNCF's types leave it to the name and the model's format."""
    name = _name(layer)
    stated = kinds.unpacked_type(layer.annotations.get(kinds.ROLE))
    if stated and layer.media_type.startswith(_CNCF_PREFIX):
        return _ROLES[stated]
    if layer.media_type == kinds.CNCF_WEIGHT:
        if "mmproj" in name.lower():
            return Role.PROJECTOR
        return _WEIGHTS[model_format] if model_format else Role.OTHER
    if layer.media_type == kinds.CNCF_WEIGHT_CONFIG and classify(name) is FileKind.TEMPLATE:
        return Role.TEMPLATE
    return _ROLES.get(layer.media_type, Role.OTHER)


def _by_name(name: str) -> Role:
    role = _BY_KIND.get(classify(name), Role.OTHER)
    return Role.PROJECTOR if role is Role.GGUF and "mmproj" in name.lower() else role


def _cast(parts: Sequence[tuple[PurePosixPath, Role]], preferred: Format | None) -> Cast:
    """Give out the parts. The rules do not depend on which file came first where names can tell."""
    of: dict[Role, list[PurePosixPath]] = {role: [] for role in Role}
    for path, role in parts:
        of[role].append(path)
    # A directory's projector is packaged as any other GGUF file; alone, it is the model.
    projectors = [path for path in of[Role.GGUF] if "mmproj" in path.name.lower()]
    if len(projectors) < len(of[Role.GGUF]):
        of[Role.GGUF] = [path for path in of[Role.GGUF] if path not in projectors]
        of[Role.PROJECTOR] += projectors
    order = sorted(_WEIGHTS, key=lambda model_format: model_format is not preferred)
    weights = next((of[_WEIGHTS[key]] for key in order if of[_WEIGHTS[key]]), [])
    # `chat_template.json` has a template inside, but is none.
    templates = [path for path in of[Role.TEMPLATE] if path.suffix.lower() != ".json"]
    return Cast(
        weights=tuple(_one_set(weights)),
        projector=min(of[Role.PROJECTOR], key=_rank, default=None),
        template=min(templates, key=_template_rank, default=None),
        adapters=tuple(of[Role.ADAPTER]),
    )


def _rank(path: PurePosixPath) -> tuple[int, str]:
    """Files further up first, then by name."""
    return len(path.parts), str(path)


def _template_rank(path: PurePosixPath) -> tuple[int, bool, bool, str]:
    """As others, but with the usual name and the usual suffix before others."""
    return (
        len(path.parts),
        path.name != "chat_template.jinja",
        path.suffix.lower() != ".jinja",
        str(path),
    )


def _one_set(weights: Sequence[PurePosixPath]) -> Sequence[PurePosixPath]:
    """Of several GGUF files take the first, with its shards; files of other formats belong together."""
    if not weights or weights[0].suffix.lower() != ".gguf":
        return weights
    first = min(weights, key=lambda path: (len(path.parts), str(path)))
    match = SHARD_NAME.fullmatch(first.name)
    if match is None:
        return [first]
    shards = (
        path
        for path in weights
        if path.parent == first.parent
        and (other := SHARD_NAME.fullmatch(path.name))
        and other.group(1, 3) == match.group(1, 3)
    )
    return sorted(shards, key=str)


def _archive(layer: Descriptor, manifest: Manifest) -> Archive | None:
    kind = layer.media_type
    if kind in {kinds.VLLM_CONFIG_ARCHIVE, kinds.DIRECTORY_ARCHIVE}:
        return Archive(layer, compressed=False)
    if kind.startswith(_CNCF_PREFIX) and kind.endswith((".tar", ".tar+gzip")):
        return Archive(layer, compressed=kind.endswith("+gzip"))
    if kind.startswith(_CNCF_PREFIX) and kind.endswith(".tar+zstd"):
        raise UnsupportedModel(
            f"unsupported compression of a layer: `{kind}` in `{manifest.digest.short}`",
            hint="package the model without compression, or with gzip",
        )
    return None


def _path_of(layer: Descriptor) -> str:
    return layer.annotations.get(kinds.FILEPATH, "")


def _name(layer: Descriptor) -> str:
    return PurePosixPath(_path_of(layer)).name


def _no_weights() -> UnsupportedModel:
    return UnsupportedModel(
        "no supported model weights found (expected GGUF, safetensors, or diffusers/DDUF)",
        hint="the artifact holds no weights that an engine could load",
    )
