"""Small chunks are joined in the background: reads and offsets stay the same, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from durafold_server.protocol.model import Mode, StreamState
from durafold_server.store.base import NotABoundary, StoreDamaged, StoreFailure
from durafold_server.store.sqlite import SqliteStore, joining
from durafold_server.store.sqlite import store as store_module
from support.server_stores import (
    ManualClock,
    add,
    fail_commits,
    let_commits_pass,
    make,
    on_writer,
    read_all,
    remove,
)

pytestmark = pytest.mark.anyio

WORTH_JOINING = 8
CHUNKS = 3 * WORTH_JOINING
MESSAGE = b'{"n":[1,2]},'


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """A store that joins when a test wants it to, and keeps nothing in its tail cache."""
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 3600)
    monkeypatch.setattr(joining, "_WORTH_JOINING", WORTH_JOINING)
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    await join(store)
    monkeypatch.setattr(store._tails, "append", lambda *chunk: None)
    yield store
    await store.aclose()


async def join(store: SqliteStore) -> int:
    """Join all that is worth it; answers in how many steps."""
    steps = 0
    while await store._group.submit(lambda _staged: store._joiner.step()):
        steps += 1
    return steps


async def add_apart(store: SqliteStore, path: str, *parts: bytes) -> StreamState:
    """Append each part as a chunk of its own."""
    states = [await add(store, path, part) for part in parts]
    return states[-1]


def chunks(store: SqliteStore, stream: StreamState) -> list[tuple[int, int]]:
    """(start, size) of each chunk in the file."""
    with contextlib.closing(apsw.Connection(str(store._file))) as connection:
        rows: list[Any] = connection.execute(
            "SELECT start, length(data) FROM chunk WHERE stream_id = ? ORDER BY start", (stream.id,)
        ).fetchall()
    return rows


async def read_from(store: SqliteStore, stream: StreamState, after: int) -> bytes:
    page = await store.read(stream.id, after, until=stream.tail, max_bytes=1 << 20, framed=True)
    return page.data


async def test_many_appends_become_few_chunks_of_the_same_bytes(store: SqliteStore) -> None:
    await make(store)
    parts = [b"%d;" % number for number in range(CHUNKS)]
    stream = await add_apart(store, "s", *parts)

    await join(store)

    assert len(chunks(store, stream)) == 3
    assert await read_all(store, stream) == b"".join(parts)


async def test_a_few_chunks_are_left_alone(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"x"] * (WORTH_JOINING - 1))

    assert await join(store) == 0
    assert len(chunks(store, stream)) == WORTH_JOINING - 1


async def test_what_was_joined_is_not_written_again(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"x"] * CHUNKS)
    await join(store)
    before = chunks(store, stream)

    after = await add_apart(store, "s", *[b"y"] * WORTH_JOINING)
    await join(store)

    assert chunks(store, stream) == [*before, (stream.tail, WORTH_JOINING)]
    assert await read_all(store, after) == b"x" * CHUNKS + b"y" * WORTH_JOINING


async def test_no_chunk_grows_beyond_what_is_quick_to_read(store: SqliteStore) -> None:
    await make(store)
    part = bytes(joining.SMALL_CHUNK_BYTES - 1)
    stream = await add_apart(store, "s", *[part] * 2 * WORTH_JOINING)

    await join(store)

    assert [size for _, size in chunks(store, stream)] == [8 * len(part), 8 * len(part)]
    assert await read_all(store, stream) == part * 2 * WORTH_JOINING


async def test_a_big_chunk_between_small_ones_stays_as_it_is(store: SqliteStore) -> None:
    await make(store)
    small, big = [b"x"] * (WORTH_JOINING // 2), bytes(joining.SMALL_CHUNK_BYTES + 1)
    stream = await add_apart(store, "s", *small, big, *small)

    await join(store)

    assert [size for _, size in chunks(store, stream)] == [len(small), len(big), len(small)]


async def test_every_offset_handed_out_before_is_still_one(store: SqliteStore) -> None:
    await make(store, mode=Mode.JSON)
    stream = await add_apart(store, "s", *[MESSAGE] * WORTH_JOINING)

    await join(store)

    tails = range(0, stream.tail, len(MESSAGE))
    assert [len(await read_from(store, stream, at)) for at in tails] == [stream.tail - at for at in tails]


@pytest.mark.parametrize("inside", range(1, len(MESSAGE)))
async def test_a_position_inside_a_message_is_still_none(store: SqliteStore, inside: int) -> None:
    await make(store, mode=Mode.JSON)
    stream = await add_apart(store, "s", *[MESSAGE] * WORTH_JOINING)

    await join(store)

    with pytest.raises(NotABoundary):
        await read_from(store, stream, 3 * len(MESSAGE) + inside)


async def test_a_fork_reads_up_to_where_it_branched_off_inside_a_joined_chunk(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"abc"] * WORTH_JOINING)

    await join(store)

    page = await store.read(stream.id, 3, until=8, max_bytes=1 << 20, framed=False)
    assert page.data == b"abcab"


async def test_the_streams_of_one_batch_are_joined_each_for_itself(store: SqliteStore) -> None:
    one, two = await make(store, "one"), await make(store, "two")
    for _ in range(WORTH_JOINING):
        one, two = await asyncio.gather(add(store, "one", b"1"), add(store, "two", b"2"))

    await join(store)

    assert chunks(store, one) == chunks(store, two) == [(0, WORTH_JOINING)]
    assert await read_all(store, one) == b"1" * WORTH_JOINING


async def test_a_read_that_had_to_gather_many_chunks_has_them_joined(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(store)
    monkeypatch.setattr(store._joiner, "note_commit", lambda *chunk: None)  # as after a restart
    stream = await add_apart(store, "s", *[b"x"] * CHUNKS)

    await read_all(store, stream)
    await join(store)

    assert chunks(store, stream) == [(0, CHUNKS)]


async def test_streams_that_are_forgotten_in_the_count_are_found_by_a_read(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_MAX_COUNTED_STREAMS", 1)
    one = await make(store, "one")
    await make(store, "two")
    for _ in range(WORTH_JOINING):
        one = await add(store, "one", b"1")
        await add(store, "two", b"2")
    assert await join(store) == 0

    await read_all(store, one)
    await join(store)

    assert chunks(store, one) == [(0, WORTH_JOINING)]


async def test_chunks_of_a_removed_stream_are_freed_though_they_were_due(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"x"] * CHUNKS)
    await remove(store, "s")

    await join(store)
    while not await store.purge(stream.id, limit=1):
        pass

    assert chunks(store, stream) == []
    assert await join(store) == 0


async def test_lost_data_is_not_joined_over(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"ab"] * WORTH_JOINING)
    with contextlib.closing(apsw.Connection(str(store._file))) as connection:
        connection.execute("DELETE FROM chunk WHERE start = 10")

    await join(store)

    assert chunks(store, stream) == [(0, 10), (12, stream.tail - 12)]
    with pytest.raises(StoreDamaged):
        await read_all(store, stream)


async def test_damaged_data_is_not_given_a_new_checksum(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"ab"] * WORTH_JOINING)
    with contextlib.closing(apsw.Connection(str(store._file))) as connection:
        connection.execute("UPDATE chunk SET data = x'6163' WHERE start = 10")

    with pytest.raises(StoreDamaged):
        await join(store)

    assert len(chunks(store, stream)) == WORTH_JOINING
    with pytest.raises(StoreDamaged):
        await read_all(store, stream)


async def test_a_step_that_fails_changes_nothing_and_the_store_goes_on(store: SqliteStore) -> None:
    await make(store)
    stream = await add_apart(store, "s", *[b"x"] * WORTH_JOINING)
    await fail_commits(store)
    with pytest.raises(StoreFailure):
        await join(store)
    await let_commits_pass(store)

    assert len(chunks(store, stream)) == WORTH_JOINING
    assert (await add(store, "s", b"y")).tail == WORTH_JOINING + 1
    assert await on_writer(store, lambda writer: writer.pragma("synchronous")) == 2  # FULL


async def test_a_step_is_synced_like_every_commit(store: SqliteStore) -> None:
    await make(store)
    await add_apart(store, "s", *[b"x"] * WORTH_JOINING)
    levels: list[Any] = []

    def note_level() -> bool:
        levels.append(store._writer.pragma("synchronous"))
        return False  # commit

    await on_writer(store, lambda writer: writer.set_commit_hook(note_level))

    await join(store)
    await add(store, "s", b"y")

    assert levels == [2, 2]  # FULL


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99, 1.0])
async def test_a_power_cut_leaves_chunks_apart_or_joined(
    store: SqliteStore, tmp_path: Path, kept: float
) -> None:
    await make(store)
    parts = [b"%d;" % number for number in range(CHUNKS)]
    stream = await add_apart(store, "s", *parts)
    log = store._file.with_name(f"{store._file.name}-wal")
    synced = log.stat().st_size
    await join(store)
    unsynced = log.stat().st_size - synced

    (tmp_path / "copy").mkdir()
    shutil.copy(store._file, tmp_path / "copy")
    copied_log = Path(shutil.copy(log, tmp_path / "copy"))
    with copied_log.open("r+b") as file:
        file.truncate(synced + int(kept * unsynced))

    assert unsynced > 0
    copy = await SqliteStore.open(tmp_path / "copy")
    assert await read_all(copy, stream) == b"".join(parts)
    await copy.aclose()


async def test_readers_beside_it_never_see_a_gap(store: SqliteStore) -> None:
    await make(store)
    expected = b""
    for number in range(4):
        stream = await add_apart(store, "s", *[b"%d" % number] * WORTH_JOINING)
        expected += b"%d" % number * WORTH_JOINING
        reads = [asyncio.create_task(read_all(store, stream, max_bytes=50)) for _ in range(4)]
        await join(store)
        assert await asyncio.gather(*reads) == [expected] * 4


async def test_it_happens_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 0.01)
    monkeypatch.setattr(joining, "_WORTH_JOINING", WORTH_JOINING)
    store = await SqliteStore.open(tmp_path / "data")
    await make(store)

    stream = await add_apart(store, "s", *[b"x"] * CHUNKS)
    while len(chunks(store, stream)) > 3:
        await asyncio.sleep(0.01)

    assert await read_all(store, stream) == b"x" * CHUNKS
    await store.aclose()
