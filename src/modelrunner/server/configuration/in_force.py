"""What is in force for a model, value by value, and where each value comes from."""

from modelrunner.engines.base import Context, KnowsContext, Options, Origin
from modelrunner.engines.registry import Engines
from modelrunner.errors import RunnerError
from modelrunner.models.description.config import ModelConfig
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.units import format_keep_alive
from modelrunner.wire.configuration import InForce


def context_in_force(engines: Engines, catalogue: Catalogue, key: Key, options: Options) -> Context | None:
    """The context that options come to; None when nobody can say, or the model is gone."""
    try:
        engine = engines.get(key.engine)
        config = catalogue.config(catalogue.by_id(key.model))
    except RunnerError:
        return None
    if isinstance(engine, KnowsContext):
        return engine.context(config, options)
    return plain_context(config, options)


def plain_context(config: ModelConfig, options: Options) -> Context | None:
    """The context of an engine that does not say: what was configured, or else packaged."""
    if options.context_size is not None and options.context_size > 0:
        return Context(options.context_size, Origin.CONFIGURED)
    if config.context_size is not None and config.context_size > 0:
        return Context(config.context_size, Origin.PACKAGED)
    return None


def in_force(configurations: Configurations, key: Key, context: Context | None) -> dict[str, InForce]:
    """Everything by the names of a configuration: what was configured, and what applies without."""
    configured = configurations.effective(key).as_wire()
    values: dict[str, InForce] = {
        "keep_alive": _default(format_keep_alive(configurations.keep_alive(key))),
        "memory-check": _default(value=True),
        "record": _default(value=True),
    }
    for name, value in configured.items():
        if name != "pinned":
            values[name] = {"value": value, "from": Origin.CONFIGURED.value}
    if context is not None:
        values["context-size"] = {"value": context.tokens, "from": context.origin.value}
    pinned = configurations.pinned(key)
    values["pinned"] = {"value": True, "from": Origin.CONFIGURED.value} if pinned else _default(value=False)
    if pinned:
        values["keep_alive"] = {"value": format_keep_alive(None), "from": Origin.CONFIGURED.value}
    return dict(sorted(values.items()))


def _default(value: object) -> InForce:
    return {"value": value, "from": Origin.DEFAULT.value}
