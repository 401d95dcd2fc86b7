"""Snapshots beside a stream: new clients read little, whatever the length of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest

from durafold.cache import MemoryStateCache
from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.engine import StreamReset
from durafold.errors import ConfigurationError
from durafold.hydrate import load_stream_with_reducer
from durafold.provider import Provider
from durafold.snapshots import SnapshotPolicy, SnapshotStore, companion_keys
from durafold.state.reducer import reducer
from support.server import ServerProcess
from support.waiting import eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))
EVERY_100 = SnapshotPolicy(every=100, jitter_s=0)
READ_ONLY = SnapshotPolicy(write=False)


@reducer(name="adding")
def adding(state: int, action: int) -> int:
    return state + action


async def append(server: ServerProcess, key: str, numbers: Sequence[int]) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.create()
        await stream.append_many(list(numbers))


async def companions(server: ServerProcess, key: str) -> list[Any]:
    """What is in the two companions of a stream, None for one that does not exist."""
    async with Provider(server.url) as party:
        fingerprint = party.server_reducer(adding, 0, key)._engine.definition.fingerprint
    found: list[Any] = []
    async with httpx.AsyncClient() as http:
        for companion in companion_keys(key, fingerprint):
            answer = await http.get(f"{server.url}/{companion}", params={"offset": "-1"})
            found.append(answer.json() if answer.status_code == 200 else None)
    return found


async def write_snapshot(server: ServerProcess, key: str, policy: SnapshotPolicy = EVERY_100) -> None:
    """Let a client follow the stream until it has written a snapshot that covers all of it."""
    async with Provider(server.url, snapshots=policy) as party:
        total = await party.server_reducer(adding, 0, key).ready()
        keeper = total._engine._keeper
        await eventually(lambda: keeper._snapshot_position == total._engine.confirmed.position)
        await eventually(lambda: not keeper._is_writing)


async def test_a_new_client_reads_the_snapshot_and_what_came_after(server: ServerProcess, key: str) -> None:
    await append(server, key, range(500))
    await write_snapshot(server, key)
    await append(server, key, [1, 2, 3])

    async with (
        WatchedClient() as client,
        Provider(server.url, snapshots=READ_ONLY, transport=client.transport) as party,
    ):
        total = await party.server_reducer(adding, 0, key).ready()

        assert total.value == sum(range(500)) + 6
        assert client.fetched == 1 + 3  # the snapshot is one message
        assert total._engine.confirmed.position == 503


async def test_loading_for_a_page_starts_from_the_snapshot(server: ServerProcess, key: str) -> None:
    await append(server, key, range(500))
    await write_snapshot(server, key)
    await append(server, key, [7])

    loaded = await load_stream_with_reducer(
        server.url, key, adding, 0, cache=MemoryStateCache(), snapshots=READ_ONLY
    )

    assert (loaded.state, loaded.fetched_count, loaded.confirmed.revision) == (sum(range(500)) + 7, 1, 501)


async def test_there_are_never_more_than_two_and_the_newer_one_counts(
    server: ServerProcess, key: str
) -> None:
    for number in range(4):
        await append(server, key, [number] * 150)
        await write_snapshot(server, key)

    found = await companions(server, key)

    assert [len(messages) for messages in found] == [1, 1]
    assert sorted(messages[0]["snapshot"]["position"] for messages in found) == [450, 600]


async def test_r3_copies_are_recognised_across_a_snapshot(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        total = party.server_reducer(adding, 0, key)
        for _ in range(5):
            await total.dispatch(1)
        client = total.client_id
    await write_snapshot(server, key, SnapshotPolicy(every=5, jitter_s=0))
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.append({"type": "action", "payload": 1, "meta": {"id": f"{client}:3", "v": 1}})
        await stream.append(100)

    async with Provider(server.url, snapshots=READ_ONLY) as party:
        assert (await party.server_reducer(adding, 0, key).ready()).value == 105


@pytest.mark.parametrize("damage", ["digest", "state", "form", "not an object", "of another fingerprint"])
async def test_a_snapshot_that_is_not_whole_is_not_used(server: ServerProcess, key: str, damage: str) -> None:
    await append(server, key, range(200))
    await write_snapshot(server, key)
    async with Provider(server.url) as party:
        fingerprint = party.server_reducer(adding, 0, key)._engine.definition.fingerprint
    name = companion_keys(key, fingerprint)[0]
    async with DurableStream(f"{server.url}/{name}") as stream:
        (message,) = await stream.read_json()
        broken: Any = {
            "digest": message | {"digest": "0" * 64},
            "state": message | {"snapshot": message["snapshot"] | {"state": 10**6}},
            "form": message | {"v": 99},
            "not an object": 5,
            "of another fingerprint": message | {"snapshot": message["snapshot"] | {"fingerprint": "x"}},
        }[damage]
        await stream.append(broken)

    async with Provider(server.url, snapshots=READ_ONLY) as party:
        assert (await party.server_reducer(adding, 0, key).ready()).value == sum(range(200))


@pytest.mark.parametrize("secret", [None, b"0123456789abcdef"])
async def test_r11_a_snapshot_of_another_stream_is_not_used(
    server: ServerProcess, key: str, secret: bytes | None
) -> None:
    policy = SnapshotPolicy(every=100, jitter_s=0, secret=secret)
    await append(server, key, range(200))
    await write_snapshot(server, key, policy)
    async with Provider(server.url) as party:
        definition = party.server_reducer(adding, 0, key)._engine.definition
    fingerprint = definition.fingerprint
    theirs, ours = (companion_keys(name, fingerprint)[0] for name in (key, f"{key}/other"))
    async with (
        DurableStream(f"{server.url}/{theirs}") as source,
        DurableStream(f"{server.url}/{ours}", content_type="application/json") as target,
    ):
        await target.create()
        await target.append((await source.read_json())[0])

        common = (fingerprint, definition.states, policy)
        assert await SnapshotStore(key, *common, lambda _: source).newest() is not None
        assert await SnapshotStore(f"{key}/other", *common, lambda _: target).newest() is None


async def test_with_a_secret_the_snapshots_of_others_are_not_taken(server: ServerProcess, key: str) -> None:
    await append(server, key, range(200))
    await write_snapshot(server, key)
    mine = SnapshotPolicy(write=False, secret=b"0123456789abcdef")

    async with (
        WatchedClient() as client,
        Provider(server.url, snapshots=mine, transport=client.transport) as party,
    ):
        total = await party.server_reducer(adding, 0, key).ready()

        assert (total.value, client.fetched) == (sum(range(200)), 201)


async def test_a_signed_snapshot_is_taken_with_the_same_secret(server: ServerProcess, key: str) -> None:
    policy = SnapshotPolicy(every=100, jitter_s=0, secret=b"0123456789abcdef")
    await append(server, key, range(200))
    await write_snapshot(server, key, policy)

    loaded = await load_stream_with_reducer(server.url, key, adding, 0, use_cache=False, snapshots=policy)

    assert (loaded.state, loaded.fetched_count) == (sum(range(200)), 0)


async def test_no_snapshot_is_written_past_a_fault(server: ServerProcess, key: str) -> None:
    await append(server, key, range(150))
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.append("no number")

    async with Provider(server.url, snapshots=EVERY_100, on_error=lambda error: None) as party:
        total = await party.server_reducer(adding, 0, key).ready()
        await total.dispatch(1)

    assert await companions(server, key) == [None, None]


async def test_many_clients_at_a_time_leave_whole_snapshots(server: ServerProcess, key: str) -> None:
    await append(server, key, range(200))
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(write_snapshot, server, key)

    found = [messages for messages in await companions(server, key) if messages]

    assert found
    assert {messages[-1]["snapshot"]["state"] for messages in found} == {sum(range(200))}


async def test_a_server_that_refuses_snapshots_costs_time_and_nothing_else(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    await append(server, key, range(200))
    async with (
        WatchedClient() as client,
        Provider(
            server.url,
            snapshots=EVERY_100,
            transport=client.transport,
            on_error=errors.append,
            settings=IMPATIENT,
        ) as party,
    ):
        client.intercept = lambda request: httpx.Response(403) if "__snapshot__" in request.url.path else None

        total = await party.server_reducer(adding, 0, key).ready()

        assert await total.dispatch(1) == sum(range(200)) + 1
        await eventually(lambda: len(errors) >= 2)


# ---- streams whose beginning is no longer kept ----


def trimmed_before(offset: str, key: str) -> Any:
    """A server that has only what comes after an offset."""

    def intercept(request: httpx.Request) -> httpx.Response | None:
        asked = request.url.params.get("offset", "-1")
        is_read = request.method == "GET" and request.url.path.endswith(key)
        is_gone = is_read and (asked == "-1" or asked < offset)
        return httpx.Response(410, text="no longer kept") if is_gone else None

    return intercept


async def test_a_stream_without_its_beginning_is_read_from_the_snapshot(
    server: ServerProcess, key: str
) -> None:
    await append(server, key, range(200))
    await write_snapshot(server, key)
    async with DurableStream(f"{server.url}/{key}") as stream:
        kept_from = (await stream.head()).next_offset
        await stream.append(1)

    async with (
        WatchedClient() as client,
        Provider(server.url, snapshots=READ_ONLY, transport=client.transport, settings=IMPATIENT) as party,
    ):
        client.intercept = trimmed_before(kept_from, key)
        total = await party.server_reducer(adding, 0, key).ready()

        assert await total.dispatch(1) == sum(range(200)) + 2


async def test_a_client_that_was_away_for_too_long_goes_on_from_the_snapshot_and_loses_nothing(
    server: ServerProcess, key: str
) -> None:
    notices: list[object] = []
    await append(server, key, [1])
    cache = MemoryStateCache()
    async with Provider(server.url, cache=cache) as party:
        await party.server_reducer(adding, 0, key).ready()
    await append(server, key, range(200))
    await write_snapshot(server, key)
    async with DurableStream(f"{server.url}/{key}") as stream:
        kept_from = (await stream.head()).next_offset

    async with (
        WatchedClient() as client,
        Provider(
            server.url,
            cache=cache,
            snapshots=READ_ONLY,
            transport=client.transport,
            settings=IMPATIENT,
            on_notice=notices.append,
        ) as party,
    ):
        client.intercept = trimmed_before(kept_from, key)
        total = party.server_reducer(adding, 0, key)
        dispatch = total.dispatch(5)

        assert await dispatch == 1 + sum(range(200)) + 5
        assert notices == []


async def test_the_snapshots_of_a_deleted_stream_go_with_it(server: ServerProcess, key: str) -> None:
    notices: list[object] = []
    await append(server, key, range(200))
    await write_snapshot(server, key)
    async with Provider(
        server.url, snapshots=READ_ONLY, settings=IMPATIENT, on_notice=notices.append
    ) as party:
        total = await party.server_reducer(adding, 0, key).ready()
        async with DurableStream(f"{server.url}/{key}") as stream:
            await stream.delete()

        await eventually(lambda: total.value == 0)
        assert await total.dispatch(3) == 3

    assert notices == [StreamReset(key, 200)]
    assert await companions(server, key) == [None, None]


async def test_the_snapshot_of_an_earlier_stream_of_that_name_is_not_used(
    server: ServerProcess, key: str
) -> None:
    await append(server, key, range(200))
    await write_snapshot(server, key)
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.delete()
    await append(server, key, [1, 2])

    async with Provider(
        server.url, snapshots=READ_ONLY, settings=IMPATIENT, on_notice=lambda notice: None
    ) as party:
        total = party.server_reducer(adding, 0, key)
        await eventually(lambda: total.value == 3)

    loaded = await load_stream_with_reducer(server.url, key, adding, 0, use_cache=False, snapshots=READ_ONLY)
    assert loaded.state == 3


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="number of messages"):
        SnapshotPolicy(every=0)
    with pytest.raises(ConfigurationError, match="too short"):
        SnapshotPolicy(secret=b"short")
