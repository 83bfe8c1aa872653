"""What a file is that should have been weights: recognised by its first bytes, said in words."""

from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 512  # how much of a file `recognise` wants to see

_DOWNLOAD = "download the file again, and check the address"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a file is, as the end of a sentence, and what to do about it."""

    what: str
    hint: str


_KNOWN: tuple[tuple[Callable[[bytes], bool], Meaning], ...] = (
    (lambda head: not head, Meaning("the file is empty", _DOWNLOAD)),
    (
        lambda head: head.startswith(b"version https://git-lfs"),
        Meaning("a Git LFS pointer, not the file itself", "run `git lfs pull`, or download the file itself"),
    ),
    (
        lambda head: head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")),
        Meaning("a web page", "the server sent a page instead of the file, perhaps to log in; " + _DOWNLOAD),
    ),
    (
        lambda head: head[8:10] == b'{"' and int.from_bytes(head[:8], "little") <= 100 << 20,
        Meaning("a safetensors file", "convert it with llama.cpp's convert_hf_to_gguf.py"),
    ),
    (
        lambda head: head[:4] in {b"lmgg", b"fmgg", b"tjgg"},
        Meaning("a GGML file from before GGUF", "get the model as GGUF; nothing reads the old form any more"),
    ),
    (
        lambda head: head.startswith(b"PK\x03\x04"),
        Meaning("a ZIP archive", "PyTorch and DDUF files are such; get the model as GGUF, or unpack it"),
    ),
    (
        lambda head: head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")),
        Meaning("a compressed file", "unpack it first"),
    ),
    (lambda head: head[257:262] == b"ustar", Meaning("a tar archive", "unpack it first")),
    (
        lambda head: head.startswith(b"\x80") and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"},
        Meaning("a Python pickle", "it may run code when opened; get the model as GGUF"),
    ),
    (lambda head: head.lstrip()[:1] in {b"{", b"["}, Meaning("JSON text, not weights", _DOWNLOAD)),
    (
        lambda head: not head.strip(b"\0"),
        Meaning(
            "it begins with zeros", "the download reserved the space and did not fill it; download it again"
        ),
    ),
)
_ANYTHING = Meaning("it begins with other bytes than `GGUF`", "a GGUF file of a model is needed")


def recognise(head: bytes) -> Meaning:
    """Tell what a file that is no GGUF is, from its first `HEAD_BYTES` bytes."""
    return next((meaning for fits, meaning in _KNOWN if fits(head)), _ANYTHING)
