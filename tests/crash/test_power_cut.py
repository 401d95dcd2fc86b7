"""The power fails behind any operation on the files, and what was not synced is torn: nothing is lost.

The store runs on a recorded disk (`support.torn_disk`). For moments of the recording, the files are built as
a power cut may leave them, opened, and compared with what had been acknowledged by then. `make torture` looks
at every moment.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from durafold_server.store.base import StoreDamaged, StoreFailure, StoreFull, StoreHalted
from durafold_server.store.sqlite import SqliteStore, health, joining, wal
from durafold_server.store.sqlite import store as store_module
from support.histories import Change, History, State, changes, observe
from support.server_stores import ManualClock, add, make, one_batch, read_all
from support.torn_disk import (
    Choose,
    Operation,
    TornDisk,
    everything,
    left_by,
    nothing,
    seen_by_process,
    some_sectors,
    some_writes,
)

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

SEED: Final = int(os.environ.get("TORTURE_SEED", "1"))
CUTS: Final = int(os.environ.get("TORTURE_CUTS", "20"))
CHANGES: Final = 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[TornDisk]:
    """The disk below every store of the test, with checkpoints and joins as frequent as they can be."""
    disk = TornDisk()
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 0.001)
    monkeypatch.setattr(joining, "_WORTH_JOINING", 2)
    monkeypatch.setattr(health, "CHECKPOINT_FRAMES", 12)
    monkeypatch.setattr(health, "_RETRY_S", 0.0)
    monkeypatch.setattr(wal, "settle", lambda file: disk.settle(wal.path_of(file)))
    yield from disk.mounted()


async def record(disk: TornDisk, directory: Path, chance: Random, history: History, count: int) -> None:
    """Carry out changes, and let go of the store as a crash does: nothing after them counts."""
    store = await SqliteStore.open(directory, ManualClock())
    for change in changes(chance, count):
        await history.carry_out(store, change)
    disk.is_recording = False
    await store.aclose()
    disk.is_recording = True


async def after_cut(disk: TornDisk, at: int, choose: Choose, directory: Path) -> object:
    """What a store finds when the power failed behind so many operations."""
    left_by(disk.operations[:at], choose, directory)
    disk.is_recording = False
    store = await SqliteStore.open(directory, ManualClock())
    try:
        return await observe(store)
    finally:
        await store.aclose()
        shutil.rmtree(directory)
        disk.is_recording = True


def moments_of(disk: TornDisk, history: History, chance: Random) -> list[int]:
    """Some moments of a history, or all if there are no more than `CUTS`."""
    first, last = history.moments[0].operation, len(disk.operations)
    return sorted(chance.sample(range(first, last), min(CUTS, last - first)))


async def surprises(disk: TornDisk, history: History, chance: Random, directory: Path) -> list[int]:
    """The moments, of those looked at, after which something is lost, doubled or half."""
    found: list[int] = []
    for at in moments_of(disk, history, chance):
        for choose in (nothing, everything, some_writes(chance), some_sectors(chance)):
            if await after_cut(disk, at, choose, directory) not in history.allowed_after(at):
                found.append(at)
    return found


async def test_a_power_cut_at_any_moment_takes_nothing_that_was_acknowledged(
    disk: TornDisk, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = Random(SEED)
    history = History(disk.operations)
    await record(disk, tmp_path / "data", chance, history, CHANGES)

    assert await surprises(disk, history, chance, tmp_path / "cut") == []
    assert {operation.name for operation in disk.operations} >= {"streams.db", "streams.db-wal"}
    record_property("summary", f"{4 * len(moments_of(disk, history, chance))} power cuts: nothing lost")


async def test_a_failed_sync_takes_nothing_that_was_acknowledged_before_or_after(
    disk: TornDisk, tmp_path: Path
) -> None:
    chance = Random(SEED)
    history = History(disk.operations)
    disk.failing_syncs = frozenset(chance.sample(range(8, 60), 12))
    await record(disk, tmp_path / "data", chance, history, CHANGES)

    assert await surprises(disk, history, chance, tmp_path / "cut") == []
    assert "failed sync" in {operation.kind for operation in disk.operations}


async def killed_after_a_failed_sync(
    disk: TornDisk, tmp_path: Path, chance: Random, monkeypatch: pytest.MonkeyPatch
) -> History:
    """A sync fails, the server is killed, and another one goes on with what the system's cache shows."""
    monkeypatch.setattr(health, "CHECKPOINT_FRAMES", 1000)  # everything stays in the log
    monkeypatch.setattr(store_module, "_HOUSEKEEPING_S", 1000)  # so that it is a change whose sync fails
    history = History(disk.operations)
    store = await SqliteStore.open(tmp_path / "first", ManualClock())
    for change in [*changes(chance, 10), Change("make", "e")]:
        await history.carry_out(store, change)
    disk.failing_syncs = frozenset({disk.syncs + 1})
    await history.carry_out(store, Change("append", "e", b"failed"))
    assert history.refused == 1
    disk.is_recording = False
    await store.aclose()
    (tmp_path / "second").mkdir()
    for name, content in seen_by_process(disk.operations).items():
        (tmp_path / "second" / name).write_bytes(content)
    disk.is_recording = True
    await go_on(disk, tmp_path / "second", history)
    return history


