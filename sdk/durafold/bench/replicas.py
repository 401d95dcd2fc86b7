"""What live replicas cost: loading, dispatching, following, telling subscribers; over a server.

*By hand* is the least that an application would write itself with this package's client: append, follow, fold
with a loop. It has no optimistic view, identities, verdicts or caches.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Final, TypeAlias
from uuid import uuid4

import anyio

from durafold import MemoryStateCache, Provider, SnapshotPolicy, load_stream_with_reducer
from durafold.bench.folding import INITIAL_TALLY, message_text, tally
from durafold.bench.rounds import Figures, new_stream, seconds
from durafold.client import DurableStream, IdempotentProducer, Transport
from durafold.engine import ServerReducer, stream_url
from durafold.snapshots import SnapshotStore
from durafold.state.snapshot import take_snapshot
from durafold.wire.names import JSON_CONTENT_TYPE

__all__ = ["Place", "Size", "by_hand", "histories", "ours"]

_ACTION: Final = {"type": "add", "by": 1}
_MESSAGES_PER_POST: Final = 20_000
_MESSAGES_BEHIND_SNAPSHOT: Final = 100
_SHOWN_TOGETHER: Final = 100

_Tally: TypeAlias = ServerReducer[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured in one round.

    Attributes:
        actions: length of the stream that is loaded from its start.
        long: length of the stream that is loaded from its snapshot.
        loads: loads for one number, where one is short.
        dispatches: dispatches one by one for one number.
        burst: dispatches without waiting for one number.
        subscribers: subscribers of one value.
        replicas: live replicas whose memory is measured.
    """

    actions: int = 100_000
    long: int = 1_000_000
    loads: int = 20
    dispatches: int = 100
    burst: int = 5_000
    subscribers: int = 10_000
    replicas: int = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is measured.

    Attributes:
        base: where the server's streams are.
        history: key of a stream to load from its start.
        long_history: key of a long one, with a snapshot near its end.
        size: how much is measured.
    """

    base: str
    history: str
    long_history: str
    size: Size


async def histories(base: str, size: Size) -> Place:
    """Write the streams that are loaded, and the snapshot."""
    place = Place(base, f"bench/{uuid4().hex}", f"bench/{uuid4().hex}", size)
    async with Transport() as transport:
        open_stream = partial(_open, base, transport)
        await _write(open_stream(place.history), range(size.actions))
        long_history = open_stream(place.long_history)
        await _write(long_history, range(size.long))
        await _write_snapshot(place, open_stream)
        await _write(long_history, range(size.long, size.long + _MESSAGES_BEHIND_SNAPSHOT))
    return place


def _open(base: str, transport: Transport, key: str) -> DurableStream:
    return DurableStream(stream_url(base, key), transport=transport, content_type=JSON_CONTENT_TYPE)


async def _write(stream: DurableStream, numbers: Sequence[int]) -> None:
    await stream.create()
    for first in range(0, len(numbers), _MESSAGES_PER_POST):
        texts = map(message_text, numbers[first : first + _MESSAGES_PER_POST])
        await stream.append_bytes(f"[{','.join(texts)}]".encode())


async def _write_snapshot(place: Place, open_stream: Callable[[str], DurableStream]) -> None:
    key = place.long_history
    loaded = await load_stream_with_reducer(place.base, key, tally, INITIAL_TALLY, use_cache=False)
    definition = loaded.definition
    snapshot = take_snapshot(loaded.confirmed, definition.fingerprint)
    assert snapshot is not None
    store: SnapshotStore[dict[str, Any]] = SnapshotStore(
        key, definition.fingerprint, definition.states, SnapshotPolicy(), open_stream
    )
    await store.save(snapshot)


def ours(place: Place) -> Figures:
    """By measure: what takes the number."""
    return {
        "cold": partial(_cold, place),
        "warm": partial(_warm, place),
        "snapshot": partial(_snapshot, place),
        "shown": partial(_shown, place),
        "confirmed": partial(_confirmed, place),
        "other": partial(_other, place),
        "burst": partial(_burst, place),
        "notify": partial(_notify, place),
        "memory": partial(_memory, place),
    }


def by_hand(place: Place) -> Figures:
    """By measure, of those that make sense by hand."""
    return {
        "cold": partial(_cold_by_hand, place),
        "confirmed": partial(_confirmed_by_hand, place),
        "other": partial(_confirmed_by_hand, place),  # whoever follows learns of it in the same way
        "burst": partial(_burst_by_hand, place),
        "notify": partial(_notify_by_hand, place),
        "memory": partial(_memory_by_hand, place),
    }


# ---- loading ----


async def _cold(place: Place) -> float:
    """ms to fold a stream from its start."""
    return 1000 * await seconds(
        partial(load_stream_with_reducer, use_cache=False), place.base, place.history, tally, INITIAL_TALLY
    )


async def _cold_by_hand(place: Place) -> float:
    async def load() -> None:
        async with DurableStream(stream_url(place.base, place.history)) as stream:
            messages = await stream.read_json()
        reduce(tally, (message["payload"] for message in messages), INITIAL_TALLY)

    return 1000 * await seconds(load)


async def _warm(place: Place) -> float:
    """ms to load what is in the cache, when nothing is new."""
    cache = MemoryStateCache()
    async with Transport() as transport:
        load = partial(load_stream_with_reducer, cache=cache, transport=transport)
        arguments = (place.base, place.history, tally, INITIAL_TALLY)
        await load(*arguments)
        return 1000 * statistics.median([await seconds(load, *arguments) for _ in range(place.size.loads)])


async def _snapshot(place: Place) -> float:
    """ms to load a long stream from its snapshot, connecting included."""
    load = partial(load_stream_with_reducer, use_cache=False, snapshots=SnapshotPolicy())
    arguments = (place.base, place.long_history, tally, INITIAL_TALLY)
    return 1000 * statistics.median([await seconds(load, *arguments) for _ in range(place.size.loads)])


# ---- dispatching ----


@asynccontextmanager
async def _live(place: Place, key: str | None = None) -> AsyncIterator[_Tally]:
    """A live replica of a new stream, or of one that another replica has made."""
    async with Provider(place.base) as party:
        replica = party.server_reducer(tally, INITIAL_TALLY, key or f"bench/{uuid4().hex}")
        yield await replica.ready()


async def _shown(place: Place) -> float:
    """µs from the call of dispatch to the value that shows it."""
    taken_us: list[float] = []
    async with _live(place) as replica:
        for _ in range(max(1, place.size.dispatches // _SHOWN_TOGETHER) * 5):
            started_at_s = time.perf_counter()
            dispatched = [_dispatched(replica) for _ in range(_SHOWN_TOGETHER)]
            taken_us.append((time.perf_counter() - started_at_s) / _SHOWN_TOGETHER * 1e6)
            await dispatched[-1]
    return statistics.median(taken_us)


def _dispatched(replica: _Tally) -> Any:
    before = replica.value["count"]
    dispatch = replica.dispatch(_ACTION)
    assert replica.value["count"] == before + 1
    return dispatch


async def _confirmed(place: Place) -> float:
    """ms from the call of dispatch until its echo in the stream is folded."""

    async def dispatch() -> None:
        await replica.dispatch(_ACTION)

    async with _live(place) as replica:
        return 1000 * statistics.median([await seconds(dispatch) for _ in range(place.size.dispatches)])


async def _other(place: Place) -> float:
    """ms from the call of dispatch until another client shows it."""
    taken_s: list[float] = []
    async with _live(place) as replica, _live(place, replica.key) as other:
        news = anyio.Event()
        other.subscribe(lambda: news.set())  # noqa: PLW0108 - it is another event each time
        for _ in range(place.size.dispatches):
            news = anyio.Event()
            started_at_s = time.perf_counter()
            dispatch = replica.dispatch(_ACTION)
            await news.wait()
            taken_s.append(time.perf_counter() - started_at_s)
            await dispatch
    return 1000 * statistics.median(taken_s)


async def _burst(place: Place) -> float:
    """Dispatches per second, without waiting for one before the next."""

    async def dispatch_all() -> None:
        dispatched = [replica.dispatch(_ACTION) for _ in range(place.size.burst)]
        await dispatched[-1]

    async with _live(place) as replica:
        return place.size.burst / await seconds(dispatch_all)


class _ByHand:
    """A count that follows a stream."""

    def __init__(self, stream: DurableStream) -> None:
        self._stream = stream
        self._news = anyio.Event()
        self.state: dict[str, Any] = INITIAL_TALLY

    async def follow(self) -> None:
        async with self._stream.follow(live="sse") as follower:
            async for page in follower:
                self.state = reduce(tally, page.json(), self.state)
                self._news.set()
                self._news = anyio.Event()

    async def until(self, count: int) -> None:
        while self.state["count"] < count:
            await self._news.wait()


@asynccontextmanager
async def _live_by_hand(place: Place) -> AsyncIterator[tuple[DurableStream, _ByHand]]:
    async with (
        DurableStream(await new_stream(place.base), content_type=JSON_CONTENT_TYPE) as stream,
        anyio.create_task_group() as tasks,
    ):
        replica = _ByHand(stream)
        tasks.start_soon(replica.follow)
        await stream.append(_ACTION)
        await replica.until(1)
        yield stream, replica
        tasks.cancel_scope.cancel()


async def _confirmed_by_hand(place: Place) -> float:
    taken_s: list[float] = []
    async with _live_by_hand(place) as (stream, replica):
        for count in range(2, place.size.dispatches + 2):
            started_at_s = time.perf_counter()
            await stream.append(_ACTION)
            await replica.until(count)
            taken_s.append(time.perf_counter() - started_at_s)
    return 1000 * statistics.median(taken_s)


async def _burst_by_hand(place: Place) -> float:
    async def append_all() -> None:
        for _ in range(place.size.burst):
            await producer.append(_ACTION)
        await replica.until(place.size.burst + 1)

    taken_s: list[float] = []
    async with _live_by_hand(place) as (stream, replica), IdempotentProducer(stream, "bench") as producer:
        taken_s.append(await seconds(append_all))
    return place.size.burst / taken_s[0]


# ---- subscribers and memory ----


class _Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


async def _notify(place: Place) -> float:
    """µs per subscriber to tell them of one change, all that dispatching does included."""
    counters = [_Counter() for _ in range(place.size.subscribers)]
    taken_s: list[float] = []
    async with _live(place) as replica:
        for counter in counters:
            replica.subscribe(counter)
        for _ in range(place.size.loads):
            started_at_s = time.perf_counter()
            dispatch = replica.dispatch(_ACTION)
            taken_s.append(time.perf_counter() - started_at_s)
            await dispatch
    assert {counter.calls for counter in counters} == {place.size.loads}
    return statistics.median(taken_s) / len(counters) * 1e6


async def _notify_by_hand(place: Place) -> float:
    counters = [_Counter() for _ in range(place.size.subscribers)]
    taken_s: list[float] = []
    for _ in range(place.size.loads):
        started_at_s = time.perf_counter()
        for counter in counters:
            counter()
        taken_s.append(time.perf_counter() - started_at_s)
    return statistics.median(taken_s) / len(counters) * 1e6


async def _memory(place: Place) -> float:
    """kB that one more live replica takes in this process, its connection included."""

    async def open_one() -> None:
        replica = party.server_reducer(tally, INITIAL_TALLY, f"bench/{uuid4().hex}")
        await replica.ready()
        await replica.dispatch(_ACTION)

    async with Provider(place.base) as party:
        return await _kb_each(open_one, place.size.replicas)


async def _memory_by_hand(place: Place) -> float:
    async def open_one() -> None:
        stream = DurableStream(await new_stream(place.base), transport=transport)
        replica = _ByHand(stream)
        tasks.start_soon(replica.follow)
        await stream.append(_ACTION)
        await replica.until(1)

    taken_kb: list[float] = []
    async with Transport() as transport, anyio.create_task_group() as tasks:
        taken_kb.append(await _kb_each(open_one, place.size.replicas))
        tasks.cancel_scope.cancel()
    return taken_kb[0]


async def _kb_each(open_one: Callable[[], Any], count: int) -> float:
    """What one more takes; a few before them pay for what is made once."""
    for _ in range(3):
        await open_one()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(count):
            await open_one()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / count / 1000
