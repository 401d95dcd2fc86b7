"""The fixture that runs a test on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durafold_server.store.base import StreamStore
from support.server_stores import KINDS, ManualClock, open_store


@pytest.fixture
def clock() -> ManualClock:
    """The store's clock."""
    return ManualClock()


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, anyio_backend: str
) -> AsyncIterator[StreamStore]:
    """An empty store of each kind."""
    store = await open_store(request.param, tmp_path / "data", clock)
    yield store
    await store.aclose()
