"""The gateway's file: which names clients use, and what is behind each of them. Read once, refused if wrong.

Source: docker/model-runner `cmd/cli` gateway, whose files are read as they are, and `litellm_params` too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from modelrunner.errors import InvalidRequest
from modelrunner.gateway.providers import OPENAI, PROVIDERS, RUNNER, Provider

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_ENVIRON = "os.environ/"
_TIMEOUT = 600.0  # seconds
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model at one provider. `timeout` is in seconds."""

    alias: str
    provider: Provider
    model: str
    base: str
    key: str = field(default="", repr=False)
    api_version: str = ""
    timeout: float = _TIMEOUT


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the gateway does."""

    deployments: tuple[Deployment, ...]
    master_key: str = field(default="", repr=False)
    retries: int = _RETRIES
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drops_unknown: bool = False
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def aliases(self) -> list[str]:
        """The names that clients use."""
        return sorted({deployment.alias for deployment in self.deployments})


def parse(text: str, environ: Mapping[str, str], runner_base: str) -> Config:
    """Read the file's text. `runner_base` is the OpenAI base URL of the model runner.

    Raises:
        InvalidRequest: it is no YAML, or lacks what it needs; the message says where.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as exc:
        raise InvalidRequest(f"the configuration is no YAML: {exc}") from exc
    top = _table(document, "the configuration")
    variables = {
        str(name): _resolved(str(value), environ)
        for name, value in _table(top.get("environment_variables"), "environment_variables").items()
    }
    environ = {**environ, **variables}
    general = _table(top.get("general_settings"), "general_settings")
    gateway = _table(top.get("gateway_settings"), "gateway_settings")
    timeout = gateway.get("request_timeout", general.get("request_timeout", _TIMEOUT))
    entries = top.get("model_list")
    if not isinstance(entries, list) or not entries:
        raise InvalidRequest("the configuration has no models", hint="list them below `model_list`")
    deployments = tuple(
        _deployment(_table(entry, f"model_list[{at}]"), f"model_list[{at}]", environ, timeout, runner_base)
        for at, entry in enumerate(entries)
    )
    known = {deployment.alias for deployment in deployments}
    return Config(
        deployments,
        _resolved(str(general.get("master_key") or ""), environ),
        int(_number(gateway.get("num_retries", general.get("num_retries", _RETRIES)), "num_retries")),
        _fallbacks(general.get("fallbacks"), known),
        bool(gateway.get("drop_params")),
        variables,
    )


def _deployment(
    entry: Mapping[str, Any], where: str, environ: Mapping[str, str], timeout: object, runner_base: str
) -> Deployment:
    alias = entry.get("model_name")
    params = _table(entry.get("params") or entry.get("litellm_params"), f"{where}.params")
    model = params.get("model")
    if not isinstance(alias, str) or not isinstance(model, str) or not alias or not model:
        raise InvalidRequest(f"{where} needs `model_name` and `params.model`")
    name, slash, rest = model.partition("/")
    provider = PROVIDERS.get(name, Provider(name)) if slash else OPENAI
    base = _resolved(str(params.get("api_base") or ""), environ) or provider.base
    if provider is RUNNER and not params.get("api_base"):
        base = runner_base
    if not base:
        raise InvalidRequest(f"{where}.params needs `api_base`", hint=f"nobody knows where `{name}` is")
    given = _resolved(str(params.get("api_key") or ""), environ)
    return Deployment(
        alias,
        provider,
        rest if slash else model,
        base.rstrip("/"),
        given or environ.get(provider.key_variable, ""),
        _resolved(str(params.get("api_version") or ""), environ),
        _number(params.get("timeout", entry.get("timeout", timeout)), f"{where}.params.timeout"),
    )


def _fallbacks(entries: object, known: set[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(entries, list | None):
        raise InvalidRequest("general_settings.fallbacks has to be a list")
    found: dict[str, tuple[str, ...]] = {}
    for at, entry in enumerate(entries or ()):
        for alias, others in _table(entry, f"general_settings.fallbacks[{at}]").items():
            names = tuple(map(str, others)) if isinstance(others, list) else (str(others),)
            for name in (str(alias), *names):
                if name not in known:
                    raise InvalidRequest(f"general_settings.fallbacks: no model_name is `{name}`")
            found[str(alias)] = names
    return found


def _resolved(text: str, environ: Mapping[str, str]) -> str:
    """Put variables in; one that is not set stays as it was typed."""
    if text.startswith(_ENVIRON):
        return environ.get(text.removeprefix(_ENVIRON), text)
    return _VARIABLE.sub(lambda found: environ.get(found[1], found[0]), text)


def _table(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} has to be a table of names and values")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidRequest(f"{where} has to be a number: `{value}`")
    return float(value)
