"""Fixtures for pytest: `pytest_plugins = ["durafold.testing.fixtures"]` in a `conftest.py`.

They need the plug-in of anyio (`pytestmark = pytest.mark.anyio`), on asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from durafold.provider import Provider
from durafold.testing.local import FakeClock, LocalServer

__all__ = ["fake_clock", "local_provider", "local_server"]


@pytest.fixture
async def local_server() -> AsyncIterator[LocalServer]:
    """A server inside the test, without faults until `fault_share` is set."""
    async with LocalServer() as server:
        yield server


@pytest.fixture
async def local_provider(local_server: LocalServer, fake_clock: FakeClock) -> AsyncIterator[Provider]:
    """A strict provider of it."""
    async with local_server.provider(strict=True, clock=fake_clock) as party:
        yield party


@pytest.fixture
def fake_clock() -> FakeClock:
    """The clock of `local_provider`, at 0 seconds since 1970."""
    return FakeClock()
