"""Expired streams go, with their data, and nobody notices who removed them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durafold_server.protocol.errors import NotFound, StreamExists
from durafold_server.service import StreamService
from support.server_requests import create_request, read_request
from support.server_stores import KINDS, ManualClock, open_store

pytestmark = pytest.mark.anyio

MINUTE_US = 60_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=KINDS)
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, anyio_backend: str
) -> AsyncIterator[StreamService]:
    store = await open_store(request.param, tmp_path / "data", clock)
    service = StreamService(store, clock=clock)
    yield service
    await service.aclose()


async def test_an_expired_stream_and_its_data_are_removed(service: StreamService, clock: ManualClock) -> None:
    created = await service.create(create_request("a", b"abc", stream_ttl="30"))
    clock.now_us += MINUTE_US

    await service.reap()

    assert await service.store.load("a") is None
    while (await service.store.read(created.stream.id, 0, until=3, max_bytes=9, framed=False)).data:
        await asyncio.sleep(0.01)  # freed in the background; fails by the time limit


async def test_a_stream_that_was_read_meanwhile_stays(service: StreamService, clock: ManualClock) -> None:
    await service.create(create_request("a", b"abc", stream_ttl="90"))
    clock.now_us += MINUTE_US
    await service.read(read_request("a"))
    clock.now_us += MINUTE_US

    await service.reap()

    assert (await service.read(read_request("a"))).data == b"abc"


async def test_an_expired_source_is_kept_for_its_forks_but_hidden(
    service: StreamService, clock: ManualClock
) -> None:
    await service.create(create_request("a", b"abc", stream_ttl="30"))
    await service.create(create_request("b", stream_forked_from="/v1/stream/a", stream_ttl="3600"))
    clock.now_us += MINUTE_US

    await service.reap()

    assert (await service.read(read_request("b"))).data == b"abc"
    with pytest.raises(NotFound):
        await service.read(read_request("a"))
    with pytest.raises(StreamExists):
        await service.create(create_request("a", b"xyz"))
