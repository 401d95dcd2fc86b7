"""Live readers: who is pushed what, and who is left out or let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from durafold_server.protocol.model import Lifetime, Mode, StreamState
from durafold_server.protocol.responses import PageView
from durafold_server.readers import LiveReaders
from durafold_server.store.base import StoreFailure
from support.waiting import eventually

pytestmark = pytest.mark.anyio

PAGE = 10


class Source:
    """A stream, and how it is looked at."""

    def __init__(self) -> None:
        self.stream: StreamState | None = StreamState(
            id=7, path="s", content_type="text/plain", mode=Mode.TEXT, tail=3
        )
        self.views = 0
        self.looks = 0
        self.failure: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    @property
    def now(self) -> StreamState:
        assert self.stream is not None
        return self.stream

    def grow(self, size: int, *, closed: bool = False) -> None:
        self.stream = replace(self.now, tail=self.now.tail + size, closed=closed)

    async def look(self, path: str, stream_id: int) -> StreamState | None:
        self.looks += 1
        failure = self.failure
        await self.go_on.wait()
        if failure is not None:
            raise failure
        return self.stream

    async def view(self, stream: StreamState, position: int) -> PageView:
        self.views += 1
        await asyncio.sleep(0)
        end = min(position + PAGE, stream.tail)
        return PageView(stream, position, end, b"x" * (end - position))


class Reader:
    """A reader that notes what happens to it."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.greeted = False
        self.is_ready = True
        self.may_live = True
        self.pages: list[tuple[int, int]] = []
        self.ended = 0
        self.ticks = 0

    def push(self, view: PageView) -> None:
        assert self.is_ready
        assert not self.ended
        assert view.start == self.position
        self.pages.append((view.start, view.end))
        self.position, self.greeted = view.end, True

    def tick(self, now_s: float) -> bool:
        self.ticks += 1
        return self.may_live

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def source(anyio_backend: str) -> Source:
    return Source()


@pytest.fixture
async def readers(source: Source) -> AsyncIterator[LiveReaders]:
    readers = LiveReaders(source.look, source.view, tick_s=0.01)
    yield readers
    readers.stop()


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_the_first_page_comes_at_once_even_if_it_is_empty(source: Source, readers: LiveReaders) -> None:
    behind, at_tail = Reader(), Reader(position=3)

    readers.attach(source.now, behind)
    readers.attach(source.now, at_tail)
    await settle()

    assert (behind.pages, at_tail.pages) == ([(0, 3)], [(3, 3)])
    assert len(readers) == 2


async def test_readers_at_the_same_place_share_one_page(source: Source, readers: LiveReaders) -> None:
    crowd = [Reader(position=3) for _ in range(50)]
    for reader in crowd:
        readers.attach(source.now, reader)
    await settle()
    source.views = 0

    source.grow(5)
    readers.changed(7)
    await settle()

    assert {tuple(reader.pages) for reader in crowd} == {((3, 3), (3, 8))}
    assert source.views == 1


async def test_a_reader_far_behind_gets_page_after_page(source: Source, readers: LiveReaders) -> None:
    source.grow(22)
    reader = Reader()

    readers.attach(source.now, reader)
    await settle()

    assert reader.pages == [(0, 10), (10, 20), (20, 25)]


async def test_a_change_without_news_pushes_nothing(source: Source, readers: LiveReaders) -> None:
    reader = Reader()
    readers.attach(source.now, reader)
    await settle()

    readers.changed(7)
    readers.changed(7)
    await settle()

    assert reader.pages == [(0, 3)]


async def test_a_change_during_a_push_is_not_lost(source: Source, readers: LiveReaders) -> None:
    reader = Reader()
    source.go_on.clear()
    readers.attach(source.now, reader)
    await settle()

    source.grow(2)
    readers.changed(7)
    source.go_on.set()
    await settle()

    assert reader.position == 5


async def test_a_reader_without_room_catches_up_later(source: Source, readers: LiveReaders) -> None:
    slow, quick = Reader(position=3), Reader(position=3)
    readers.attach(source.now, slow)
    readers.attach(source.now, quick)
    await settle()
    slow.is_ready = False
    for _ in range(3):
        source.grow(6)
        readers.changed(7)
        await settle()
    assert quick.pages == [(3, 3), (3, 9), (9, 15), (15, 21)]
    assert slow.pages == [(3, 3)]

    slow.is_ready = True
    readers.changed(7)
    await settle()

    assert slow.pages == [(3, 3), (3, 13), (13, 21)]


