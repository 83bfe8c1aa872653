"""What a llama.cpp server needs of memory, from its own command line and the headers of its files.

The command line is that of the launch, so that what is estimated is what is started. The constants were
measured (`benchmarks/estimate.py`), but for those of GPUs, which are estimates from llama.cpp's source.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelrunner.engines.command_line import CommandLine, read, synonyms
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.models.memory.footprint import F16, MOST_CHECKPOINTS, Use, cache_bytes, compute_bytes
from modelrunner.models.memory.projector import projector_bytes
from modelrunner.models.memory.shape import Shape, read_shape
from modelrunner.models.weights.ggml import TENSOR_TYPES
from modelrunner.models.weights.gguf import GGUFHeader, Tensor, Value, read_header, shards

EMBEDDED = "modelrunner.engines.llamacpp_server"

_MIB = 1 << 20
_PROGRAM = 50 * _MIB  # the interpreter, the libraries, the threads, and what requests leave behind
_PER_WORD = 128  # bytes for each word of the vocabulary
_GPU_CONTEXT = 400 * _MIB  # what a driver takes on each GPU before there is a model
_SLOTS = 4  # what llama-server starts when it is not told
_BATCH, _MICRO_BATCH = 2048, 512  # tokens
_PROMPTS = 8192  # MiB; llama-server's own limit on what it keeps of conversations
_OUR_PROMPTS = 256  # MiB, where the cache of a model is not known
_MOST_PROMPTS = 1024  # MiB
_ALL = 1 << 20  # layers
# Types of weights that are stored a second time, in the order in which the processor reads them.
# Source: ggml, ggml-cpu/repack.cpp; for x86 with AVX2 each type was tried.
_WOVEN = frozenset({2, 12, 20, 39})  # Q4_0, Q4_K, IQ4_NL, MXFP4
_WOVEN_ON_ARM = _WOVEN | {8, 10, 13, 14}  # Q8_0, Q2_K, Q5_K, Q6_K
_ROWS = 8  # of a matrix, that are woven together
_CACHE_TYPES = {kind.name.lower(): number for number, kind in TENSOR_TYPES.items() if kind.bytes}
_VALUED = synonyms(
    *("-c --ctx-size", "-np --parallel", "-b --batch-size", "-ub --ubatch-size", "-cram --cache-ram"),
    *("-ctk --cache-type-k", "-ctv --cache-type-v", "-fa --flash-attn", "-lm --load-mode"),
    *("-m --model", "-mm --mmproj", "-md --model-draft --spec-draft-model", "-cd --ctx-size-draft"),
    *("-ctkd --cache-type-k-draft --spec-draft-type-k", "-ctvd --cache-type-v-draft --spec-draft-type-v"),
    *("-ctxcp --ctx-checkpoints --swa-checkpoints", "-lora --lora", "-lora --lora-scaled"),
    *("-ngl --gpu-layers --n-gpu-layers", "-sm --split-mode", "-mg --main-gpu", "-ts --tensor-split"),
)
_SWITCHES = synonyms(
    *("-kvu --kv-unified", "--swa-full", "--embeddings --embedding", "--reranking --rerank"),
    *("-nr --no-repack", "--no-mmap", "-nkvo --no-kv-offload"),
)


@dataclass(frozen=True, slots=True)
class Files:
    """The headers of what a server loads; `adapters` is in bytes."""

    model: Sequence[GGUFHeader]
    projector: GGUFHeader | None = None
    draft: Sequence[GGUFHeader] = ()
    adapters: int = 0


def estimate(argv: Sequence[str], devices: Sequence[Device]) -> Estimate | None:
    """Say what the server with this command line needs; None when its model is of no known kind. Blocks.

    Raises:
        UnsupportedModel: a file that is no model.
        InvalidRequest: a file that cannot be read.
    """
    line = read(argv, _VALUED, _SWITCHES)
    model, draft, projector = (line.text(flag) for flag in ("-m", "-md", "-mm"))
    if model is None:
        return None
    files = Files(
        model=_headers(model),
        projector=read_header(Path(projector)) if projector else None,
        draft=_headers(draft) if draft else (),
        adapters=sum(_data(read_header(Path(_path(text)))) for text in line.values.get("-lora", ())),
    )
    return estimate_files(files, argv, devices)


def estimate_files(
    files: Files, argv: Sequence[str] = (), devices: Sequence[Device] = (), *, machine: str | None = None
) -> Estimate | None:
    """Say what a server needs for these files; None when the model is of no known kind. Pure.

    `machine` is the processor as `platform` names it, by default this one's.
    """
    line = read(argv, _VALUED, _SWITCHES)
    shape = read_shape(files.model[0].metadata) if files.model else None
    if shape is None:
        return None
    gpus = [] if EMBEDDED in argv else [device for device in devices if device.name != RAM]
    server = _Server(files, shape, line, gpus, (machine or platform.machine()).lower(), EMBEDDED in argv)
    context = line.number("-c", 0)
    return server.estimate(context if context > 0 else shape.trained or _BATCH)


def needs(headers: Sequence[GGUFHeader]) -> Callable[[int], int] | None:
    """What a server started in the usual way needs of memory for each context, in bytes; pure."""
    if not headers:
        return None
    metadata = headers[0].metadata

    def needed(context: int) -> int:
        argv = ["--ctx-size", str(context)]
        argv += ["--cache-ram", str(prompt_cache(metadata, argv))]
        found = estimate_files(Files(headers), argv)
        assert found is not None
        return found.needed

    return needed if read_shape(metadata) else None


def prompt_cache(metadata: Mapping[str, Value], argv: Sequence[str]) -> int:
    """How much a server may keep of conversations that lost their slot, in MiB: as much as its slots hold.

    llama-server's own limit is 8 GiB, whatever the model; it would fill up within a day of use.
    """
    shape = read_shape(metadata)
    if shape is None:
        return _OUR_PROMPTS
    line = read(argv, _VALUED, _SWITCHES)
    context = line.number("-c", 0)
    use = _use(line, context if context > 0 else shape.trained or _BATCH, embedded=EMBEDDED in argv)
    return max(1, min(cache_bytes(shape, replace(use, checkpoints=0)) // _MIB, _MOST_PROMPTS))


@dataclass(frozen=True, slots=True)
class _Server:
    """One server with its files, whose needs are asked for several contexts."""

    files: Files
    shape: Shape
    line: CommandLine
    gpus: Sequence[Device]
    machine: str
    embedded: bool

    def estimate(self, context: int) -> Estimate:
        found = self._at(context)
        return replace(found, needed_at=lambda tokens: _on_device(self._at(tokens)))

    def _at(self, context: int) -> Estimate:
        use = _use(self.line, context, embedded=self.embedded)
        weights, left = _weights(self.files.model, self._woven(), mapped=self._is_mapped())
        found = Estimate(
            device=RAM,
            context=context,
            weights=weights + self.files.adapters,
            cache=cache_bytes(self.shape, use),
            compute=compute_bytes(self.shape, use),
            projector=projector_bytes(self.files.projector) if self.files.projector else 0,
            draft=self._draft(use),
            prompts=0 if use.embeds else self._prompts(),
            overhead=_PROGRAM + self.shape.vocabulary * _PER_WORD,
            reclaimable=left,
        )
        return self._placed(found) if self.gpus and self._offloaded() else found

    def _woven(self) -> frozenset[int]:
        if "-nr" in self.line.switches or (self.gpus and self._offloaded() == 1):
            return frozenset()
        return _WOVEN_ON_ARM if self.machine in {"arm64", "aarch64"} else _WOVEN

    def _is_mapped(self) -> bool:
        mode = self.line.text("-lm")
        return "--no-mmap" not in self.line.switches and mode not in {"none", "dio"}

    def _prompts(self) -> int:
        limit = self.line.number("-cram", _PROMPTS)
        return (limit if limit >= 0 else _PROMPTS) * _MIB

    def _draft(self, use: Use) -> int:
        shape = read_shape(self.files.draft[0].metadata) if self.files.draft else None
        weights, _ = _weights(self.files.draft, self._woven(), mapped=self._is_mapped())
        if shape is None:
            return weights
        context = self.line.number("-cd", 0)
        own = replace(
            use,
            context=context if context > 0 else use.context,
            keys=_cache_type(self.line.text("-ctkd")),
            values=_cache_type(self.line.text("-ctvd")),
        )
        return weights + cache_bytes(shape, own) + compute_bytes(shape, own) + shape.vocabulary * _PER_WORD

    def _offloaded(self) -> float:
        """Which part of the layers is to be on GPUs; the results count as a layer of their own."""
        text = self.line.text("-ngl")
        count = self.line.number("-ngl", _ALL if text in {None, "auto", "all"} else 0)
        return min(1.0, (count if count >= 0 else _ALL) / (self.shape.layers + 1))

    def _placed(self, found: Estimate) -> Estimate:
        """Divide what a server in memory would need between memory and GPUs."""
        part = self._offloaded()
        cache = 0 if "-nkvo" in self.line.switches else int(found.cache * part)
        on_gpus = int((found.weights - found.reclaimable + found.draft) * part) + cache + found.projector
        gpus = self._chosen()
        each = found.compute + _GPU_CONTEXT
        shares = {name: int(on_gpus * share) + each for name, share in gpus.items()}
        overhead = found.overhead + len(gpus) * _GPU_CONTEXT
        compute = found.compute * (len(gpus) + 1)
        whole = replace(found, device=max(shares, key=lambda name: shares[name]), compute=compute)
        whole = replace(whole, overhead=overhead)
        return replace(whole, shares={**shares, RAM: max(0, whole.needed - sum(shares.values()))})

    def _chosen(self) -> dict[str, float]:
        """The GPUs that are used, each with its part of the layers.

        Source: llama.cpp: by the user's split, else by what is free.
        """
        if self.line.text("-sm") == "none":
            main = max(0, self.line.number("-mg", 0))
            return {self.gpus[min(main, len(self.gpus) - 1)].name: 1.0}
        stated = [_share(text) for text in (self.line.text("-ts") or "").replace("/", ",").split(",")]
        weights = [*stated, *[0.0] * len(self.gpus)][: len(self.gpus)]
        if not sum(weights):
            weights = [max(1.0, float(device.available)) for device in self.gpus]
        return {gpu.name: each / sum(weights) for gpu, each in zip(self.gpus, weights, strict=True) if each}


def _on_device(found: Estimate) -> int:
    """What is needed on the kind of device that most of it is on."""
    if not found.shares:
        return found.needed
    return sum(count for name, count in found.shares.items() if name != RAM)


def _use(line: CommandLine, context: int, *, embedded: bool) -> Use:
    """How the server runs its model. The embedded one takes an input to embed in one go, however long."""
    slots = line.number("-np", -1)
    embeds = bool(line.switches & {"--embeddings", "--reranking"})
    batch = max(1, line.number("-b", _BATCH))
    micro = max(1, line.number("-ub", batch if embeds and embedded else _MICRO_BATCH))
    return Use(
        context=context,
        slots=slots if slots > 0 else _SLOTS,
        unified=slots <= 0 or "-kvu" in line.switches,
        batch=batch,
        micro_batch=micro,
        keys=_cache_type(line.text("-ctk")),
        values=_cache_type(line.text("-ctv")),
        flash=line.text("-fa") not in {"off", "0", "false", "disabled"},
        whole_windows="--swa-full" in line.switches,
        checkpoints=max(0, line.number("-ctxcp", MOST_CHECKPOINTS)),
        embeds=embeds,
    )


def _weights(headers: Sequence[GGUFHeader], woven: frozenset[int], *, mapped: bool) -> tuple[int, int]:
    """How much of the weights is in memory, and how much of that is never looked at again, in bytes.

    A file is mapped from the first to the last tensor that is used as it is; copies come on top of that.
    """
    tied = not any(tensor.name == "output.weight" for header in headers for tensor in header.tensors)
    copied = [each for header in headers for each in header.tensors if _is_woven(each, woven, tied=tied)]
    names = {each.name for each in copied} - {"token_embd.weight"}
    kept = [[each for each in header.tensors if each.name not in names] for header in headers]
    used = sum(each.bytes for tensors in kept for each in tensors)
    copies = sum(each.bytes for each in copied)
    if not mapped:
        return used + copies, 0
    spans = sum(
        max(each.offset + each.bytes for each in tensors) - min(each.offset for each in tensors)
        for tensors in kept
        if tensors
    )
    # Offsets are the file's word: no more than the files have is ever mapped.
    spans = min(spans, sum(header.file_bytes for header in headers))
    return max(spans, used) + copies, max(0, spans - used)


def _is_woven(tensor: Tensor, types: frozenset[int], *, tied: bool) -> bool:
    """Whether a matrix is stored a second time; that of the words only where it gives the results too."""
    if tensor.name == "token_embd.weight" and not tied:
        return False
    rows = tensor.dims[1] if len(tensor.dims) > 1 else 0
    return tensor.type in types and rows > 0 and rows % _ROWS == 0 and tensor.name.endswith(".weight")


def _cache_type(text: str | None) -> int:
    return _CACHE_TYPES.get(text or "", F16)


def _share(text: str) -> float:
    try:
        return max(0.0, min(float(text), float(_ALL)))
    except ValueError:
        return 0.0


def _headers(path: str) -> tuple[GGUFHeader, ...]:
    return tuple(map(read_header, shards(Path(path))))


def _data(header: GGUFHeader) -> int:
    return sum(tensor.bytes for tensor in header.tensors)


def _path(text: str) -> str:
    """The file of an adapter, without the scale that may stand behind it."""
    path, colon, scale = text.rpartition(":")
    return path if colon and scale.replace(".", "", 1).isdecimal() else text
