"""A pipeline of diffusers that makes images, or changes them where its kind can."""

import inspect
import io
import math
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from .orders import GRAIN, LARGEST, Edit, Order, Refused
from .sizes import TILE, fitting, read_sizes

_FORMS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # that are read
_TRANSPARENT = frozenset({"RGBA", "LA", "PA"})


class Pipeline:
    """A pipeline, on the best device there is."""

    def __init__(self, model: str) -> None:
        """Load a folder, or a model of the hub; blocks, for as long as that takes."""
        import torch
        from diffusers import DiffusionPipeline

        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
        # Named `dtype` in newer versions, which take this as well until 1.0.
        kind = torch.float32 if device == "cpu" else torch.float16
        pipeline = DiffusionPipeline.from_pretrained(model, torch_dtype=kind, use_safetensors=True).to(device)
        if hasattr(pipeline, "safety_checker"):
            pipeline.safety_checker = None
        self._pipelines = {"": _readied(pipeline)}
        self._decoder: Any = getattr(pipeline, "vae", None)
        denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        self._sizes = read_sizes(*(getattr(part, "config", {}) for part in (self._decoder, denoiser)))
        self._generator = torch.Generator

    def paint(self, order: Order, seed: int | None, proceed: Callable[[], None]) -> bytes:
        """Make one image with what this kind of pipeline knows of the order.

        Raises:
            Refused: the picture to change is none, or this kind changes none; the image would be too large.
        """

        def step(_pipeline: object, _step: int, _time: object, values: object) -> object:
            proceed()
            return values

        picture = None if order.edit is None else Picture(order.edit, order.size, self._sizes.allowed)
        pipeline = self._for(picture)
        size = order.size if picture is None else picture.image.size
        if size is not None:
            self._make_room(*size)
        wanted = {
            "prompt": order.prompt,
            "negative_prompt": order.negative,
            "width": size[0] if size else None,
            "height": size[1] if size else None,
            "num_inference_steps": order.steps,
            "guidance_scale": order.guidance,
            # One of the processor's: the same seed gives the same noise on every device.
            "generator": None if seed is None else self._generator("cpu").manual_seed(seed),
            "callback_on_step_end": step,
            **({} if picture is None else picture.wanted),
        }
        known = frozenset(inspect.signature(pipeline.__call__).parameters)
        given = {name: value for name, value in wanted.items() if value is not None and name in known}
        image = pipeline(**given).images[0]
        return written(image if picture is None else picture.finished(image), order)

    def _make_room(self, width: int, height: int) -> None:
        """Have a large image decoded in tiles, which bounds the memory that it takes."""
        if width * height > self._sizes.allowed:
            side = math.isqrt(self._sizes.allowed)
            raise Refused(
                400,
                f"An image of {width}x{height} is too large:"
                f" this model makes up to {self._sizes.allowed} pixels, such as {side}x{side}",
            )
        if hasattr(self._decoder, "enable_tiling"):
            if width * height > self._sizes.whole:
                self._decoder.enable_tiling()
                if hasattr(self._decoder, "tile_latent_min_size"):  # else tiles have a size by default
                    self._decoder.tile_sample_min_size = TILE
                    self._decoder.tile_latent_min_size = TILE >> self._sizes.doublings
            else:
                self._decoder.disable_tiling()

    def _for(self, picture: "Picture | None") -> Any:
        """The pipeline for a task, with the same weights; some change pictures without another one."""
        plain = self._pipelines[""]
        if picture is None:
            return plain
        name = "AutoPipelineForImage2Image" if picture.mask is None else "AutoPipelineForInpainting"
        needed = "image" if picture.mask is None else "mask_image"
        if needed in inspect.signature(plain.__call__).parameters:
            return plain
        if name not in self._pipelines:
            import diffusers

            try:
                other = getattr(diffusers, name).from_pipe(plain)
            except ValueError as exc:  # there is none for this kind of model
                raise Refused(400, f"This model does not change images: {exc}") from exc
            self._pipelines[name] = _readied(other)
        return self._pipelines[name]


class Picture:
    """A picture to change, and where; the mask is white there, and None when it changes everywhere."""

    def __init__(self, edit: Edit, size: tuple[int, int] | None, allowed: int) -> None:
        """Read it, in another size if one is asked for, and else with no more than the allowed pixels.

        Raises:
            Refused: it is none, or is too small or too large, or the mask has another size.
        """
        image = _opened("image", edit.image)
        mask = _mask(image, None if edit.mask is None else _opened("mask", edit.mask))
        if mask is not None and mask.size != image.size:
            raise Refused(400, f"The mask has {mask.size} pixels, and the image {image.size}")
        size = size or _nearest(image.size, allowed)
        self.image = image.convert("RGB").resize(size)
        self.mask = None if mask is None else mask.resize(size)
        self._strength = edit.strength

    @property
    def wanted(self) -> dict[str, Any]:
        """What a pipeline is to know of it."""
        return {"image": self.image, "mask_image": self.mask, "strength": self._strength}

    def finished(self, image: Image.Image) -> Image.Image:
        """What was made, and the picture itself where nothing was to change."""
        if self.mask is None:
            return image
        return Image.composite(image.resize(self.image.size), self.image, self.mask)


def written(image: Image.Image, order: Order) -> bytes:
    """Make a file of an image, in the form that the order wants."""
    buffer = io.BytesIO()
    more = {} if order.compression is None or order.form == "png" else {"quality": order.compression}
    image.save(buffer, order.form.upper(), **more)
    return buffer.getvalue()


def _readied(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _opened(name: str, data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMS)
        image.load()
        turned: Image.Image = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as exc:
        raise Refused(400, f"The {name} cannot be read: {exc}") from exc
    return turned


def _mask(image: Image.Image, mask: Image.Image | None) -> Image.Image | None:
    """Where a picture changes. Source: OpenAI's edits change what is transparent, diffusers what is white."""
    if mask is None:
        clear = image.mode in _TRANSPARENT and image.getchannel("A").getextrema()[0] == 0
        return ImageOps.invert(image.getchannel("A")) if clear else None
    return ImageOps.invert(mask.getchannel("A")) if mask.mode in _TRANSPARENT else mask.convert("L")


def _nearest(size: tuple[int, int], allowed: int) -> tuple[int, int]:
    """The size that a picture has, less the pixels that no pipeline, or not this one, can make."""
    width, height = fitting(*size, most=allowed, grain=GRAIN)
    if not all(GRAIN <= side <= LARGEST for side in (width, height)):
        raise Refused(
            400, f"The image has {size} pixels: it takes {GRAIN} to {LARGEST} either way, or a size"
        )
    return width, height
