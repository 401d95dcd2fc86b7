"""The `__registry__` stream, on every store: always there, always right, never larger than it must be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durafold_server import service as service_module
from durafold_server.config import ServiceSettings
from durafold_server.protocol import responses
from durafold_server.protocol.errors import Gone, NotFound, NotRetained, ReadOnly, StreamExists
from durafold_server.protocol.requests import ListRequest
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure, StreamStore
from support.registry import fold, messages, registered
from support.server_requests import JSON, append_request, create_request, next_offset, read_request
from support.server_stores import KINDS, ManualClock, open_store

pytestmark = pytest.mark.anyio

MINUTE_US = 60_000_000


@pytest.fixture(autouse=True)
def only_reaped_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(service_module, "_REAP_INTERVAL_S", 3600.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, anyio_backend: str
) -> StreamStore:
    return await open_store(request.param, tmp_path / "data", clock)


@pytest.fixture
async def service(store: StreamStore, clock: ManualClock) -> AsyncIterator[StreamService]:
    service = StreamService(store, clock=clock)
    await service.start()
    yield service
    await service.aclose()


async def put(service: StreamService, path: str, **headers: str) -> None:
    await service.create(create_request(path, **headers))


async def close(service: StreamService, path: str) -> None:
    await service.append(append_request(path, stream_closed="true"))


async def operations(service: StreamService) -> list[tuple[str, str]]:
    return [(message["headers"]["operation"], message["key"]) for message in await messages(service)]


async def size(service: StreamService) -> int:
    registry = await service.head("__registry__")
    return registry.tail - registry.start


async def churn(service: StreamService, rounds: int) -> None:
    """Make and delete streams, a hundred at a time."""
    for _ in range(rounds):
        await asyncio.gather(*(put(service, f"churn/{n}") for n in range(100)))
        await asyncio.gather(*(service.delete(f"churn/{n}") for n in range(100)))


async def with_registry(store: StreamStore, enabled: bool) -> StreamService:
    """Another service of the same store, as after a restart."""
    service = StreamService(store, ServiceSettings(registry=enabled))
    await service.start()
    return service


# What it tells


async def test_it_is_there_from_the_start_and_does_not_list_itself(service: StreamService) -> None:
    registry = await service.head("__registry__")

    assert registry.content_type == "application/json"
    assert await messages(service) == []


async def test_it_tells_of_every_change_once(service: StreamService, clock: ManualClock) -> None:
    await put(service, "a")
    await put(service, "a")
    await put(service, "b", stream_ttl="30")
    await put(service, "f", stream_forked_from="/v1/stream/a")
    await service.append(append_request("a", b"x", content_type="application/octet-stream"))
    await close(service, "a")
    await close(service, "a")
    await service.delete("f")
    clock.now_us += MINUTE_US
    await service.reap()

    assert await operations(service) == [
        ("insert", "a"),
        ("insert", "b"),
        ("insert", "f"),
        ("update", "a"),
        ("delete", "f"),
        ("delete", "b"),
    ]
    assert [message["headers"].get("reason") for message in await messages(service)] == [
        *[None] * 4,
        "deleted",
        "expired",
    ]
    assert await registered(service) == {"a": True}


async def test_an_append_that_closes_is_told_with_its_data(service: StreamService) -> None:
    await put(service, "a", content_type=JSON)

    await service.append(append_request("a", b"1", content_type=JSON, stream_closed="true"))

    assert await registered(service) == {"a": True}
    assert (await service.read(read_request("a"))).data == b"1,"


async def test_a_soft_deleted_source_is_told_once(service: StreamService) -> None:
    await put(service, "a")
    await put(service, "f", stream_forked_from="/v1/stream/a")
    await service.delete("a")
    assert await registered(service) == {"f": False}

    await service.delete("f")

    assert (await operations(service))[2:] == [("delete", "a"), ("delete", "f")]


async def test_a_long_poll_of_it_is_woken_by_a_new_stream(service: StreamService) -> None:
    gone = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(service.poll(read_request("__registry__", "now", "long-poll"), gone))
    await asyncio.sleep(0)

    await put(service, "a")

    assert b'"key":"a"' in (await asyncio.wait_for(waiting, 20)).data


async def test_it_agrees_with_the_streams_under_concurrent_changes(service: StreamService) -> None:
    chance = random.Random(7)

    async def change(path: str) -> None:
        for _ in range(15):
            step = chance.choice([put, close, StreamService.delete])
            try:
                await step(service, path)  # type: ignore[operator]
            except (NotFound, Gone, StreamExists):
                await asyncio.sleep(0)

    await asyncio.gather(*(change(f"s{n % 5}") for n in range(20)))

    listing = await service.list_streams(ListRequest("", None, 100))
    assert await registered(service) == {stream.path: stream.closed for stream, _ in listing.streams}


# Clients may only read it


@pytest.mark.parametrize(
    "change",
    [
        lambda service: put(service, "__registry__", content_type=JSON),
        lambda service: put(service, "__registry__", stream_forked_from="/v1/stream/a"),
        lambda service: put(service, "f", stream_forked_from="/v1/stream/__registry__"),
        lambda service: service.append(append_request("__registry__", b"1", content_type=JSON)),
        lambda service: close(service, "__registry__"),
        lambda service: service.delete("__registry__"),
    ],
)
async def test_clients_cannot_change_it(service: StreamService, change: Any) -> None:
    await put(service, "a")

    with pytest.raises(ReadOnly):
        await change(service)

    assert await registered(service) == {"a": False}


# It is complete, or not there


async def test_it_is_made_from_the_streams_if_it_is_missing(store: StreamStore) -> None:
    without = await with_registry(store, False)
    await put(without, "a")
    await put(without, "b", stream_closed="true")
    await put(without, "f", stream_forked_from="/v1/stream/a")
    await put(without, "gone", stream_expires_at="2099-01-01T00:00:00Z")
    await without.delete("a")
    with pytest.raises(NotFound):
        await without.head("__registry__")

    service = await with_registry(store, True)

    assert await registered(service) == {"b": True, "f": False, "gone": False}
    await service.aclose()
    await without.aclose()


async def test_after_a_time_without_it_it_is_another_stream(store: StreamStore) -> None:
    before = await with_registry(store, True)
    await put(before, "a")
    offset = next_offset(responses.described(await before.head("__registry__")))
    without = await with_registry(store, False)
    await without.delete("a")
    await put(without, "b")

    service = await with_registry(store, True)

    assert await registered(service) == {"b": False}
    with pytest.raises(Gone):
        await service.read(read_request("__registry__", offset))
    await asyncio.gather(service.aclose(), before.aclose(), without.aclose())


async def test_the_next_start_leaves_it_as_it_is(store: StreamStore) -> None:
    before = await with_registry(store, True)
    await put(before, "a")
    registry = await before.head("__registry__")

    service = await with_registry(store, True)

    assert await service.head("__registry__") == registry
    await asyncio.gather(service.aclose(), before.aclose())


async def test_a_service_that_was_not_started_makes_it_with_the_first_change(store: StreamStore) -> None:
    service = StreamService(store)

    await asyncio.gather(*(put(service, path) for path in "abc"))

    assert await registered(service) == dict.fromkeys("abc", False)
    await service.aclose()


async def test_a_clients_stream_of_its_name_is_not_touched(store: StreamStore) -> None:
    without = await with_registry(store, False)
    await put(without, "__registry__", content_type="text/plain")

    with pytest.raises(StoreFailure, match="start with --no-registry"):
        await with_registry(store, True)

    assert (await without.head("__registry__")).content_type == "text/plain"
    await without.delete("__registry__")
    await without.aclose()


# It is tidied up


async def test_churn_does_not_make_it_grow_for_ever(service: StreamService) -> None:
    await asyncio.gather(*(put(service, f"kept/{n}") for n in range(20)))
    await close(service, "kept/7")
    await churn(service, 4)
    grown = await size(service)

    await service.reap()

    assert grown > 128 * 1024
    assert await size(service) < 20 * 1024
    assert await registered(service) == {f"kept/{n}": n == 7 for n in range(20)}


async def test_readers_from_before_are_refused_and_readers_at_the_tail_go_on(service: StreamService) -> None:
    await put(service, "kept")
    early = next_offset(responses.described(await service.head("__registry__")))
    await churn(service, 4)
    late = next_offset(responses.described(await service.head("__registry__")))

    await service.reap()

    with pytest.raises(NotRetained):
        await service.read(read_request("__registry__", early))
    view = await service.read(read_request("__registry__", late))
    assert b'"key":"kept"' in view.data
    assert view.at_tail


async def test_its_old_data_is_freed(service: StreamService) -> None:
    await churn(service, 8)  # more than what a store keeps as one piece
    registry = await service.head("__registry__")

    await service.reap()

    assert not await service.store.extents(registry.id, 0, until=registry.tail, limit=9)


async def test_a_small_one_is_left_alone(service: StreamService) -> None:
    await churn(service, 1)

    await service.reap()

    assert (await service.head("__registry__")).start == 0


async def test_many_living_streams_are_no_reason_to_tidy(service: StreamService) -> None:
    await asyncio.gather(*(put(service, f"{n:0100d}") for n in range(400)))

    await service.reap()

    assert await size(service) > 100 * 1024
    assert (await service.head("__registry__")).start == 0


async def test_long_names_are_tidied_once_and_then_left_alone(service: StreamService) -> None:
    await asyncio.gather(*(put(service, f"{n:02000d}") for n in range(100)))
    await service.reap()
    first = await service.head("__registry__")

    await service.reap()

    assert await service.head("__registry__") == first
    assert len(await registered(service)) == 100


async def test_it_is_right_all_along_while_it_is_tidied_up(service: StreamService) -> None:
    async def reap() -> None:
        while not churning.done():
            await service.reap()
            await asyncio.sleep(0)

    async def change_kept() -> None:
        for n in range(60):
            await put(service, f"kept/{n}")
            await asyncio.sleep(0.001)

    churning = asyncio.create_task(churn(service, 8))
    await asyncio.gather(churning, change_kept(), reap())
    await service.reap()

    assert await registered(service) == {f"kept/{n}": False for n in range(60)}
    assert await size(service) < 200 * 1024


async def test_two_who_tidy_at_once_do_not_get_in_each_others_way(service: StreamService) -> None:
    await put(service, "kept")
    await churn(service, 4)

    await asyncio.gather(service.reap(), service.reap())

    assert await size(service) < 20 * 1024
    assert await registered(service) == {"kept": False}


def test_folding_messages_out_of_order_would_be_noticed() -> None:
    """The helper that the other tests rely on."""
    insert = {"type": "stream", "key": "a", "value": {"path": "a"}, "headers": {"operation": "insert"}}
    delete = {"type": "stream", "key": "a", "headers": {"operation": "delete"}}

    assert fold([insert, delete]) == {}
    assert fold([delete, insert]) == {"a": {"path": "a"}}
