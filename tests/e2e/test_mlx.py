"""Real mlx-lm in a daemon, on the processor."""

from pathlib import Path

import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from modelrunner.engines.base import EngineSettings, Options
from modelrunner.engines.estimate import RAM, Device
from modelrunner.engines.mlx import Mlx
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.testing.daemon import Runner, running

MODEL = "ai/small"
ASKED: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.mark.mlx
@pytest.mark.timeout(300)
def test_a_model_in_safetensors_answers_whole_and_in_pieces(
    tmp_path: Path, smollm2_safetensors: Path, mlx_folder: Path
) -> None:
    """By the name that the caller gave, in the sandbox, and in no more memory than was set aside."""
    environment = Mlx(EngineSettings(environments=mlx_folder)).environment
    assert environment is not None
    with (
        running(tmp_path, MLX_SERVER_PATH=str(environment.target)) as runner,
        openai.OpenAI(base_url=f"{runner.url}/v1", api_key="none", timeout=280, max_retries=0) as client,
    ):
        runner.must("package", "--safetensors-dir", smollm2_safetensors, MODEL)
        chat = client.chat.completions
        whole = chat.create(model=MODEL, temperature=0, max_tokens=16, messages=ASKED)
        stream = chat.create(model=MODEL, temperature=0, max_tokens=16, messages=ASKED, stream=True)
        pieces = [piece for chunk in stream for piece in [chunk.choices[0].delta.content] if piece]
        listed = runner.must("ps").splitlines()[1].split()
        taken = _engine(runner).memory_info().rss

    assert "Paris" in (whole.choices[0].message.content or "")
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3
    assert listed[:2] == ["small", "mlx"]
    assert taken <= _set_aside(smollm2_safetensors)


def _engine(runner: Runner) -> psutil.Process:
    for process in psutil.Process(runner.pid).children(recursive=True):
        if "mlx_lm.server" in process.cmdline():
            return process
    raise AssertionError("no engine")


def _set_aside(folder: Path) -> int:
    bundle = Bundle(folder, ModelConfig(format=Format.SAFETENSORS), (folder / "model.safetensors",))
    found = Mlx(EngineSettings()).estimate(bundle, Mode.COMPLETION, Options(), [Device(RAM, 0, 0)])
    assert found is not None
    return found.total
