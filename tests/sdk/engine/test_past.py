"""The state at an offset, whatever others append while it is looked for."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from durafold.client import DurableStream, Offset, Page
from durafold.engine.definition import Declaration, define
from durafold.engine.past import MAX_READS, state_at
from durafold.errors import BadRequest, StateError
from durafold.wire.offsets import NOW, START
from support.server import ServerProcess

pytestmark = pytest.mark.anyio


def listed(state: list[Any], action: Any) -> list[Any]:
    """All actions."""
    return [*state, action]


ALL = define(Declaration("log", listed, []))


class Busy(DurableStream):
    """A stream to which somebody appends before it is read.

    Attributes:
        noise: what is appended before each read.
        stale: what a cache between answers first.
        reads: how many there were.
    """

    noise: Iterator[list[Any]]
    stale: list[Page]
    reads = 0

    async def read(self, offset: Offset = START, **options: Any) -> Page:
        self.reads += 1
        if self.stale:
            return self.stale.pop()
        for message in next(self.noise, []):
            await self.append(message)
        return await super().read(offset, **options)


@pytest.fixture
async def stream(server: ServerProcess, key: str) -> AsyncIterator[Busy]:
    async with Busy(f"{server.url}/{key}", content_type="application/json") as busy:
        busy.noise, busy.stale = iter([]), []
        await busy.create()
        yield busy


async def written(stream: Busy, *messages: Any) -> list[Offset]:
    """Append messages; the offsets behind each of them."""
    results = [await stream.append(message) for message in messages]
    return [result.next_offset for result in results if result.next_offset is not None]


async def test_the_state_at_an_offset_is_told_while_others_append(stream: Busy) -> None:
    offsets = await written(stream, "a", "b", "c")
    stream.noise = ([f"{read}.1", f"{read}.2"] for read in itertools.count())

    states = [await state_at(stream, ALL, offset) for offset in [START, *offsets]]

    assert states == [[], ["a"], ["a", "b"], ["a", "b", "c"]]


async def test_an_offset_between_equal_messages_is_found_when_others_pause(stream: Busy) -> None:
    offsets = await written(stream, 1, 1, 1)
    stream.noise = iter([[1], [1, 1], [1], [1]])

    assert await state_at(stream, ALL, offsets[1]) == [1, 1]


async def test_nobody_looks_for_ever_between_equal_messages_if_others_never_pause(stream: Busy) -> None:
    offsets = await written(stream, 1, 1, 1)
    stream.noise = itertools.repeat([1])

    with pytest.raises(StateError, match="too much is written meanwhile"):
        await state_at(stream, ALL, offsets[1])

    assert stream.reads <= MAX_READS + 1


async def test_an_offset_behind_what_a_cache_still_gives_is_read_up_to(stream: Busy) -> None:
    await written(stream, "a")
    stale = await stream.read()
    (offset,) = await written(stream, "b")
    await written(stream, "c")
    stream.stale = [stale]

    assert await state_at(stream, ALL, offset) == ["a", "b"]


async def test_the_state_now_is_that_at_the_tail(stream: Busy) -> None:
    await written(stream, "a", "b")

    assert await state_at(stream, ALL, NOW) == ["a", "b"]


async def test_an_offset_behind_the_tail_is_refused(stream: Busy) -> None:
    (offset,) = await written(stream, "a")

    with pytest.raises(BadRequest):
        await state_at(stream, ALL, Offset(offset[:-1] + "9"))
