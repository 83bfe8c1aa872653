"""Write a Stable Diffusion of random numbers as a DDUF file. Run with the engine's own Python."""

import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from huggingface_hub import export_folder_as_dduf
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LETTERS = [chr(code) for code in range(33, 127)]
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
WIDTHS = (8, 16)


def main(path: Path) -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = StableDiffusionPipeline(
            vae=decoder(),
            text_encoder=encoder(),
            tokenizer=tokenizer(folder),
            unet=denoiser(),
            scheduler=DDIMScheduler(clip_sample=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
        export_folder_as_dduf(path, folder / "pipeline")


def tokenizer(folder: Path) -> object:
    """One that knows letters and no words."""
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def encoder() -> object:
    last = len(VOCABULARY) - 1
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=last - 1,
            eos_token_id=last,
            pad_token_id=last,
        )
    )


def denoiser() -> object:
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )


def decoder() -> object:
    return AutoencoderKL(
        block_out_channels=WIDTHS,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
