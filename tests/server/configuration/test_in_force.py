"""What is in force for engines that do not know their context before they start."""

import pytest

from modelrunner.engines.base import Context, Options, Origin
from modelrunner.models.description.config import ModelConfig
from modelrunner.server.configuration.in_force import plain_context


@pytest.mark.parametrize(
    ("packaged", "configured", "context"),
    [
        (None, None, None),
        (4096, None, Context(4096, Origin.PACKAGED)),
        (4096, 512, Context(512, Origin.CONFIGURED)),
        (4096, -1, Context(4096, Origin.PACKAGED)),
        (-1, None, None),
        (None, 512, Context(512, Origin.CONFIGURED)),
    ],
)
def test_a_context_is_what_was_configured_or_packaged(
    packaged: int | None, configured: int | None, context: Context | None
) -> None:
    """A number below one is no size; nothing known is nothing said."""
    assert context == plain_context(ModelConfig(context_size=packaged), Options(context_size=configured))
