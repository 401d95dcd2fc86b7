"""The SQLite store: reopening, damage, failures, batches, and one process per directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest
from msgspec.structs import replace

from durafold_server.protocol.errors import Conflict
from durafold_server.protocol.model import (
    AppendData,
    Decision,
    Fork,
    Lifetime,
    Loaded,
    Mode,
    Payload,
    ProducerClaim,
    ProducerState,
    ReadKey,
    RemoveStream,
    SaveStream,
    Segment,
    StreamState,
)
from durafold_server.store.base import StoreDamaged, StoreFailure, StoreFull
from durafold_server.store.sqlite import SqliteStore
from durafold_server.store.sqlite import store as store_module
from durafold_server.store.sqlite.state_cache import StateCache
from support.server_stores import (
    ManualClock,
    add,
    fail_commits,
    let_commits_pass,
    look,
    make,
    on_writer,
    one_batch,
    read_all,
    remove,
    write,
)
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

TTL_60 = Lifetime(ttl_s=60)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextlib.asynccontextmanager
async def opened(directory: Path, clock: ManualClock | None = None) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(directory, clock or ManualClock())
    try:
        yield store
    finally:
        await store.aclose()


def execute(directory: Path, sql: str, *parameters: Any) -> list[Any]:
    """Run SQL on the file beside the store; answers the rows."""
    # Not by Python's own sqlite3: two SQLite libraries in one process break each other's file locks.
    with contextlib.closing(apsw.Connection(str(directory / "streams.db"))) as connection:
        return connection.execute(sql, parameters).fetchall()


def refuse(found: Sequence[Loaded], now_us: int) -> Decision[None]:
    raise Conflict("no")


# Reopening


async def test_reopening_keeps_everything(directory: Path) -> None:
    async with opened(directory) as store:
        made = await make(store, "a%2Fb", lifetime=TTL_60, mode=Mode.JSON)
        full = replace(
            made,
            content_type="application/json; charset=utf-8",
            tail=3,
            closed=True,
            closed_by=ProducerClaim("p\xe9", 2**53 - 1, 7),
            last_seq="\xffz",
            fork=Fork("source", 5, "-1", 2, 1, (Segment(3, 0), Segment(5, 1))),
            forks=4,
        )
        await write(store, SaveStream(full), AppendData(full.id, 1, Payload(b"1,", 1)))
        await make(store, "other")
        await add(store, "other", b"x", ("p\xe9", ProducerState(1, 2, b"owner")))
        await store.put_record("r", b"\x00")

    async with opened(directory) as store:
        assert await store.load("a%2Fb") == full
        assert (await store.read(full.id, 1, until=3, max_bytes=9, framed=True)).data == b"1,"
        other = await look(store, "other", "p\xe9")
        assert other.stream is not None
        assert other.producer == ProducerState(1, 2, b"owner")
        assert await read_all(store, other.stream) == b"x"
        assert await store.records("") == {"r": b"\x00"}


async def test_reopening_keeps_use_that_was_only_noted(directory: Path) -> None:
    async with opened(directory) as store:
        made = await make(store, lifetime=TTL_60)
        await store.touch({"s": made.used_us + 500})

    async with opened(directory) as store:
        assert await store.load("s") == replace(made, used_us=made.used_us + 500)
        assert await store.expired(made.used_us + 60_000_000, 9) == []


async def test_use_is_written_down_while_running(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 0.01)
    async with opened(directory) as store:
        made = await make(store, lifetime=TTL_60)
        await store.touch({"s": made.used_us + 500})

        with anyio.fail_after(PATIENCE_S):
            while not execute(
                directory, "SELECT 1 FROM stream WHERE expires_us = ?", made.used_us + 60_000_500
            ):
                await anyio.sleep(0.01)


async def test_what_was_acknowledged_is_in_the_files_at_that_moment(directory: Path, tmp_path: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        await add(store, "s", b"abc", ("p", ProducerState(0, 3)))
        shutil.copytree(directory, tmp_path / "crashed")

    async with opened(tmp_path / "crashed") as store:
        found = await look(store, "s", "p")
        assert found.producer == ProducerState(0, 3)
        assert found.stream is not None
        assert await read_all(store, found.stream) == b"abc"


async def test_every_commit_is_synced(directory: Path) -> None:
    async with opened(directory) as store:
        assert await on_writer(store, lambda writer: writer.pragma("synchronous")) == 2
        assert await on_writer(store, lambda writer: writer.pragma("journal_mode")) == "wal"


# Ids


async def test_an_id_never_repeats_though_the_clock_went_back(directory: Path) -> None:
    async with opened(directory, ManualClock(2_000_000)) as store:
        first = await make(store)
        await remove(store, "s")
        while not await store.purge(first.id, limit=99):
            pass

    async with opened(directory, ManualClock(1_000_000)) as store:
        second = await make(store)

    assert second.id > first.id
    assert second.id > first.id


async def test_an_id_never_repeats_though_its_stream_was_made_and_removed_in_one_batch(
    directory: Path,
) -> None:
    async with opened(directory, ManualClock(2_000_000)) as store:
        async with one_batch(store):
            making = asyncio.create_task(make(store))
            removing = asyncio.create_task(remove(store, "s"))
        first = await making
        await removing

    async with opened(directory, ManualClock(1_000_000)) as store:
        second = await make(store)

    assert second.id > first.id


# One process per directory


async def test_a_second_store_on_a_directory_is_refused_and_told_by_whom(directory: Path) -> None:
    async with opened(directory) as store:
        with pytest.raises(StoreFailure, match=rf"in use by another server \(process {os.getpid()}\)"):
            await SqliteStore.open(directory)

        assert await make(store) is not None


async def test_a_closed_store_lets_go_of_its_directory(directory: Path) -> None:
    async with opened(directory):
        pass
    async with opened(directory) as store:
        assert await store.load("s") is None


async def test_a_failed_opening_lets_go_of_the_directory(directory: Path) -> None:
    directory.mkdir()
    (directory / "streams.db").write_text("This is no database, but a text of some length.")
    with pytest.raises(StoreFailure):
        await SqliteStore.open(directory)

    (directory / "streams.db").unlink()

    async with opened(directory) as store:
        assert await store.load("s") is None


async def test_a_store_opens_though_there_is_no_room_to_note_the_process(directory: Path) -> None:
    directory.mkdir()
    (directory / "lock").symlink_to("/dev/full")

    async with opened(directory) as store:
        assert await store.load("s") is None


async def test_new_directories_are_synced_from_the_first_that_was_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        "os.fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )

    async with opened(directory / "deep" / "deeper"):
        assert synced == [str(path) for path in (directory / "deep", directory, directory.parent)]


async def test_the_directory_is_for_its_owner_only(directory: Path) -> None:
    async with opened(directory / "deep"):
        assert (directory / "deep").stat().st_mode & 0o777 == 0o700


async def test_a_directory_that_is_a_file_is_refused(directory: Path) -> None:
    directory.write_text("")

    with pytest.raises(StoreFailure, match=r"cannot use .*data"):
        await SqliteStore.open(directory)


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
    execute(directory, "PRAGMA user_version = 4")
    before = (directory / "streams.db").read_bytes()

    with pytest.raises(StoreFailure, match="newer version"):
        await SqliteStore.open(directory)

    assert (directory / "streams.db").read_bytes() == before


async def as_format_1(directory: Path) -> None:
    """Turn a file into what the first version of this program wrote."""
    for stream_id, start, data in execute(directory, "SELECT stream_id, start, data FROM chunk"):
        checksum = zlib.crc32(data, zlib.crc32(struct.pack("<qq", stream_id, start)))
        execute(
            directory,
            "UPDATE chunk SET checksum = ? WHERE stream_id = ? AND start = ?",
            checksum,
            stream_id,
            start,
        )
    execute(directory, "ALTER TABLE chunk DROP COLUMN appended_us")
    await as_format_2(directory)
    execute(directory, "PRAGMA user_version = 1")


async def as_format_2(directory: Path) -> None:
    """Turn a file into what the second version of this program wrote, which knew no owners of producers."""
    execute(directory, "ALTER TABLE producer DROP COLUMN owner")
    execute(directory, "PRAGMA user_version = 2")


async def test_a_file_of_format_1_is_brought_up_to_date_where_it_is(directory: Path) -> None:
    before = await fill(directory)
    await as_format_1(directory)

    async with opened(directory) as store:
        stream = await store.load("s")
        assert stream == before
        data = await read_all(store, before)
        after = await add(store, "s", b"new")
        extents = await store.extents(before.id, 0, until=after.tail, limit=99)

    assert execute(directory, "PRAGMA user_version") == [(3,)]
    assert len(data) == before.tail
    assert [extent.appended_us > 0 for extent in extents] == [*[False] * (len(extents) - 1), True]
    async with opened(directory) as store:
        assert await read_all(store, after) == data + b"new"


async def test_a_file_of_format_2_is_brought_up_to_date_where_it_is(directory: Path) -> None:
    before = await fill(directory)
    await as_format_2(directory)

    async with opened(directory) as store:
        assert await look(store, "s", "p") == Loaded(before, ProducerState(1, 2))
        after = await add(store, "s", b"new", ("p", ProducerState(1, 3, b"owner")))

    assert execute(directory, "PRAGMA user_version") == [(3,)]
    async with opened(directory) as store:
        assert await look(store, "s", "p") == Loaded(after, ProducerState(1, 3, b"owner"))


async def test_damage_in_a_file_that_was_of_format_1_is_noticed(directory: Path) -> None:
    stream = await fill(directory)
    await as_format_1(directory)
    execute(directory, "UPDATE chunk SET data = zeroblob(length(data)) WHERE start = 10")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged, match="checksum"):
            await read_all(store, stream)


async def test_a_wrong_time_of_a_chunk_is_noticed(directory: Path) -> None:
    stream = await fill(directory)
    execute(directory, "UPDATE chunk SET appended_us = appended_us + 1 WHERE start = 10")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged, match="checksum"):
            await read_all(store, stream)


async def test_another_programs_database_is_refused_and_left_alone(directory: Path) -> None:
    directory.mkdir()
    execute(directory, "CREATE TABLE recipe(name TEXT)")
    before = (directory / "streams.db").read_bytes()

    with pytest.raises(StoreFailure, match="another program"):
        await SqliteStore.open(directory)

    assert (directory / "streams.db").read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(directory: Path) -> None:
    directory.mkdir()
    (directory / "streams.db").write_bytes(b"not a database " * 1000)

    with pytest.raises(StoreFailure, match=r"streams\.db"):
        await SqliteStore.open(directory)

    assert (directory / "streams.db").read_bytes() == b"not a database " * 1000


# Damage


async def fill(directory: Path) -> StreamState:
    """Stream `s` of three chunks of 10 bytes, stream `t` of one, a producer and a record."""
    async with opened(directory) as store:
        await make(store)
        await add(store, "s", b"a" * 10)
        await add(store, "s", b"b" * 10)
        stream = await add(store, "s", b"c" * 10, ("p", ProducerState(1, 2)))
        await make(store, "t")
        await add(store, "t", b"d" * 10)
        await store.put_record("r", b"value")
    return stream


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            "UPDATE chunk SET data = CAST('bbbbbbbbbc' AS BLOB) WHERE start = 10", id="a byte changed"
        ),
        pytest.param("UPDATE chunk SET data = substr(data, 1, 9) WHERE start = 10", id="cut"),
        pytest.param("UPDATE chunk SET data = CAST(data || data AS BLOB) WHERE start = 10", id="grown"),
        pytest.param("UPDATE chunk SET data = zeroblob(10) WHERE start = 10", id="zeroed"),
        pytest.param("UPDATE chunk SET checksum = checksum + 1 WHERE start = 10", id="checksum changed"),
        pytest.param("UPDATE chunk SET checksum = -checksum WHERE start = 10", id="checksum negative"),
        pytest.param("UPDATE chunk SET start = 11 WHERE start = 10", id="moved up"),
        pytest.param("UPDATE chunk SET start = 9 WHERE start = 10", id="moved down"),
        pytest.param(
            "UPDATE chunk SET start = -1 WHERE start = 0 AND stream_id = :id", id="moved before the start"
        ),
        pytest.param("UPDATE chunk SET start = start + 1000 WHERE start = 20", id="moved beyond the tail"),
        pytest.param("DELETE FROM chunk WHERE start = 10", id="middle lost"),
        pytest.param("DELETE FROM chunk WHERE start = 0 AND stream_id = :id", id="beginning lost"),
        pytest.param("DELETE FROM chunk WHERE start = 20", id="end lost"),
        pytest.param("DELETE FROM chunk WHERE stream_id = :id", id="all lost"),
        pytest.param(
            "UPDATE chunk SET (data, checksum) = (SELECT data, checksum FROM chunk WHERE start = 20) "
            "WHERE start = 10",
            id="another chunk's content",
        ),
        pytest.param(
            "UPDATE chunk SET (data, checksum) = (SELECT data, checksum FROM chunk WHERE stream_id <> :id) "
            "WHERE (stream_id, start) = (:id, 0)",
            id="another stream's content",
        ),
    ],
)
async def test_damaged_data_is_noticed_and_never_served(directory: Path, damage: str) -> None:
    stream = await fill(directory)
    execute(directory, damage.replace(":id", str(stream.id)))

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await read_all(store, stream)
        other = await store.load("t")
        assert other is not None
        assert await read_all(store, other) == b"d" * 10


@pytest.mark.parametrize("after", [5, 10, 15, 19])
async def test_a_read_that_begins_in_lost_data_is_refused(directory: Path, after: int) -> None:
    stream = await fill(directory)
    execute(directory, "DELETE FROM chunk WHERE start = 10")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await store.read(stream.id, after, until=30, max_bytes=99, framed=False)


@pytest.mark.parametrize("byte", range(0, 100, 11))
async def test_a_flipped_bit_in_a_streams_record_is_noticed(directory: Path, byte: int) -> None:
    await fill(directory)
    ((record,),) = execute(directory, "SELECT record FROM stream WHERE path = 's'")
    flipped = record[:byte] + bytes([record[byte] ^ 1]) + record[byte + 1 :]
    execute(directory, "UPDATE stream SET record = ? WHERE path = 's'", flipped)

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await store.load("s")
        with pytest.raises(StoreDamaged):
            await store.list_streams("", None, 9)
        with pytest.raises(StoreDamaged):
            await add(store, "s", b"x")
        assert await store.load("t") is not None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE stream SET checksum = checksum + 1 WHERE path = 's'",
        "UPDATE stream SET record = x'' WHERE path = 's'",
        "UPDATE stream SET (record, checksum) = (SELECT record, checksum FROM stream WHERE path = 't') "  # noqa: ISC004
        "WHERE path = 's'",
    ],
)
async def test_a_streams_row_that_says_something_else_is_noticed(directory: Path, damage: str) -> None:
    await fill(directory)
    execute(directory, damage)

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await store.load("s")
        with pytest.raises(StoreDamaged):
            await store.list_streams("s", None, 9)


async def test_a_stream_that_the_index_does_not_name_is_noticed_at_once(directory: Path) -> None:
    await fill(directory)
    content = (directory / "streams.db").read_bytes()
    index = content[2 * 8192 : 3 * 8192]  # the third page is the root of the index on paths
    assert index.count(b"s") == 1
    changed = content[: 2 * 8192] + index.replace(b"s", b"q") + content[3 * 8192 :]
    (directory / "streams.db").write_bytes(changed)

    with pytest.raises(StoreDamaged, match=r"list of streams in .* is damaged .*durafold repair"):
        await SqliteStore.open(directory)


async def test_a_stream_is_not_found_under_another_path(directory: Path) -> None:
    await fill(directory)
    execute(directory, "UPDATE stream SET path = 'u' WHERE path = 's'")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await store.load("u")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE producer SET epoch = 0",
        "UPDATE producer SET epoch = -1",
        "UPDATE producer SET last_seq = 1",
        "UPDATE producer SET last_seq = -1",
        "UPDATE producer SET checksum = checksum + 1",
        "UPDATE producer SET producer_id = 'q'",
        "UPDATE producer SET owner = x'00'",
    ],
)
async def test_a_damaged_producer_is_noticed_before_it_is_believed(directory: Path, damage: str) -> None:
    await fill(directory)
    execute(directory, damage)
    ((producer_id,),) = execute(directory, "SELECT producer_id FROM producer")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await look(store, "s", producer_id)
        assert (await look(store, "s")).stream is not None


@pytest.mark.parametrize("damage", ["value = x'00'", "checksum = checksum + 1", "key = 'q'"])
async def test_a_damaged_record_is_noticed(directory: Path, damage: str) -> None:
    await fill(directory)
    execute(directory, f"UPDATE record SET {damage}")

    async with opened(directory) as store:
        with pytest.raises(StoreDamaged):
            await store.records("")


@pytest.mark.parametrize("page", range(1, 12))
async def test_an_overwritten_page_of_the_file_never_changes_an_answer(directory: Path, page: int) -> None:
    stream = await fill(directory)
    with (directory / "streams.db").open("r+b") as file:
        file.seek(page * 8192)
        assert len(file.read(8192)) in (0, 8192)
        file.seek(page * 8192)
        file.write(b"\xa5" * min(8192, max(0, (directory / "streams.db").stat().st_size - page * 8192)))

    try:
        async with opened(directory) as store:
            found = await store.load("s")
            content = await read_all(store, stream)
    except StoreFailure:
        return

    assert found == stream
    assert content == b"a" * 10 + b"b" * 10 + b"c" * 10


# Failing commits


async def test_a_failed_commit_fails_its_whole_batch_and_publishes_nothing(directory: Path) -> None:
    async with opened(directory) as store:
        made = await make(store)
        await add(store, "s", b"abc", ("p", ProducerState(0, 0)))
        before = await store.load("s")
        await fail_commits(store)
        async with one_batch(store):
            adding = [
                asyncio.create_task(add(store, "s", b"x", ("p", ProducerState(0, 1)))),
                asyncio.create_task(add(store, "s", b"y")),
                asyncio.create_task(make(store, "t")),
                asyncio.create_task(store.put_record("r", b"x")),
            ]

        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        await let_commits_pass(store)

        assert [type(outcome) for outcome in outcomes] == [StoreFailure] * 4
        assert await look(store, "s", "p") == Loaded(before, ProducerState(0, 0))
        assert await store.load("t") is None
        assert await store.records("") == {}
        assert (await store.read(made.id, 0, until=9, max_bytes=9, framed=False)).data == b"abc"


async def test_a_store_works_again_after_a_failed_commit(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        await fail_commits(store)
        with pytest.raises(StoreFailure):
            await add(store, "s", b"lost", ("p", ProducerState(0, 0)))
        await let_commits_pass(store)

        stream = await add(store, "s", b"kept", ("p", ProducerState(0, 0)))

        assert await read_all(store, stream) == b"kept"
    async with opened(directory) as store:
        assert await store.load("s") == stream
        assert await read_all(store, stream) == b"kept"


async def test_a_failed_write_within_a_batch_leaves_nothing_of_it(directory: Path) -> None:
    async with opened(directory) as store:
        made = await make(store)
        execute(
            directory,
            "CREATE TRIGGER broken BEFORE INSERT ON producer BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )

        with pytest.raises(StoreFailure, match="broken"):
            await add(store, "s", b"x", ("p", ProducerState(0, 0)))

        assert await store.load("s") == made
        assert execute(directory, "SELECT count(*) FROM chunk") == [(0,)]


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        stream = await add(store, "s", b"abc")
        pages = await on_writer(store, lambda writer: writer.pragma("page_count"))
        await on_writer(store, lambda writer: writer.pragma("max_page_count", pages))

        with pytest.raises(StoreFull, match=r"streams\.db is full"):
            await add(store, "s", b"x" * 100_000)
        with pytest.raises(StoreFull):
            await add(store, "s", b"x" * 100_000)

        assert await store.load("s") == stream
        assert await read_all(store, stream) == b"abc"
        await on_writer(store, lambda writer: writer.pragma("max_page_count", pages + 1000))
        after = await add(store, "s", b"x" * 100_000)
        assert await read_all(store, after) == b"abc" + b"x" * 100_000


async def test_one_refused_decision_does_not_fail_its_batch(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        async with one_batch(store):
            outcomes = asyncio.gather(
                add(store, "s", b"a"),
                store.transact((ReadKey("s"),), refuse),
                store.transact((), lambda found, now_us: Decision((), 1 // 0)),
                add(store, "s", b"b"),
                return_exceptions=True,
            )

        first, refused, broken, second = await outcomes

        assert isinstance(refused, Conflict)
        assert isinstance(broken, ZeroDivisionError)
        assert isinstance(first, StreamState)
        assert isinstance(second, StreamState)
        assert await read_all(store, second) == b"ab"


async def test_closing_on_a_full_disk_lets_go_of_the_directory(directory: Path) -> None:
    store = await SqliteStore.open(directory)
    made = await make(store, lifetime=TTL_60)
    await store.touch({"s": made.used_us + 1})
    await fail_commits(store)

    with contextlib.suppress(StoreFailure):
        await store.aclose()

    async with opened(directory) as again:
        assert await again.load("s") == made


async def test_housekeeping_outlives_a_failed_commit(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 0.01)
    async with opened(directory) as store:
        made = await make(store, lifetime=TTL_60)
        await fail_commits(store)
        await store.touch({"s": made.used_us + 500})
        with anyio.fail_after(PATIENCE_S):
            while "housekeeping failed" not in caplog.text:
                await anyio.sleep(0.01)

        await let_commits_pass(store)

        with anyio.fail_after(PATIENCE_S):
            while not execute(
                directory, "SELECT 1 FROM stream WHERE expires_us = ?", made.used_us + 60_000_500
            ):
                await anyio.sleep(0.01)


async def test_a_store_whose_leftovers_cannot_be_listed_still_works_and_closes(directory: Path) -> None:
    async with opened(directory):
        pass
    execute(directory, "DROP TABLE garbage")

    async with opened(directory) as store:
        stream = await make(store)
        await asyncio.sleep(0.05)
        assert await store.load("s") == stream


async def test_a_closed_store_says_so(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)

    with pytest.raises(StoreFailure, match="closed"):
        await add(store, "s", b"x")


async def test_a_transaction_whose_caller_gives_up_is_carried_out(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        async with one_batch(store):
            adding = asyncio.create_task(add(store, "s", b"x"))
            await asyncio.sleep(0)
            adding.cancel()

        with pytest.raises(asyncio.CancelledError):
            await adding
        found = await look(store, "s")
        assert found.stream is not None
        assert found.stream.tail == 1


# Batches and chunks


async def test_the_appends_of_one_batch_become_one_chunk(directory: Path) -> None:
    async with opened(directory) as store:
        made = await make(store)
        async with one_batch(store):
            adding = [asyncio.create_task(add(store, "s", b"%03d" % n)) for n in range(100)]
        await asyncio.gather(*adding)

        assert execute(directory, "SELECT start, length(data) FROM chunk") == [(0, 300)]
        assert execute(directory, "SELECT count(*) FROM stream") == [(1,)]
        page = await store.read(made.id, 150, until=300, max_bytes=999, framed=False)
        assert page.data == b"".join(b"%03d" % n for n in range(50, 100))


async def test_a_big_batch_becomes_chunks_of_a_size_that_is_quick_to_read(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        async with one_batch(store):
            adding = [asyncio.create_task(add(store, "s", bytes([n]) * 100_000)) for n in range(10)]
        streams = await asyncio.gather(*adding)

        sizes = [size for (size,) in execute(directory, "SELECT length(data) FROM chunk")]
        assert sum(sizes) == 1_000_000
        assert max(sizes) <= 256 * 1024
    async with opened(directory) as store:
        assert await read_all(store, streams[-1]) == b"".join(bytes([n]) * 100_000 for n in range(10))


async def test_a_stream_removed_and_made_anew_in_one_batch_is_the_new_one(directory: Path) -> None:
    async with opened(directory) as store:
        await make(store)
        await add(store, "s", b"old", ("p", ProducerState(0, 0)))
        async with one_batch(store):
            steps = [
                asyncio.create_task(remove(store, "s")),
                asyncio.create_task(make(store)),
                asyncio.create_task(add(store, "s", b"new")),
            ]
        stream = (await asyncio.gather(*steps))[-1]

    async with opened(directory) as store:
        assert await look(store, "s", "p") == Loaded(stream, None)
        assert await read_all(store, stream) == b"new"


async def test_readers_of_old_data_go_to_the_file_at_once_and_do_not_disturb_each_other(
    directory: Path,
) -> None:
    parts = [bytes([n]) * 1000 for n in range(200)]
    async with opened(directory) as store:
        stream = await make(store)
        for part in parts:
            stream = await add(store, "s", part)

    async with opened(directory) as store:
        writing = asyncio.create_task(_append_many(store, 50))
        contents = await asyncio.gather(*(read_all(store, stream, max_bytes=3000 + n) for n in range(30)))
        await writing

    assert set(contents) == {b"".join(parts)}


async def _append_many(store: SqliteStore, count: int) -> None:
    for _ in range(count):
        await add(store, "s", b"new")


# Leftovers


async def test_leftovers_of_removed_streams_are_freed_after_reopening(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 0.01)
    async with opened(directory) as store:
        await make(store)
        await add(store, "s", b"abc", ("p", ProducerState(0, 0)))
        await remove(store, "s")
        await make(store, "kept")
        await add(store, "kept", b"x")
    assert execute(directory, "SELECT count(*) FROM chunk") == [(2,)]

    async with opened(directory):
        with anyio.fail_after(PATIENCE_S):
            while execute(directory, "SELECT count(*) FROM chunk") != [(1,)]:
                await anyio.sleep(0.01)

    assert execute(directory, "SELECT count(*) FROM producer") == [(0,)]
    assert execute(directory, "SELECT count(*) FROM garbage") == [(0,)]


async def test_a_stream_made_and_removed_in_one_batch_leaves_nothing_behind(directory: Path) -> None:
    async with opened(directory) as store:
        async with one_batch(store):
            steps = [
                asyncio.create_task(make(store)),
                asyncio.create_task(add(store, "s", b"abc", ("p", ProducerState(0, 0)))),
                asyncio.create_task(remove(store, "s")),
            ]
        removed = (await asyncio.gather(*steps))[-1]

        while not await store.purge(removed.id, limit=99):
            pass

    assert execute(directory, "SELECT count(*) FROM stream") == [(0,)]
    assert execute(directory, "SELECT count(*) FROM chunk") == [(0,)]
    assert execute(directory, "SELECT count(*) FROM producer") == [(0,)]
    assert execute(directory, "SELECT count(*) FROM garbage") == [(0,)]


async def test_purging_frees_the_file_for_new_data(directory: Path) -> None:
    async with opened(directory) as store:
        for _ in range(3):
            await make(store)
            await add(store, "s", bytes(1_000_000))
            removed = await remove(store, "s")
            while not await store.purge(removed.id, limit=2):
                pass

        assert await on_writer(store, lambda writer: writer.pragma("page_count")) * 8192 < 2_500_000


async def test_removing_a_stream_frees_it_for_good_even_if_its_record_is_removed_twice(
    directory: Path,
) -> None:
    async with opened(directory) as store:
        made = await make(store)
        await write(store, RemoveStream(made))
        await write(store, RemoveStream(made))

        assert await store.load("s") is None


async def test_streams_beyond_what_memory_holds_are_as_they_were(directory: Path) -> None:
    async with opened(directory) as store:
        store._streams = StateCache(max_streams=2)
        for number in range(6):
            await make(store, f"{number}")
            await add(store, f"{number}", b"abc", ("p", ProducerState(0, number)))

        assert [(await add(store, f"{number}", b"d")).tail for number in range(6)] == [4] * 6
        assert [(await look(store, f"{number}", "p")).producer for number in range(6)] == [
            ProducerState(0, number) for number in range(6)
        ]
        assert len(store._streams) <= 3  # and the one of the batch that was last


async def test_the_end_of_a_stream_that_memory_did_not_hold_is_told(directory: Path) -> None:
    async with opened(directory) as store:
        store._streams = StateCache(max_streams=0)
        await make(store)
        told: list[StreamState] = []
        store.observe(told.append)

        await add(store, "s", b"abc")
        await remove(store, "s")

        assert [(stream.tail, stream.deleted) for stream in told] == [(3, False), (3, True)]


async def test_use_of_a_stream_that_memory_did_not_hold_is_not_lost(directory: Path) -> None:
    clock = ManualClock()
    async with opened(directory, clock) as store:
        store._streams = StateCache(max_streams=0)
        await make(store, lifetime=TTL_60)
        await store.touch({"s": clock.now_us + 5})
        await make(store, "other")

        stream = await store.load("s")

        assert stream is not None
        assert stream.used_us == clock.now_us + 5
