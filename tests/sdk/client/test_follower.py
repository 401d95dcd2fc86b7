"""`Follower`: every message once and in order, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Any

import anyio
import pytest

from durafold.client import (
    NOW,
    START,
    Backoff,
    ClientSettings,
    DurableStream,
    Follower,
    Offset,
    Page,
    ReadStatus,
)
from durafold.errors import (
    BadRequest,
    MalformedResponse,
    StreamGone,
    StreamNotFound,
    TransportError,
    Unauthorized,
)
from durafold.testing import ServerProcess
from support.fake_server import Answer, FakeServer, Seen, event_stream, page
from support.proxy import Cut, FaultProxy, LoseReply, Refuse, Stall
from support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]

both_ways = pytest.mark.parametrize("live", ["sse", "long-poll"])

TAIL = page(next_offset="0001", Stream_Cursor="7")


def data(json: str, next_offset: str, **fields: Any) -> bytes:
    """A data event and its control event, as a server writes them."""
    return f"event: data\ndata:{json}\n\n".encode() + control(next_offset, **fields)


def control(next_offset: str, *, up_to_date: bool = True, closed: bool = False) -> bytes:
    flags = ',"upToDate":true' * up_to_date + ',"streamClosed":true' * closed
    return f'event: control\ndata:{{"streamNextOffset":"{next_offset}"{flags}}}\n\n'.encode()


async def messages(follower: Follower) -> list[Any]:
    """Everything until the stream ends."""
    with anyio.fail_after(PATIENCE_S):
        async with follower:
            return [message async for page in follower for message in page.json()]


async def next_page(follower: Follower) -> Page:
    with anyio.fail_after(PATIENCE_S):
        return await anext(follower)


async def append_all(stream: DurableStream, first: int, end: int) -> None:
    for number in range(first, end):
        await stream.append(number)
        await anyio.sleep(0.001)


# ---- the ordinary course ----


@pytest.mark.parametrize("live", ["auto", "sse", "long-poll"])
async def test_what_was_there_and_what_comes_is_delivered_until_the_stream_ends(
    live: Any, stream: DurableStream
) -> None:
    await append_all(stream, 0, 5)
    received: list[Any] = []

    async with anyio.create_task_group() as tasks, stream.follow(live=live) as follower:
        received += (await next_page(follower)).json()
        tasks.start_soon(append_all, stream, 5, 10)
        while len(received) < 10:
            received += (await next_page(follower)).json()
        await stream.close("end")
        received += await messages(follower)

    assert received == [*range(10), "end"]
    assert follower.closed


@both_ways
async def test_reaching_the_tail_of_an_empty_stream_is_told_by_an_empty_page(
    live: Any, stream: DurableStream
) -> None:
    async with stream.follow(live=live) as follower:
        first = await next_page(follower)

    assert (first.data, first.up_to_date, first.closed) == (b"", True, False)
    assert follower.up_to_date


@both_ways
async def test_the_end_of_the_stream_is_told_by_an_empty_page(live: Any, stream: DurableStream) -> None:
    async with stream.follow(live=live) as follower:
        await next_page(follower)
        await stream.close()
        last = await next_page(follower)

        assert (last.data, last.closed) == (b"", True)
        with pytest.raises(StopAsyncIteration):
            await anext(follower)


@both_ways
async def test_following_from_now_skips_what_was_there(live: Any, stream: DurableStream) -> None:
    await stream.append("old")

    async with stream.follow(NOW, live=live) as follower:
        assert (await next_page(follower)).data == b""
        await stream.append("new")
        assert (await next_page(follower)).json() == ["new"]


@both_ways
async def test_following_goes_on_from_the_offset_of_the_last_page(live: Any, stream: DurableStream) -> None:
    await append_all(stream, 0, 3)
    async with stream.follow(live=live) as follower:
        last = await next_page(follower)
    await stream.close("end")

    assert await messages(stream.follow(last.next_offset, live=live)) == ["end"]


@both_ways
async def test_bytes_come_through_unchanged(live: Any, url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="application/octet-stream")

    async with stream.follow(live=live) as follower:
        await next_page(follower)
        await stream.append(bytes(range(256)))
        first = await next_page(follower)
        await stream.close(b"\r\n\x00")
        second = await next_page(follower)

    assert first.data + second.data == bytes(range(256)) + b"\r\n\x00"
    assert first.content_type == "application/octet-stream"


async def test_line_ends_of_text_come_through_unchanged(url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="text/plain")

    async with stream.follow() as follower:
        await next_page(follower)
        await stream.append(" a\r\nb\rc\n")
        assert (await next_page(follower)).data == b" a\r\nb\rc\n"


@both_ways
async def test_a_long_backlog_comes_in_pages(live: Any, stream: DurableStream) -> None:
    big = ["x" * 200_000] * 8
    await stream.append_many(big[:4])
    await stream.append_many(big[4:])
    await stream.close()

    assert await messages(stream.follow(live=live)) == big


async def test_the_status_tells_what_is_going_on(stream: DurableStream) -> None:
    seen: list[ReadStatus] = []

    async with FaultProxy(stream.url) as proxy:
        through = DurableStream(proxy.url, settings=stream.settings)
        async with through, through.follow(on_status=seen.append) as follower:
            await next_page(follower)
            await stream.append(1)
            await next_page(follower)
            await proxy.cut_all()
            await stream.append(2)
            await next_page(follower)
            await stream.close()
            await next_page(follower)

    assert seen[:3] == ["catching-up", "live", "reconnecting"]
    assert seen[-1] == follower.status == "closed"
    assert follower.error is None


# ---- cancellation ----


@both_ways
async def test_being_cancelled_while_waiting_loses_nothing(live: Any, stream: DurableStream) -> None:
    async with stream.follow(live=live) as follower:
        await next_page(follower)
        with anyio.move_on_after(0.05) as scope:
            await anext(follower)
        await stream.append(1)

        assert scope.cancelled_caught
        assert (await next_page(follower)).json() == [1]


async def test_two_tasks_cannot_iterate_at_once(stream: DurableStream) -> None:
    async with stream.follow() as follower, anyio.create_task_group() as tasks:
        await next_page(follower)
        tasks.start_soon(anext, follower)
        await anyio.sleep(0.05)

        with pytest.raises(anyio.BusyResourceError):
            await anext(follower)
        tasks.cancel_scope.cancel()


async def test_a_callback_that_raises_does_not_lose_the_page(stream: DurableStream) -> None:
    def object_to(status: ReadStatus) -> None:
        raise LookupError(status)

    await stream.append(1)
    async with stream.follow(on_status=object_to) as follower:
        with pytest.raises(LookupError, match="catching-up"):
            await anext(follower)

        assert (await next_page(follower)).json() == [1]


# ---- broken networks ----


@both_ways
@pytest.mark.parametrize("seed", range(2))
async def test_connections_cut_at_any_byte_neither_lose_nor_repeat_anything(
    live: Any, seed: int, stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(seed)
    cuts = [Cut(rng.randrange(1500)) for _ in range(16)]
    received: list[Any] = []
    sent = 0

    async with FaultProxy(stream.url) as proxy, connect(proxy.url).follow(live=live) as follower:
        proxy.script(Refuse(), LoseReply(), *cuts)
        while proxy.has_script:
            await stream.append(sent)
            sent += 1
            while len(received) < sent:
                received += (await next_page(follower)).json()
        await stream.close("end")
        received += await messages(follower)

    assert received == [*range(sent), "end"]


@pytest.mark.parametrize("cut_at", range(0, 900, 50))
async def test_an_event_stream_cut_between_data_and_control_is_resumed_without_repetition(
    cut_at: int, connect: Connect
) -> None:
    # About 190 bytes of headers, then events of 87 bytes: some cut falls into every part.
    whole = [data(f"[{n}]", f"000{n + 1}", closed=n == 7) for n in range(1, 8)]

    def rest(seen: Seen) -> Answer:
        first = int(seen.param("offset") or 0) - 1
        return event_stream(*whole[first:]) if seen.param("live") else page(next_offset=f"000{first + 1}")

    async with (
        FakeServer(page(b"[0]", next_offset="0001"), otherwise=rest) as server,
        FaultProxy(server.url) as proxy,
    ):
        proxy.script(Cut(10_000), Cut(cut_at))
        received = await messages(connect(f"{proxy.url}/demo").follow())

    assert received == list(range(8))


async def test_a_connection_on_which_nothing_moves_any_more_is_replaced(stream: DurableStream) -> None:
    hasty = ClientSettings(
        backoff=stream.settings.backoff,
        first_event_timeout_s=0.1,
        request_timeout_s=0.1,
        connect_timeout_s=0.1,
    )
    await stream.append(1)

    async with FaultProxy(stream.url) as proxy:
        proxy.script(Stall())
        async with DurableStream(proxy.url, settings=hasty) as through, through.follow() as follower:
            assert (await next_page(follower)).json() == [1]
            proxy.script(Stall())
            await stream.append(2)
            assert (await next_page(follower)).json() == [2]


@pytest.mark.crash
@both_ways
async def test_a_killed_server_is_followed_on_when_it_is_back(
    live: Any, durable_server: ServerProcess, connect: Connect
) -> None:
    stream = connect(f"{durable_server.url}/demo")
    await stream.create()
    await stream.append(1)

    async with stream.follow(live=live) as follower:
        assert (await next_page(follower)).json() == [1]
        durable_server.kill()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, durable_server.restart)
            async with connect(stream.url, settings=_patient()) as again:
                await again.append(2)
            assert (await _next_with_data(follower)).json() == [2]


def _patient() -> ClientSettings:
    return ClientSettings(backoff=Backoff(first_s=0.05, max_s=0.3), max_attempts=100)


async def _next_with_data(follower: Follower) -> Page:
    while not (page := await next_page(follower)).data:
        pass
    return page


# ---- event streams that do not get through ----


def long_poll_only(sse: Answer | Callable[[Seen], Answer]) -> Callable[[Seen], Answer]:
    """A server behind something that lets long-polls through and does `sse` to event streams."""

    def answer(seen: Seen) -> Answer:
        if seen.param("live") == "sse":
            return sse(seen) if callable(sse) else sse
        if seen.param("live") == "long-poll":
            return page(b"[2]", next_offset="0002", closed=True)
        return page(b"[1]", next_offset="0001") if seen.param("offset") == "-1" else page(next_offset="0001")

    return answer


@pytest.mark.parametrize(
    "sse",
    [
        Answer(400, length=0),
        Answer(405, length=0),
        Answer(501, length=0),
        page(b"[]", next_offset="0001"),
        Answer(200, {"Content-Type": "text/html"}, (b"<html>",), length=6),
        Answer(200, {"Content-Type": "text/event-stream", "Content-Encoding": "br"}, (b"?",), length=1),
    ],
)
async def test_where_event_streams_are_refused_long_poll_takes_over(sse: Answer, connect: Connect) -> None:
    async with FakeServer(otherwise=long_poll_only(sse)) as server:
        assert await messages(connect(f"{server.url}/demo").follow()) == [1, 2]


@pytest.mark.parametrize(
    "sse",
    [
        event_stream(then="hang"),
        event_stream(b": only comments\n\n", then="hang"),
        Answer(parts=(5.0,)),
        event_stream(control("0001")),
    ],
    ids=["silent", "comments", "no headers", "ends at once"],
)
async def test_where_event_streams_bring_nothing_long_poll_takes_over(sse: Answer, connect: Connect) -> None:
    hasty = ClientSettings(
        backoff=Backoff(first_s=0.01, max_s=0.02),
        connect_timeout_s=0.05,
        first_event_timeout_s=0.05,
        sse_tries=2,
    )

    async with FakeServer(otherwise=long_poll_only(sse)) as server:
        assert await messages(connect(f"{server.url}/demo", settings=hasty).follow()) == [1, 2]


async def test_a_reader_that_insists_on_event_streams_is_told_that_there_are_none(connect: Connect) -> None:
    async with FakeServer(otherwise=long_poll_only(page(next_offset="0001"))) as server:
        with pytest.raises(MalformedResponse, match="long-poll"):
            await messages(connect(f"{server.url}/demo").follow(live="sse"))


# ---- odd event streams ----


async def followed(connect: Connect, *answers: Any, **options: Any) -> list[Any]:
    """The messages of a scripted server whose first answer is message 1."""
    async with FakeServer(page(b"[1]", next_offset="0001"), *answers, otherwise=TAIL) as server:
        return await messages(connect(f"{server.url}/demo").follow(**options))


async def test_unknown_events_and_comments_are_ignored(connect: Connect) -> None:
    odd = b": hello\n\nid: 5\nevent: future\ndata: {}\n\n: beat\n\n"

    assert await followed(connect, event_stream(odd, data("[2]", "0002", closed=True))) == [1, 2]


async def test_a_repeated_control_event_delivers_nothing_twice(connect: Connect) -> None:
    stream = event_stream(data("[2]", "0002"), control("0002"), control("0002", closed=True))

    assert await followed(connect, stream) == [1, 2]


async def test_several_data_events_may_share_a_late_control_event(connect: Connect) -> None:
    parts = b"event: data\ndata:[2]\n\n", 0.02, b"event: data\ndata:[3,[4]]\n\n", 0.02

    assert await followed(connect, event_stream(*parts, control("0004", closed=True))) == [1, 2, 3, [4]]


async def test_data_that_does_not_move_the_offset_is_not_delivered(connect: Connect) -> None:
    broken = event_stream(data("[1]", "0001"), then="hang")

    assert await followed(connect, broken, TAIL, event_stream(data("[2]", "0002", closed=True))) == [1, 2]


@pytest.mark.parametrize(
    "damaged",
    [
        b"event: control\ndata:{invalid json\n\n",
        b"event: control\ndata:\n\n",
        b"event: control\ndata:{}\n\n",
        b'event: data\ndata:[{"cut":\n\n' + control("0002"),
        b"event: data\ndata:\xff\n\n",
    ],
)
async def test_damaged_events_are_asked_for_again(damaged: bytes, connect: Connect) -> None:
    good = event_stream(data("[2]", "0002", closed=True))

    assert await followed(connect, event_stream(damaged, then="hang"), TAIL, good) == [1, 2]


async def test_why_it_reconnects_can_be_seen(connect: Connect) -> None:
    errors: list[Any] = []
    damaged = event_stream(b"event: control\ndata:{invalid json\n\n", then="hang")
    good = event_stream(data("[2]", "0002", closed=True))

    async with FakeServer(page(b"[1]", next_offset="0001"), damaged, TAIL, good) as server:
        stream = connect(f"{server.url}/demo")
        follower = stream.follow(on_status=lambda _: errors.append(follower.error))
        await messages(follower)

    assert [type(error) for error in errors if error] == [MalformedResponse]


async def test_binary_events_are_decoded_one_by_one(connect: Connect) -> None:
    kind = "application/octet-stream"
    events = b"event: data\ndata:AA==\n\nevent: data\ndata:AQID\ndata:BA==\n\n" + control("0005", closed=True)
    live = event_stream(events, headers={"stream-sse-data-encoding": "base64"})

    async with FakeServer(page(b"\xff", next_offset="0001", content_type=kind), live) as server:
        follower = connect(f"{server.url}/demo").follow()
        assert [page.data async for page in follower] == [b"\xff", b"\x00\x01\x02\x03\x04"]


async def test_base64_that_is_none_is_asked_for_again(connect: Connect) -> None:
    kind = "application/octet-stream"
    tail = page(b"", next_offset="0001", content_type=kind)
    bad = event_stream(
        b"event: data\ndata:A\n\n", headers={"stream-sse-data-encoding": "base64"}, then="hang"
    )
    good = event_stream(
        b"event: data\ndata:AA==\n\n",
        control("2", closed=True),
        headers={"stream-sse-data-encoding": "base64"},
    )

    async with FakeServer(page(b"\xff", next_offset="0001", content_type=kind), bad, tail, good) as server:
        follower = connect(f"{server.url}/demo").follow()
        assert b"".join([page.data async for page in follower]) == b"\xff\x00"


async def test_the_cursor_is_echoed_and_parameters_are_sorted(connect: Connect) -> None:
    end = page(next_offset="0001", closed=True)

    async with FakeServer(TAIL, page(next_offset="0001", Stream_Cursor="8"), TAIL, otherwise=end) as server:
        await messages(connect(f"{server.url}/demo").follow(live="long-poll"))

    assert server.seen[0].query == [("offset", "-1")]
    assert server.seen[1].query == [("cursor", "7"), ("live", "long-poll"), ("offset", "0001")]
    assert server.seen[2].query == [("offset", "0001")]  # the answer came too fast to be a poll
    assert server.seen[2].headers["cache-control"] == "no-cache"


async def test_an_orderly_end_is_followed_by_the_next_connection(connect: Connect) -> None:
    first, second = event_stream(data("[2]", "0002")), event_stream(data("[3]", "0003", closed=True))

    async with FakeServer(page(b"[1]", next_offset="0001"), first, second) as server:
        assert await messages(connect(f"{server.url}/demo").follow()) == [1, 2, 3]

    assert [seen.param("live") for seen in server.seen] == [None, "sse", "sse"]
    assert [seen.param("offset") for seen in server.seen] == ["-1", "0001", "0002"]


# ---- refusals ----


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_errors_that_may_pass_are_waited_out(status: int, connect: Connect) -> None:
    fault = Answer(status, {"Retry-After": "0"}, length=0)
    end = page(b"[1]", next_offset="0001", closed=True)

    async with FakeServer(*[fault] * 5, end) as server:
        assert await messages(connect(f"{server.url}/demo").follow()) == [1]


async def test_a_server_that_is_not_there_yet_is_waited_for(dead_url: str, connect: Connect) -> None:
    async with connect(dead_url).follow() as follower, anyio.create_task_group() as tasks:
        tasks.start_soon(anext, follower)
        await eventually(lambda: follower.error)
        tasks.cancel_scope.cancel()

    assert follower.status == "connecting"
    assert isinstance(follower.error, TransportError)


async def test_expired_credentials_are_replaced_without_anybody_noticing(connect: Connect) -> None:
    tokens = count()
    denied = Answer(401, length=0)
    end = page(b"[2]", next_offset="0002", closed=True)

    async with FakeServer(denied, page(b"[1]", next_offset="0001"), denied, end) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": lambda: f"Bearer {next(tokens)}"})
        assert await messages(stream.follow(live="long-poll")) == [1, 2]

    assert [seen.headers["authorization"][7:] for seen in server.seen] == ["0", "1", "2", "3"]


async def test_credentials_refused_twice_are_raised(connect: Connect) -> None:
    async with FakeServer(otherwise=Answer(401, length=0)) as server:
        with pytest.raises(Unauthorized):
            await messages(connect(f"{server.url}/demo").follow())

    assert len(server.seen) == 2


async def test_a_token_that_cannot_be_fetched_is_waited_for(connect: Connect) -> None:
    attempts = count()

    def token() -> str:
        return "x" if next(attempts) else str(1 // 0)

    async with FakeServer(page(b"[1]", next_offset="0001", closed=True)) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": token})
        assert await messages(stream.follow()) == [1]


@both_ways
async def test_a_stream_that_does_not_exist_is_raised(live: Any, url: str, connect: Connect) -> None:
    with pytest.raises(StreamNotFound):
        await messages(connect(url).follow(live=live))


@both_ways
async def test_a_stream_deleted_while_it_is_followed_is_raised(live: Any, stream: DurableStream) -> None:
    async with stream.follow(live=live) as follower:
        await next_page(follower)
        await stream.delete()

        with pytest.raises(StreamNotFound):
            await next_page(follower)
    assert follower.status == "failed"


async def test_a_stream_created_anew_is_not_taken_for_the_old_one(stream: DurableStream) -> None:
    await append_all(stream, 0, 3)
    offset = (await stream.head()).next_offset
    await stream.delete()
    await stream.create()
    await stream.append("new")

    with pytest.raises((StreamGone, BadRequest)):
        await messages(stream.follow(offset))


async def test_a_tail_before_the_offset_is_raised_whatever_the_server_calls_it(connect: Connect) -> None:
    async with FakeServer(page(next_offset="0001")) as server:
        with pytest.raises(StreamGone, match="created anew"):
            await messages(connect(f"{server.url}/demo").follow(Offset("0005")))


async def test_an_offset_the_server_does_not_know_is_raised(stream: DurableStream) -> None:
    with pytest.raises(BadRequest):
        await messages(stream.follow(Offset("not-one-of-yours")))


async def test_following_starts_at_the_beginning_unless_told_otherwise(stream: DurableStream) -> None:
    assert stream.follow().offset == START
