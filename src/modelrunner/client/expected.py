"""What the answers of routes have to look like: the fields that commands read, and no more.

Other daemons answer these routes too, and later versions say more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelrunner.client.shape import INTEGER, NUMBER, TEXT, Expected

if TYPE_CHECKING:  # importing them takes 3 ms, which `list` does not have
    from modelrunner.wire.configuration import ConfigurationView, ConfiguredReply, ResetReply
    from modelrunner.wire.daemon import HealthReply
    from modelrunner.wire.engines import DiskUsage, RunningModel, UnloadReply
    from modelrunner.wire.insight import EventView, Explanation, WaitingRequest
    from modelrunner.wire.models import ModelView, OpenAIModel, OpenAIModelList, PruneReply, Removal

_DESCRIBED = {
    "tags?": (None, [TEXT]),
    "created?": INTEGER,
    "config?": (
        None,
        {
            "parameters?": TEXT,
            "quantization?": TEXT,
            "architecture?": TEXT,
            "size?": TEXT,
            "context_size?": (None, INTEGER),
            "gguf?": (None, {"*": TEXT}),
        },
    ),
    "details?": {"size": INTEGER, "fits": INTEGER, "memory_needed": INTEGER, "memory_available": INTEGER},
}
_EVENT = {"at": TEXT, "model": TEXT, "mode": TEXT, "text": TEXT}

# Models

MODELS: Expected[list[ModelView]] = Expected([{"id": TEXT, **_DESCRIBED}])
MODEL: Expected[ModelView] = Expected({"id?": TEXT, **_DESCRIBED})
OPENAI_MODELS: Expected[OpenAIModelList] = Expected({"data": [{"id": TEXT}]})
OPENAI_MODEL: Expected[OpenAIModel] = Expected({})
DIGESTS: Expected[list[str]] = Expected([TEXT])
PRUNED: Expected[PruneReply] = Expected(
    {"files": [{"path": TEXT, "kind": TEXT, "size": INTEGER}], "freed": INTEGER}
)
REMOVALS: Expected[list[Removal]] = Expected([{"*": TEXT}])

# Engines

STATUSES: Expected[dict[str, str]] = Expected({"*": TEXT})
RUNNING: Expected[list[RunningModel]] = Expected(
    [
        {
            "model_name": TEXT,
            "backend_name": TEXT,
            "mode": TEXT,
            "last_used?": TEXT,
            "keep_alive?": TEXT,
            "context_size?": INTEGER,
            "memory?": INTEGER,
            "requests?": INTEGER,
            "waiting?": INTEGER,
        }
    ]
)
EVENT: Expected[EventView] = Expected(_EVENT)
EVENTS: Expected[list[EventView]] = Expected([_EVENT])
EXPLANATION: Expected[Explanation] = Expected({"sentences": [TEXT], "events": [_EVENT]})
QUEUE: Expected[list[WaitingRequest]] = Expected(
    [{"model": TEXT, "mode": TEXT, "position": INTEGER, "waited": NUMBER, "text": TEXT}]
)
DISK_USAGE: Expected[DiskUsage] = Expected(
    {"models_disk_usage": INTEGER, "default_backend_disk_usage": INTEGER}
)
UNLOADED: Expected[UnloadReply] = Expected({"unloaded_runners": INTEGER})
CONFIGURED: Expected[ConfiguredReply] = Expected(
    {"refusal": {"reason": TEXT, "message": TEXT, "hint": (None, TEXT)}}
)
RESET: Expected[ResetReply] = Expected({"forgotten": INTEGER})
CONFIGURATIONS: Expected[list[ConfigurationView]] = Expected(
    [{"Model?": TEXT, "Mode?": TEXT, "Config": {}, "Effective?": {"*": {"from": TEXT}}}]
)

# The daemon

VERSION: Expected[dict[str, object]] = Expected({})
HEALTH: Expected[HealthReply] = Expected(
    {"status": TEXT, "seconds?": NUMBER, "waiting?": INTEGER, "text?": TEXT}
)
