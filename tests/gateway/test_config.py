"""The gateway's file: what it may say, and what is refused."""

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.gateway.config import parse
from modelrunner.gateway.providers import PROVIDERS

RUNNER = "http://127.0.0.1:12434/engines/v1"

FILE = """
model_list:
  - model_name: fast
    params: {model: docker_model_runner/ai/smollm2, timeout: 5}
  - model_name: fast
    params: {model: groq/llama, api_key: os.environ/MY_KEY}
  - model_name: big
    params: {model: anthropic/claude, api_key: "${SECRET}"}
  - model_name: plain
    litellm_params: {model: gpt-5}
  - model_name: own
    params: {model: mine/model, api_base: "http://own:1/v1/"}
general_settings:
  master_key: os.environ/MASTER
  num_retries: 1
  fallbacks: [{fast: [big, plain]}]
environment_variables:
  SECRET: ${INNER}
"""


def test_everything_is_read() -> None:
    """Bases and keys come from the file, the provider, or the environment."""
    environ = {"MY_KEY": "k1", "INNER": "k2", "MASTER": "m", "OPENAI_API_KEY": "k3"}

    config = parse(FILE, environ, RUNNER)

    seen = [
        (one.alias, one.provider.name, one.model, one.base, one.key, one.timeout)
        for one in config.deployments
    ]
    assert seen == [
        ("fast", "docker_model_runner", "ai/smollm2", RUNNER, "", 5.0),
        ("fast", "groq", "llama", "https://api.groq.com/openai/v1", "k1", 600.0),
        ("big", "anthropic", "claude", "https://api.anthropic.com/v1", "k2", 600.0),
        ("plain", "openai", "gpt-5", "https://api.openai.com/v1", "k3", 600.0),
        ("own", "mine", "model", "http://own:1/v1", "", 600.0),
    ]
    assert (config.master_key, config.retries) == ("m", 1)
    assert config.fallbacks == {"fast": ("big", "plain")}
    assert config.aliases == ["big", "fast", "own", "plain"]


def test_a_variable_that_is_not_set_stays_as_typed() -> None:
    """So that what is missing can be seen at the provider."""
    config = parse("model_list: [{model_name: a, params: {model: groq/x, api_key: '${NO}'}}]", {}, RUNNER)

    assert config.deployments[0].key == "${NO}"


def test_keys_are_not_shown() -> None:
    """Not where a configuration is printed."""
    shown = repr(parse(FILE, {"MASTER": "hidden-1", "INNER": "hidden-2"}, RUNNER))

    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no models"),
        ("[]", "the configuration has to be a table"),
        ("{", "is no YAML"),
        ("model_list: []", "has no models"),
        ("model_list: [{model_name: a}]", r"model_list\[0\] needs `model_name` and `params.model`"),
        ("model_list: [{model_name: a, params: [1]}]", r"model_list\[0\].params has to be a table"),
        (
            "model_list: [{model_name: a, params: {model: mine/x}}]",
            "params needs `api_base`",
        ),
        ("model_list: [{model_name: a, params: {model: azure/x}}]", "needs `api_base`"),
        (
            "model_list: [{model_name: a, params: {model: x}}]\ngeneral_settings: {num_retries: many}",
            "num_retries has to be a number",
        ),
        (
            "model_list: [{model_name: a, params: {model: x}}]\ngeneral_settings: {fallbacks: [{a: [b]}]}",
            "no model_name is `b`",
        ),
        ("model_list: [{model_name: a, params: {model: x, timeout: soon}}]", "timeout has to be a number"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    """With its place in the file."""
    with pytest.raises(InvalidRequest, match=message):
        parse(text, {}, RUNNER)


def test_every_provider_has_an_address_or_needs_one() -> None:
    """Those of this machine need no key."""
    without = {name for name, provider in PROVIDERS.items() if not provider.base}
    keyless = {name for name, provider in PROVIDERS.items() if not provider.key_variable}

    assert without == {"azure", "azure_ai", "docker_model_runner"}
    assert keyless == {"docker_model_runner", "lm_studio", "ollama", "vllm"}
