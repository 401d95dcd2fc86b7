"""Stores of every kind for tests, and writes to them without any protocol rule in between."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

import apsw
from msgspec.structs import replace

from durafold_server.clock import Clock, system_clock
from durafold_server.protocol.model import (
    FOREVER,
    AppendData,
    Decide,
    Decision,
    Lifetime,
    Loaded,
    Mode,
    Payload,
    ProducerState,
    ReadKey,
    RemoveStream,
    SaveProducer,
    SaveStream,
    StreamState,
    Write,
)
from durafold_server.store.base import StreamStore
from durafold_server.store.memory import MemoryStore
from durafold_server.store.sqlite import SqliteStore
from support.waiting import PATIENCE_S

__all__ = [
    "KINDS",
    "ManualClock",
    "add",
    "appending",
    "fail_commits",
    "let_commits_pass",
    "look",
    "looking",
    "make",
    "on_writer",
    "one_batch",
    "open_store",
    "read_all",
    "remove",
    "removing",
    "write",
    "written",
]

T = TypeVar("T")

KINDS: Final = ("memory", "sqlite")


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        """Microseconds since 1970."""
        return self.now_us


async def open_store(kind: str, directory: Path, clock: Clock = system_clock) -> StreamStore:
    """A store of that kind; those on disk keep their data in `directory`."""
    return MemoryStore(clock) if kind == "memory" else await SqliteStore.open(directory, clock)


def written(found: Sequence[Loaded], index: int = 0) -> StreamState:
    """The stream that was found, which must exist."""
    stream = found[index].stream
    assert stream is not None
    return stream


def appending(data: bytes, producer: tuple[str, ProducerState] | None = None) -> Decide[StreamState]:
    """A decision that appends to the stream of the first key, and notes a producer."""

    def decide(found: Sequence[Loaded], now_us: int) -> Decision[StreamState]:
        stream = written(found)
        after = replace(stream, tail=stream.tail + len(data), used_us=now_us)
        writes: list[Write] = [SaveStream(after), AppendData(stream.id, stream.tail, Payload(data, 1))]
        if producer is not None:
            writes.append(SaveProducer(stream.id, *producer))
        return Decision(writes, after)

    return decide


def removing(found: Sequence[Loaded], now_us: int) -> Decision[StreamState]:
    """A decision that removes the stream of the first key."""
    return Decision([RemoveStream(written(found))], written(found))


def looking(found: Sequence[Loaded], now_us: int) -> Decision[tuple[Loaded, ...]]:
    """A decision that writes nothing and answers what it was shown."""
    return Decision((), tuple(found))


async def write(store: StreamStore, *writes: Write) -> None:
    """Carry out writes in one transaction."""
    await store.transact((), lambda found, now_us: Decision(writes, None))


async def make(
    store: StreamStore, path: str = "s", *, lifetime: Lifetime = FOREVER, mode: Mode = Mode.BINARY
) -> StreamState:
    """A new, empty stream."""

    def decide(found: Sequence[Loaded], now_us: int) -> Decision[StreamState]:
        stream = StreamState(
            id=now_us,
            path=path,
            content_type="a/b",
            mode=mode,
            lifetime=lifetime,
            used_us=now_us,
        )
        return Decision([SaveStream(stream)], stream)

    return await store.transact((ReadKey(path),), decide)


async def add(
    store: StreamStore, path: str, data: bytes, producer: tuple[str, ProducerState] | None = None
) -> StreamState:
    """Append; answers the stream afterwards."""
    return await store.transact((ReadKey(path),), appending(data, producer))


async def remove(store: StreamStore, path: str) -> StreamState:
    """Remove the stream; its data stays until it is purged."""
    return await store.transact((ReadKey(path),), removing)


async def look(store: StreamStore, path: str, producer_id: str | None = None) -> Loaded:
    """What a transaction is shown."""
    (found,) = await store.transact((ReadKey(path, producer_id),), looking)
    return found


async def read_all(store: StreamStore, stream: StreamState, max_bytes: int = 1 << 20) -> bytes:
    """All bytes of a stream, page by page."""
    parts: list[bytes] = []
    position = 0
    while position < stream.tail:
        page = await store.read(stream.id, position, until=stream.tail, max_bytes=max_bytes, framed=False)
        assert page.start == position
        assert page.data, f"no data at {position} of {stream.tail}"
        parts.append(page.data)
        position = page.end
    return b"".join(parts)


@contextlib.asynccontextmanager
async def one_batch(store: StreamStore) -> AsyncIterator[None]:
    """What is submitted inside is committed as one batch after the block."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(found: Sequence[Loaded], now_us: int) -> Decision[None]:
        begun.set()
        go_on.wait(PATIENCE_S)
        return Decision((), None)

    holding = asyncio.create_task(store.transact((), hold))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    try:
        yield
        await asyncio.sleep(0)  # tasks made inside begin now
    finally:
        go_on.set()
        await holding


async def on_writer(store: SqliteStore, use: Callable[[apsw.Connection], T]) -> T:
    """Use the store's writing connection on its own thread, which may be at work with it now."""
    return cast("T", await store._group.submit(lambda staged: use(store._writer)))


async def fail_commits(store: SqliteStore) -> None:
    """Turn every commit from now on into a rollback."""
    await on_writer(store, lambda writer: writer.set_commit_hook(lambda: True))


async def let_commits_pass(store: SqliteStore) -> None:
    """End what `fail_commits` began."""
    await on_writer(store, lambda writer: writer.set_commit_hook(None))
