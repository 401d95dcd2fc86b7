"""R12 and R3 on a stream that stays bounded for ever: the server trims, snapshots keep what was dropped."""

from __future__ import annotations

import anyio
import pytest

from durafold.cache import MemoryStateCache
from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.engine import ServerReducer
from durafold.errors import StreamGone
from durafold.hydrate import load_stream_with_reducer
from durafold.provider import Provider
from durafold.snapshots import SnapshotPolicy, SnapshotStore
from durafold.state.reducer import reducer
from support.proxy import FaultProxy
from support.server import ServerProcess
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: the server trims every two seconds, and a test waits for it more than once."""
    return "asyncio"


IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))
EVERY_25 = SnapshotPolicy(every=25, jitter_s=0)
READ_ONLY = SnapshotPolicy(write=False)
RETENTION_BYTES = 10_000
"""About 100 actions of this test; a snapshot is due every 25."""

WAVES, WAVE = 3, 200


@reducer(name="tally")
def tally(state: dict[str, int], action: str) -> dict[str, int]:
    """How often each name was said."""
    return {**state, action: state.get(action, 0) + 1}


async def create(server: ServerProcess, key: str) -> DurableStream:
    stream = DurableStream(f"{server.url}/{key}", content_type="application/json")
    await stream.create(retention_bytes=RETENTION_BYTES)
    return stream


async def kept(stream: DurableStream) -> int:
    """How many messages the server has."""
    return len(await stream.read_json())


async def write_and_be_trimmed(party: Provider, key: str, stream: DurableStream, waves: int = WAVES) -> None:
    """Dispatch far more than the server keeps, in waves, and see it drop what is old."""
    handle = await party.server_reducer(tally, {}, key).ready()
    for _ in range(waves):
        for _ in range(WAVE // 20):
            for _ in range(19):
                handle.dispatch("others")
            await handle.dispatch("others")
        await _until_fewer(stream, WAVE)


async def _until_fewer(stream: DurableStream, count: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        while await kept(stream) >= count:
            await anyio.sleep(0.2)


async def test_a_stream_stays_bounded_while_new_and_old_clients_have_the_whole_state(
    server: ServerProcess, key: str
) -> None:
    cache = MemoryStateCache()
    errors: list[Exception] = []
    async with await create(server, key) as stream, FaultProxy(server.url) as proxy:
        async with Provider(
            proxy.url, cache=cache, snapshots=READ_ONLY, settings=IMPATIENT, on_error=errors.append
        ) as old:
            ours = await old.server_reducer(tally, {}, key).ready()
            await ours.dispatch("old")
            proxy.is_down = True
            await proxy.cut_all()
            while_away = ours.dispatch("old")
            async with Provider(server.url, snapshots=EVERY_25, settings=IMPATIENT) as writer:
                await write_and_be_trimmed(writer, key, stream)
            assert ours.value == {"old": 2}
            with pytest.raises(StreamGone):
                await anext(stream.pages(ours.offset))

            proxy.is_down = False
            assert await while_away == {"old": 2, "others": WAVES * WAVE}

        async with Provider(server.url, snapshots=READ_ONLY, settings=IMPATIENT) as new:
            theirs = await new.server_reducer(tally, {}, key).ready()
            assert theirs.value == {"old": 2, "others": WAVES * WAVE}
            assert await theirs.dispatch("new") == {"old": 2, "others": WAVES * WAVE, "new": 1}

        loaded = await load_stream_with_reducer(
            server.url, key, tally, {}, cache=MemoryStateCache(), snapshots=READ_ONLY
        )
        assert loaded.state == {"old": 2, "others": WAVES * WAVE, "new": 1}
        assert loaded.fetched_count < WAVE
    assert errors == []


async def test_a_process_that_slept_past_the_trim_starts_from_its_cache_and_the_snapshot(
    server: ServerProcess, key: str
) -> None:
    cache = MemoryStateCache()
    async with await create(server, key) as stream:
        async with Provider(server.url, cache=cache, snapshots=READ_ONLY) as party:
            await party.server_reducer(tally, {}, key).dispatch("early")
        async with Provider(server.url, snapshots=EVERY_25) as writer:
            await write_and_be_trimmed(writer, key, stream, waves=1)

        async with Provider(server.url, cache=cache, snapshots=READ_ONLY, settings=IMPATIENT) as party:
            handle = party.server_reducer(tally, {}, key)

            assert await handle.dispatch("early") == {"early": 2, "others": WAVE}


async def test_without_a_snapshot_a_client_that_missed_what_was_trimmed_says_so_until_there_is_one(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    cache, page_cache = MemoryStateCache(), MemoryStateCache()
    notices: list[object] = []
    async with await create(server, key) as stream:
        async with Provider(server.url, cache=cache) as party:
            await party.server_reducer(tally, {}, key).dispatch("early")
        await load_stream_with_reducer(server.url, key, tally, {}, cache=page_cache)
        async with Provider(server.url) as writer:
            handle = await writer.server_reducer(tally, {}, key).ready()
            async with Provider(
                server.url,
                cache=cache,
                snapshots=READ_ONLY,
                settings=IMPATIENT,
                on_error=errors.append,
                on_notice=notices.append,
                live="long-poll",
            ) as party:
                await write_and_be_trimmed(writer, key, stream, waves=1)
                late = party.server_reducer(tally, {}, key)
                pending = late.dispatch("late")

                with pytest.raises(StreamGone, match="no longer kept, and no snapshot covers them") as gone:
                    await late.ready()
                assert (late.status, late.value, late.confirmed) == (
                    "failed",
                    {"early": 1, "late": 1},
                    {"early": 1},
                )
                assert gone.value.hint is not None
                assert "SnapshotPolicy" in gone.value.hint
                with pytest.raises(StreamGone, match="no longer kept, and no snapshot covers them"):
                    await load_stream_with_reducer(server.url, key, tally, {}, cache=page_cache)

                await save_snapshot(server, key, handle)

                assert await pending == {"early": 1, "others": WAVE, "late": 1}
                assert late.status == "live"
    assert [type(error) for error in errors] == [StreamGone]
    assert notices == []


async def test_r7_a_functional_update_that_lost_in_what_was_trimmed_is_run_again_and_counted(
    server: ServerProcess, key: str
) -> None:
    async with (
        await create(server, key) as stream,
        FaultProxy(server.url) as proxy,
        Provider(proxy.url, snapshots=READ_ONLY, settings=IMPATIENT) as party,
    ):
        count = await party.server_state(0, key).ready()
        proxy.is_down = True
        await proxy.cut_all()
        update = count.set(lambda value: value + 1)
        async with Provider(server.url, snapshots=EVERY_25, settings=IMPATIENT) as writer:
            others = await writer.server_state(0, key).ready()
            await others.increment()
            # As if the update had arrived here, too late, and the answer had been lost.
            identity = {"id": f"{count.client_id}:1", "v": 1, "if_revision": 0}
            await stream.append({"type": "set", "payload": 1, "meta": identity})
            for _ in range(WAVE - 2):
                others.increment()
            await others.increment()
            await _until_fewer(stream, WAVE)

        proxy.is_down = False
        assert await update == WAVE + 1


async def test_a_new_client_takes_what_is_left_of_a_stream_for_nothing_else(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    gap = "no longer kept"
    async with await create(server, key) as stream:
        async with Provider(server.url) as writer:
            await write_and_be_trimmed(writer, key, stream, waves=1)
        async with Provider(server.url, settings=IMPATIENT, on_error=errors.append) as party:
            handle = party.server_reducer(tally, {}, key)

            with pytest.raises(StreamGone, match=gap):
                await handle.ready()
            with pytest.raises(StreamGone, match=gap):
                await handle.history()
        with pytest.raises(StreamGone, match=gap):
            await load_stream_with_reducer(server.url, key, tally, {}, cache=MemoryStateCache())

    assert (handle.status, handle.value) == ("closed", {})
    assert [type(error) for error in errors] == [StreamGone]


async def save_snapshot(server: ServerProcess, key: str, handle: ServerReducer[dict[str, int], str]) -> None:
    """Write what a client that has been here all the time knows beside the stream."""
    definition = handle._engine.definition
    snapshot = handle.snapshot()
    assert snapshot is not None
    store = SnapshotStore[dict[str, int]](
        key,
        definition.fingerprint,
        definition.states,
        EVERY_25,
        lambda companion: DurableStream(f"{server.url}/{companion}", content_type="application/json"),
    )
    assert await store.save(snapshot)
