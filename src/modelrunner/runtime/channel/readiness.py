"""Asking a starting engine whether it is ready: often, to notice it at once, and cheaply, to disturb nobody.

A bare connection and one line of its answer; a client with a pool would cost several times as much.
"""

import asyncio
from itertools import chain, repeat

from modelrunner.engines.base import Address

# Seconds between two questions. The figure to meet is 20 ms from ready to noticed; one question takes about
# 0.3 ms, so this costs some two hundredths of a core, and less while there is no socket to connect to.
_FIRST_PAUSES = (0.002, 0.003, 0.005, 0.008, 0.012)
_PAUSE = 0.015
_PATIENCE = 1.0  # seconds for one answer; an engine that accepts and does not answer yet is asked again


async def until_ready(address: Address, path: str) -> None:
    """Return as soon as `GET path` is answered with 200; for ever, if it never is."""
    for pause in chain(_FIRST_PAUSES, repeat(_PAUSE)):
        if await _is_ready(address, path):
            return
        await asyncio.sleep(pause)


async def _is_ready(address: Address, path: str) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _ask(address, path)
    except (OSError, TimeoutError, ValueError):  # ValueError: a first line without an end
        return False


async def _ask(address: Address, path: str) -> bool:
    if address.socket is not None:
        reader, writer = await asyncio.open_unix_connection(address.socket)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
    finally:
        writer.transport.abort()
    return status.split(b" ", 2)[1:2] == [b"200"]
