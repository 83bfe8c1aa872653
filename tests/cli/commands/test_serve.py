"""`serve`: what its help says."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_help_says_what_holds_without_a_flag(dmr: "Run") -> None:
    """With the variable that sets it for good; what has no default names none."""
    text = dmr("serve", "--help").out

    assert "Address to listen on. (DMR_BIND, default 127.0.0.1)\n" in text
    assert "(MODEL_RUNNER_PORT, default 12434)\n" in text
    assert "(MODEL_RUNNER_SOCK)\n" in text
