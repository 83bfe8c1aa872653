"""Programs that run in an engine's own Python, by `__main__.py`; they import nothing of this package."""

from pathlib import Path

from modelrunner.engines.base import Address

STANDALONE = Path(__file__).parent  # what that Python is told to run


def listening(address: Address) -> tuple[str, ...]:
    """Say where a program of these is to listen."""
    if address.socket is not None:
        return ("--socket", str(address.socket))
    return ("--host", address.host, "--port", str(address.port))
