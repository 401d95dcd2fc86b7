"""Reading a stream piece by piece, and going on in another process."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durafold.client import NOW, Checkpoint, DurableStream
from durafold.errors import MalformedResponse
from support.proxy import Cut, FaultProxy, some_of
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]


async def test_messages_batches_text_bytes_and_events_tell_the_same(stream: DurableStream) -> None:
    await stream.append_many([1, 2])

    assert [message async for message in stream.follow(live="off").iter_json()] == [1, 2]
    assert [batch async for batch in stream.follow(live="off").iter_batches()] == [[1, 2]]
    assert [text async for text in stream.follow(live="off").iter_text()] == ["[1,2]"]
    assert [chunk async for chunk in stream.follow(live="off").iter_bytes()] == [b"[1,2]"]
    assert [event.data async for event in stream.follow(live="off").iter_events()] == [1, 2]


async def test_without_waiting_the_iteration_ends_at_the_tail(stream: DurableStream) -> None:
    await stream.append(1)
    follower = stream.follow(live="off")

    received = [page.json() async for page in follower]

    assert received == [[1]]
    assert (follower.status, follower.up_to_date, follower.closed) == ("done", True, False)


async def test_a_closed_stream_is_closed_for_a_reader_that_does_not_wait(stream: DurableStream) -> None:
    await stream.close()
    follower = stream.follow(live="off")

    assert [page.closed async for page in follower] == [True]
    assert follower.status == "closed"


async def test_a_checkpoint_from_before_the_first_answer_is_where_it_was_told_to_start(
    stream: DurableStream,
) -> None:
    assert stream.follow(NOW).checkpoint == Checkpoint(NOW)


async def test_a_checkpoint_of_now_becomes_the_real_tail(stream: DurableStream) -> None:
    await stream.append("before")
    follower = stream.follow(NOW, live="off")
    received = [message async for message in follower.iter_json()]
    await stream.append("between")

    rest = [message async for message in stream.follow(follower.checkpoint, live="off").iter_json()]

    assert (received, rest) == ([], ["between"])


@pytest.mark.parametrize("seed", range(4))
async def test_a_reader_that_stops_anywhere_goes_on_without_gap_or_repetition(
    seed: int, stream: DurableStream
) -> None:
    rng = random.Random(seed)
    await stream.append_many(list(range(60)))
    received: list[Any] = []
    stored: Any = {"offset": "-1"}

    while len(received) < 60:
        follower = stream.follow(Checkpoint.from_json(stored), live="off")
        messages = follower.iter_json()
        for _ in range(min(rng.randrange(1, 9), 60 - len(received))):
            received.append(await anext(messages))
        stored = follower.checkpoint.to_json()
        await stream.append("one more")

    assert received == list(range(60))


async def test_of_a_byte_stream_a_checkpoint_within_a_character_is_never_made(
    url: str, connect: Connect
) -> None:
    stream = connect(url)
    await stream.create(content_type="text/plain")
    await stream.append_bytes("a€".encode()[:2])
    follower = stream.follow(live="off")
    first = await anext(follower.iter_text())
    await stream.append_bytes("a€b".encode()[2:])

    rest = [text async for text in stream.follow(follower.checkpoint, live="off").iter_text()]

    assert (first, "".join(rest)) == ("a", "€b")


async def test_text_that_ends_within_a_character_is_told(url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="text/plain", closed=True, body=b"\xe2\x82")

    with pytest.raises(MalformedResponse, match="within a UTF-8 character"):
        await anext(stream.follow().iter_text())


async def test_messages_are_neither_lost_nor_repeated_over_cut_connections(
    stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(5)
    await stream.append_many(list(range(500)))
    await stream.close()

    plan = some_of(rng, [Cut(n) for n in range(0, 2000, 90)], share=0.6)
    async with FaultProxy(stream.url, plan=plan) as proxy:
        with anyio.fail_after(60):
            received = [message async for message in connect(proxy.url).follow().iter_json()]

    assert received == list(range(500))


async def test_cancelling_an_iterator_of_messages_loses_none(stream: DurableStream) -> None:
    async with stream.follow() as follower:
        messages = follower.iter_json()
        with anyio.move_on_after(0.05):
            await anext(messages)
        await stream.append("after")

        with anyio.fail_after(PATIENCE_S):
            assert await anext(messages) == "after"
