"""Who is behind a prefix: the base URL, and the variable that holds the key."""

from enum import Enum, auto
from typing import NamedTuple


class Dialect(Enum):
    """What a provider speaks."""

    OPENAI = auto()
    AZURE = auto()
    ANTHROPIC = auto()


class Provider(NamedTuple):
    """A provider; one that is not known speaks as OpenAI does, and needs its address."""

    name: str
    base: str = ""
    key_variable: str = ""
    dialect: Dialect = Dialect.OPENAI


OPENAI = Provider("openai", "https://api.openai.com/v1", "OPENAI_API_KEY")
RUNNER = Provider("docker_model_runner")
PROVIDERS = {
    provider.name: provider
    for provider in (
        OPENAI,
        RUNNER,
        Provider("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", Dialect.ANTHROPIC),
        Provider("azure", "", "AZURE_API_KEY", Dialect.AZURE),
        Provider("azure_ai", "", "AZURE_API_KEY", Dialect.AZURE),
        Provider("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        Provider("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
        Provider("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        Provider("fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
        Provider("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        Provider("lm_studio", "http://localhost:1234/v1"),
        Provider("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        Provider("nvidia_nim", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        Provider("ollama", "http://localhost:11434/v1"),
        Provider("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        Provider("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        Provider("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
        Provider("together_ai", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        Provider("vllm", "http://localhost:8000/v1"),
        Provider("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    )
}
