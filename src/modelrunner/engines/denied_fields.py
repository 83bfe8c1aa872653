"""Fields of requests that an engine must not get: those that name files or hosts, bring code, or break it.

Each plug-in declares its own with its launch; the daemon looks for them before a request is passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeniedField:
    """Why a field is not passed on. With `least`, whole numbers from that one on are let through."""

    why: str
    least: int | None = None


# The name of a field, or of one within an object: `outer.inner`.
DeniedFields = Mapping[str, DeniedField]

FILES = DeniedField(
    "it names files for the engine to load, and an engine opens only what comes with its model"
)
HOSTS = DeniedField("it names hosts for the engine to talk to")
CODE = DeniedField("it is code, or names some, for the engine to run")
TENSORS = DeniedField("it is data that only the engine's own programs write")
OTHERS = DeniedField("it could be the name of somebody else's request or session")
TEMPLATE = DeniedField("templates come with the model: package them with `--chat-template`")

TEMPLATES: DeniedFields = {"chat_template": TEMPLATE, "chat_template_kwargs.chat_template": TEMPLATE}


def at_least(least: int) -> DeniedField:
    """Make one for a number that an engine does not check itself."""
    return DeniedField(f"it has to be a whole number, at least {least}", least)