async def go_on(disk: TornDisk, directory: Path, history: History) -> None:
    """Open what a crash left, and append to a new stream."""
    store = await SqliteStore.open(directory, ManualClock())
    history.acknowledged = await observe(store)
    for change in [Change("make", "d"), *(Change("append", "d", b"more;", seq) for seq in range(10))]:
        await history.carry_out(store, change)
    disk.is_recording = False
    await store.aclose()
    disk.is_recording = True


async def test_a_second_power_cut_takes_nothing_either(disk: TornDisk, tmp_path: Path) -> None:
    """The first leaves a torn commit of many pages, the second one tears a smaller commit in its place."""
    chance = Random(SEED)
    for number in range(min(CUTS // 4, 25)):
        disk.operations.clear()
        history = History(disk.operations)
        await record(disk, tmp_path / f"first-{number}", chance, history, 12)
        at = chance.choice([moment.operation for moment in history.moments]) - chance.randrange(6)
        left_by(disk.operations[:at], some_writes(chance), tmp_path / f"second-{number}")
        disk.operations.clear()
        for path in (tmp_path / f"second-{number}").iterdir():
            disk.operations += [
                Operation("write", path.name, 0, path.read_bytes()),
                Operation("sync", path.name),
            ]
        history = History(disk.operations)
        await go_on(disk, tmp_path / f"second-{number}", history)

        assert await surprises(disk, history, chance, tmp_path / "cut") == []


async def test_a_server_that_takes_over_after_a_failed_sync_builds_on_nothing_the_disk_lacks(
    disk: TornDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(SEED)
    history = await killed_after_a_failed_sync(disk, tmp_path, chance, monkeypatch)

    assert await surprises(disk, history, chance, tmp_path / "cut") == []


async def test_the_log_has_to_be_written_anew_for_that(
    disk: TornDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(SEED)
    monkeypatch.setattr(wal, "settle", lambda file: None)
    await killed_after_a_failed_sync(disk, tmp_path, chance, monkeypatch)

    with pytest.raises(StoreDamaged):
        await after_cut(disk, len(disk.operations), nothing, tmp_path / "cut")


async def test_a_full_disk_takes_nothing_that_was_acknowledged(disk: TornDisk, tmp_path: Path) -> None:
    chance = Random(SEED)
    history = History(disk.operations)
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    story = changes(chance, CHANGES)
    for change in story[: CHANGES // 2]:
        await history.carry_out(store, change)
    before = history.acknowledged

    disk.room = 5_000
    with pytest.raises(StoreFull):
        await add(store, next(iter(streams_of(before))), b"x" * 1_000_000)

    assert await observe(store) == before
    disk.room = None
    for change in story[CHANGES // 2 :]:
        await history.carry_out(store, change)
    assert history.refused == 0
    assert await observe(store) == history.acknowledged
    disk.is_recording = False
    await store.aclose()
    disk.is_recording = True
    assert await surprises(disk, history, chance, tmp_path / "cut") == []


def streams_of(state: State) -> list[str]:
    return sorted(path for path, (_, closed, _) in state.items() if path != "r" and not closed)


async def test_after_a_failed_sync_writes_are_refused_and_reads_served_until_the_disk_works(
    disk: TornDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_RETRY_S", 1e9)
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    await make(store, "s")
    kept = await add(store, "s", b"kept")
    disk.failing_syncs = frozenset({disk.syncs + 1})

    with pytest.raises(StoreFailure, match="sync"):
        await add(store, "s", b"lost")
    with pytest.raises(StoreHalted, match=r"streams\.db failed"):
        await add(store, "s", b"refused")

    assert store.trouble is not None
    assert await store.load("s") == kept
    assert await read_all(store, kept) == b"kept"
    store._health._next_try_s = 0.0
    after = await add(store, "s", b" more")
    assert store.trouble is None
    assert await read_all(store, after) == b"kept more"
    await store.aclose()


async def test_a_failed_sync_during_a_checkpoint_fails_no_append_and_halts_the_store(
    disk: TornDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECKPOINT_FRAMES", 1)
    monkeypatch.setattr(health, "_RETRY_S", 1e9)
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    await make(store, "s")
    disk.failing_syncs = frozenset(
        {disk.syncs + 3}
    )  # of the log at the commit, of the log again, of the file

    appended = await add(store, "s", b"kept")

    assert store.trouble is not None
    assert await read_all(store, appended) == b"kept"
    await store.aclose()


async def test_reads_that_wait_beside_a_failing_write_are_answered(disk: TornDisk, tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    made = await make(store, "cold")
    await store.aclose()
    store = await SqliteStore.open(tmp_path / "data", ManualClock())
    disk.room = 0
    async with one_batch(store):
        writing = asyncio.create_task(make(store, "new"))
        reading = asyncio.create_task(store.load("cold"))

    with pytest.raises(StoreFull):
        await writing
    assert await reading == made
    disk.room = None
    await store.aclose()
