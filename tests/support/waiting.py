"""Waiting for something to become true, without guessing how long it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

__all__ = ["PATIENCE_S", "eventually", "settled"]

PATIENCE_S: Final = 60.0
"""How long a test waits before it fails; what it waits for takes milliseconds."""


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; it may be asynchronous."""
    with anyio.fail_after(PATIENCE_S):
        while not await _holds(condition):
            await anyio.sleep(0.005)


async def settled(condition: Callable[[], object], *, for_s: float = 0.05) -> None:
    """Check that the condition goes on holding for a while."""
    with anyio.move_on_after(for_s):
        while True:
            assert condition()
            await anyio.sleep(0.005)


async def _holds(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if isinstance(found, Awaitable) else found