async def test_the_last_page_of_a_closed_stream_ends_readers(source: Source, readers: LiveReaders) -> None:
    reader, at_tail = Reader(), Reader(position=3)
    readers.attach(source.now, reader)
    readers.attach(source.now, at_tail)
    await settle()

    source.grow(2, closed=True)
    readers.changed(7)
    await settle()

    assert reader.pages == [(0, 3), (3, 5)]
    assert (reader.ended, at_tail.ended, len(readers)) == (1, 1, 0)


async def test_a_closed_stream_is_pushed_to_its_end_first(source: Source, readers: LiveReaders) -> None:
    source.grow(12, closed=True)
    reader = Reader()
    slow = Reader()
    slow.is_ready = False

    readers.attach(source.now, reader)
    readers.attach(source.now, slow)
    await settle()

    assert (reader.pages, reader.ended) == ([(0, 10), (10, 15)], 1)
    assert (slow.pages, slow.ended) == ([], 0)


async def test_a_stream_that_is_gone_ends_its_readers(source: Source, readers: LiveReaders) -> None:
    crowd = [Reader(), Reader()]
    for reader in crowd:
        readers.attach(source.now, reader)
    await settle()

    source.stream = None
    readers.changed(7)
    await settle()

    assert [reader.ended for reader in crowd] == [1, 1]
    assert len(readers) == 0


async def test_a_failing_store_ends_the_readers_who_will_resume(
    source: Source, readers: LiveReaders, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader()
    source.failure = StoreFailure("the disk is gone")

    readers.attach(source.now, reader)
    await settle()

    assert reader.ended == 1
    assert "the disk is gone" in caplog.text


async def test_a_reader_that_comes_during_a_failing_push_is_served(
    source: Source, readers: LiveReaders
) -> None:
    first, second = Reader(), Reader()
    source.go_on.clear()
    source.failure = StoreFailure("a passing trouble")
    readers.attach(source.now, first)
    await settle()
    readers.detach(7, first)
    source.failure = None
    readers.attach(source.now, second)
    await settle()
    source.go_on.set()
    await settle()

    source.grow(2)
    readers.changed(7)
    await settle()

    assert second.position == 5
    assert len(readers) == 1


async def test_a_reader_that_left_gets_nothing_more(source: Source, readers: LiveReaders) -> None:
    reader, other = Reader(), Reader()
    readers.attach(source.now, reader)
    readers.attach(source.now, other)
    await settle()

    readers.detach(7, reader)
    readers.detach(7, reader)
    readers.detach(8, reader)
    source.grow(2)
    readers.changed(7)
    await settle()

    assert (reader.position, other.position) == (3, 5)
    assert (reader.ended, len(readers)) == (0, 1)


async def test_a_reader_whose_time_is_over_is_ended(source: Source, readers: LiveReaders) -> None:
    old, young = Reader(), Reader()
    readers.attach(source.now, old)
    readers.attach(source.now, young)
    old.may_live = False

    await eventually(lambda: old.ended)

    assert (old.ended, young.ended, len(readers)) == (1, 0, 1)


async def test_ticks_end_with_the_last_reader_and_begin_again_with_the_next(
    source: Source, readers: LiveReaders
) -> None:
    before = asyncio.all_tasks()
    first, second = Reader(), Reader()
    readers.attach(source.now, first)
    await settle()
    readers.detach(7, first)
    await eventually(lambda: asyncio.all_tasks() == before)

    readers.attach(source.now, second)

    await eventually(lambda: second.ticks >= 2)


async def test_a_stream_that_may_expire_is_looked_at_now_and_then(
    source: Source, readers: LiveReaders
) -> None:
    source.stream = replace(source.now, lifetime=Lifetime(ttl_s=1))
    readers.attach(source.now, Reader())

    await eventually(lambda: source.looks >= 3)


async def test_stopping_ends_everybody_now_and_later(source: Source, readers: LiveReaders) -> None:
    reader, late = Reader(), Reader()
    readers.attach(source.now, reader)
    await settle()

    readers.stop()
    readers.attach(source.now, late)

    assert (reader.ended, late.ended, late.pages, len(readers)) == (1, 1, [], 0)
