"""Simon Willison's `llm` with its plug-in for OpenAI's API, unchanged, against the daemon's real engine."""

import math
import subprocess
from pathlib import Path

import llm
import pytest
from pydantic import BaseModel

from modelrunner.testing.daemon import BIN, Runner

pytestmark = pytest.mark.engine

QUESTION = "What is the capital of France? Answer with one word."
_MODELS = """
- model_id: small
  model_name: ai/smollm2
  api_base: {url}/v1
  supports_schema: true
- model_id: calling
  model_name: {calling}
  api_base: {url}/v1
  supports_tools: true
- model_id: responding
  model_name: ai/smollm2
  api_base: {url}/v1
  responses: true
"""


class Dog(BaseModel):
    name: str
    age: int


@pytest.fixture
def home(real: Runner, calling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file in which `llm` is told of models with OpenAI's API."""
    (tmp_path / "extra-openai-models.yaml").write_text(_MODELS.format(url=real.url, calling=calling))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{real.url}/v1")
    return tmp_path


def test_the_command_answers(home: Path) -> None:
    """As people use it, streaming to the terminal."""
    words = ("prompt", "-m", "small", "-o", "temperature", "0", "-o", "max_tokens", "24", QUESTION)
    done = subprocess.run([BIN / "llm", *words], capture_output=True, text=True, timeout=60, check=False)

    assert "Paris" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["small", "responding"])
def test_a_prompt_is_answered_whole_and_streamed(home: Path, name: str) -> None:
    """By the chat, and by the Responses API; both count tokens."""
    model = llm.get_model(name)
    whole = model.prompt(QUESTION, stream=False, temperature=0, max_tokens=24)
    streamed = model.prompt(QUESTION, stream=True, temperature=0, max_tokens=24)
    pieces = list(streamed)

    assert "Paris" in whole.text()
    assert len(pieces) > 2
    assert "Paris" in "".join(pieces)
    assert (whole.usage().output or 0) > 0


def test_a_schema_is_kept_to(home: Path) -> None:
    """A class of pydantic's."""
    answer = llm.get_model("small").prompt("Invent a dog.", schema=Dog, temperature=0, max_tokens=60)

    assert Dog.model_validate_json(answer.text()).name


def test_a_tool_is_called_and_its_result_is_sent_back(home: Path) -> None:
    """`llm` runs the function, and goes on with what it gave."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "Sunny."

    written = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'
    examples = "".join(f"Weather in {city}?\n{written % city}\n" for city in ("Rome", "Oslo", "Bern"))
    conversation = llm.get_model("calling").conversation(tools=[get_weather])
    first = conversation.prompt(
        "Weather in Paris?", system=f"Answer so:\n{examples}", temperature=0, max_tokens=64
    )
    first.text()
    results = first.execute_tool_calls()
    last = conversation.prompt("", tool_results=results, temperature=0, max_tokens=64)

    assert {"Paris"} == set(asked)
    assert {"Sunny."} == {result.output for result in results}
    assert last.text() or last.tool_calls()


def test_a_text_becomes_a_vector(home: Path, real: Runner) -> None:
    """By the name of the model that the plug-in knows, which here is another name of ours."""
    real.must("tag", "ai/smollm2", "text-embedding-3-small")
    vectors = list(llm.get_embedding_model("text-embedding-3-small").embed_multi(["a cat", "a dog"]))  # type: ignore[no-untyped-call]  # it has no types

    assert [576, 576] == [len(vector) for vector in vectors]
    assert math.isclose(1.0, math.hypot(*vectors[0]), abs_tol=1e-3)
