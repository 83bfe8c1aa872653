"""Media types, formats and kinds of files, and the rules by which a file name tells its kind."""

from enum import StrEnum
from pathlib import PurePosixPath

CONFIG_V01 = "application/vnd.docker.ai.model.config.v0.1+json"
CONFIG_V02 = "application/vnd.docker.ai.model.config.v0.2+json"
CONFIG_CNCF = "application/vnd.cncf.model.config.v1+json"
CONFIG_TYPES = (CONFIG_V01, CONFIG_V02, CONFIG_CNCF)

GGUF_LAYER = "application/vnd.docker.ai.gguf.v3"
LORA_LAYER = "application/vnd.docker.ai.gguf.v3.lora"
SAFETENSORS_LAYER = "application/vnd.docker.ai.safetensors"
DDUF_LAYER = "application/vnd.docker.ai.dduf"
LICENSE_LAYER = "application/vnd.docker.ai.license"
PROJECTOR_LAYER = "application/vnd.docker.ai.mmproj"
PROJECTOR_LAYER_PUBLIC = "application/vnd.docker.ai.gguf.v3.mmproj"
TEMPLATE_LAYER = "application/vnd.docker.ai.chat.template.jinja"
FILE_LAYER = "application/vnd.docker.ai.model.file"
# Docker has no types for what follows.
CTRANSLATE2_LAYER = "application/vnd.modelrunner.ctranslate2"
ONNX_LAYER = "application/vnd.modelrunner.onnx"
# Read, never written: older artifacts carry a model's small files as tar archives.
VLLM_CONFIG_ARCHIVE = "application/vnd.docker.ai.vllm.config.tar"
DIRECTORY_ARCHIVE = "application/vnd.docker.ai.dir.tar"

CNCF_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
CNCF_WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
CNCF_WEIGHT_GGUF = "application/vnd.cncf.model.weight.v1.gguf"
CNCF_WEIGHT_SAFETENSORS = "application/vnd.cncf.model.weight.v1.safetensors"
CNCF_WEIGHT_CONFIG = "application/vnd.cncf.model.weight.config.v1.raw"
CNCF_WEIGHT_CONFIG_TAR = "application/vnd.cncf.model.weight.config.v1.tar"
CNCF_DOC = "application/vnd.cncf.model.doc.v1.raw"

FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
MEDIATYPE_UNTESTED = "org.cncf.model.file.mediatype.untested"
# CNCF has one type for all weights. What a file is for follows from its name, and else from this, which only
# we write, and only where the name does not say it.
ROLE = "vnd.modelrunner.role"


class Format(StrEnum):
    """How the weights are stored."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    DDUF = "dduf"
    CTRANSLATE2 = "ctranslate2"
    ONNX = "onnx"


class Mode(StrEnum):
    """What an engine instance is loaded for."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANKING = "reranking"
    IMAGE = "image-generation"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"


class FileKind(StrEnum):
    """What a file of a model is for."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    DDUF = "dduf"
    TEMPLATE = "template"
    LICENSE = "license"
    CONFIG = "config"
    UNKNOWN = "unknown"


# Of these no name says what they are for.
_ROLES = {LORA_LAYER: "lora", CTRANSLATE2_LAYER: "ctranslate2", ONNX_LAYER: "onnx"}
_LICENSE_WORDS = ("license", "licence", "copying", "notice")
_CONFIG_SUFFIXES = (".md", ".txt", ".json", ".vocab")


def classify(name: str) -> FileKind:
    """Tell a file's kind from its base name, case ignored; the first rule that fits wins.

    Source: the order that Docker Model Runner packages by, so that both give a file the same layer type.
    """
    base = PurePosixPath(name).name.lower()
    for kind in (FileKind.GGUF, FileKind.SAFETENSORS, FileKind.DDUF):
        if base.endswith(f".{kind}"):
            return kind
    if base.endswith(".jinja") or "chat_template" in base:
        return FileKind.TEMPLATE
    if any(word in base for word in _LICENSE_WORDS):
        return FileKind.LICENSE
    if base.endswith(_CONFIG_SUFFIXES) or base == "tokenizer.model":
        return FileKind.CONFIG
    return FileKind.UNKNOWN


def is_tokenizer(name: str) -> bool:
    """Whether a file is a tokenizer of the kinds that have no kind of their own here, as `spiece.model`."""
    return name.lower().endswith((".model", ".tiktoken", ".spm"))


def packed_role(media_type: str, name: str) -> str | None:
    """What `ROLE` has to say of a file of Docker's media type in CNCF's form; None where its name says it."""
    base = PurePosixPath(name).name
    if media_type in _ROLES:
        return _ROLES[media_type]
    if media_type in {PROJECTOR_LAYER, PROJECTOR_LAYER_PUBLIC} and "mmproj" not in base.lower():
        return "mmproj"
    if media_type == TEMPLATE_LAYER and classify(base) is not FileKind.TEMPLATE:
        return "template"
    return None


def unpacked_type(role: str | None) -> str | None:
    """Docker's media type for what `ROLE` says; None when it says nothing that is known."""
    known = {"mmproj": PROJECTOR_LAYER, "template": TEMPLATE_LAYER}
    return {**known, **{name: media_type for media_type, name in _ROLES.items()}}.get(role or "")
