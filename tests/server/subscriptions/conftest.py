"""Fixtures of the subscription tests: every store, the API over it, and webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durafold_server.store.base import StreamStore
from support.server_stores import KINDS, ManualClock, open_store
from support.subscriptions import Api, FakeWebhook, api_on, webhook

__all__ = ["webhook"]


@pytest.fixture
def clock() -> ManualClock:
    """The clock of store and subscriptions."""
    return ManualClock()


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, anyio_backend: str
) -> AsyncIterator[StreamStore]:
    """An empty store of each kind."""
    store = await open_store(request.param, tmp_path / "data", clock)
    yield store
    await store.aclose()


@pytest.fixture
def fake_webhook() -> FakeWebhook:
    """What answers notifications of `api`."""
    return FakeWebhook()


@pytest.fixture
async def api(store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook) -> AsyncIterator[Api]:
    """The API over a store of each kind, with webhooks on."""
    async with api_on(store, clock, fake_webhook) as api:
        yield api
