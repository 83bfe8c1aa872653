"""Sound in the messages of a chat: it reaches models that have ears, and is refused by others."""

import base64
import io
import wave
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import openai
import pytest

from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

WIDTH, TEXT_WIDTH, BANDS, STACKED = 32, 576, 80, 50  # TEXT_WIDTH is that of SmolLM2-135M
HEARD = 1500 // STACKED  # tokens that half a minute becomes
EARS = "ai/ears"


def _write_ears(path: Path) -> Path:
    """Write a projector of random numbers for sound, of Ultravox's kind: Whisper's encoder, stacked."""
    writer = gguf.GGUFWriter(path, "clip")
    generator = np.random.default_rng(1)

    def add(name: str, *shape: int, kind: type[np.floating] = np.float32) -> None:
        numbers = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        writer.add_tensor(name, numbers.astype(kind))

    writer.add_string("general.type", "mmproj")
    writer.add_string("clip.projector_type", "ultravox")
    writer.add_bool("clip.has_audio_encoder", val=True)
    writer.add_bool("clip.use_gelu", val=True)
    sizes = {"num_mel_bins": BANDS, "block_count": 1, "attention.head_count": 2, "embedding_length": WIDTH}
    sizes |= {"feed_forward_length": WIDTH, "projection_dim": TEXT_WIDTH, "projector.stack_factor": STACKED}
    for name, value in sizes.items():
        writer.add_uint32(f"clip.audio.{name}", value)
    writer.add_float32("clip.audio.attention.layer_norm_epsilon", 1e-5)
    for number, inner in ((1, BANDS), (2, WIDTH)):
        add(f"a.conv1d.{number}.weight", WIDTH, inner, 3, kind=np.float16)
        add(f"a.conv1d.{number}.bias", WIDTH, 1)
    add("a.position_embd.weight", 1500, WIDTH)
    for name in ("a.blk.0.ln1", "a.blk.0.ln2", "a.post_ln"):
        add(f"{name}.weight", WIDTH)
        add(f"{name}.bias", WIDTH)
    for name in ("attn_q", "attn_v", "attn_out", "ffn_up", "ffn_down"):
        add(f"a.blk.0.{name}.weight", WIDTH, WIDTH)
        add(f"a.blk.0.{name}.bias", WIDTH)
    add("a.blk.0.attn_k.weight", WIDTH, WIDTH)  # which has no bias in Whisper
    add("mm.a.norm_pre.weight", WIDTH * STACKED)
    add("mm.a.mlp.1.weight", 2 * WIDTH, WIDTH * STACKED)
    add("mm.a.norm_mid.weight", WIDTH)
    add("mm.a.mlp.2.weight", TEXT_WIDTH, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def ears(real: Runner, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The test model with ears, which hear noise in everything."""
    path = _write_ears(tmp_path_factory.mktemp("ears") / "ears.mmproj")
    real.must("package", "--from", "ai/smollm2", "--mmproj", path, EARS)
    return EARS


def _sound() -> bytes:
    """A second of a tone, as WAV."""
    buffer = io.BytesIO()
    tone = (np.sin(np.arange(16_000) * 0.2) * 9_000).astype("<i2")
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(tone.tobytes())
    return buffer.getvalue()


def _ask(real: Runner, model: str, sound: bytes | None) -> int:
    """Ask about a sound, or about none, and say how long the prompt was, in tokens."""
    part = {"type": "text", "text": "Hi."}
    more = [] if sound is None else [{"type": "input_audio", "input_audio": _encoded(sound)}]
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": [part, *more]}]
        answer = client.chat.completions.create(model=model, messages=messages, max_tokens=2)
    assert answer.usage is not None
    return answer.usage.prompt_tokens


def _encoded(sound: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(sound).decode(), "format": "wav"}


def test_a_model_with_ears_gets_the_sound(real: Runner, ears: str) -> None:
    """It becomes as many tokens of the prompt as its projector makes of half a minute, and two around it."""
    more = _ask(real, ears, _sound()) - _ask(real, ears, None)

    assert HEARD <= more <= HEARD + 20


def test_sound_that_is_none_is_the_clients_fault(real: Runner, ears: str) -> None:
    """And the engine goes on."""
    with pytest.raises(openai.BadRequestError, match="Failed to load"):
        _ask(real, ears, b"no sound")

    assert _ask(real, ears, None) > 0


def test_a_model_without_ears_refuses_it(real: Runner) -> None:
    """With 400 and a reason, not with an answer that ignores the sound."""
    with pytest.raises(openai.BadRequestError, match="audio input is not supported"):
        _ask(real, "ai/smollm2", _sound())
