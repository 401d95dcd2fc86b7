"""GET with `live=long-poll` (PROTOCOL §5.7), and its cursors (§10.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Failure, Reply, TooSlow, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, Stream
from durafold_server.conformance.timing import Stopwatch

LONG_POLL: Final = Topic("long-poll", "5.7", "Read: long-poll")

_FAR_FUTURE: Final = 10**9
_SHORT_TIMEOUT_S: Final = 0.25


def _cursor(reply: Reply) -> int:
    value = reply.value("Stream-Cursor")
    if not (value.isascii() and value.isdigit()):
        reply.fail("a Stream-Cursor of decimal digits", value)
    return int(value)


async def _waiting(server: Server) -> tuple[Stream, str]:
    """A stream with some data, and its tail."""
    stream = await server.create(body=b"before ")
    return stream, await stream.tail()


async def _before_a_timeout(server: Server, poll: Callable[[], Awaitable[Reply]]) -> Reply:
    """The answer to a long-poll, which has to come before another one times out that was sent first."""
    idle, tail = await _waiting(server)
    timed_out_s: list[float] = []
    replies: list[Reply] = []

    async def time_out() -> None:
        watch = Stopwatch()
        await idle.poll(tail)
        timed_out_s.append(watch.seconds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(time_out)
        await anyio.sleep(0.02)
        replies.append(await poll())
        tasks.cancel_scope.cancel()
    # A very short time-out cannot be told from an answer at once.
    if timed_out_s and timed_out_s[0] > _SHORT_TIMEOUT_S:
        came = f"one after a time-out of {timed_out_s[0]:.1f} s"
        raise TooSlow(Failure("an answer at once", came, str(replies[0])))
    return replies[0]


@LONG_POLL.must("5.7")
async def a_long_poll_needs_an_offset(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get(live="long-poll")).expect(400)


@LONG_POLL.must("5.7")
async def a_long_poll_of_an_unknown_stream_answers_404(server: Server) -> None:
    (await server.unused().poll("-1")).expect(404)


@LONG_POLL.must("5.7")
async def data_that_is_there_already_comes_at_once(server: Server) -> None:
    stream = await server.create(body=b"data")
    reply = await _before_a_timeout(server, lambda: stream.poll("-1"))
    reply.expect(200).expect_body(b"data").expect_up_to_date()
    expect_equal(reply.next_offset, await stream.tail(), "Stream-Next-Offset")


@LONG_POLL.must("5.7")
async def data_that_is_appended_while_waiting_comes(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = await stream.poll_while(tail, lambda: stream.append(b"news"))
    reply.expect(200).expect_body(b"news").expect_up_to_date().expect_open()
    expect_equal(reply.next_offset, await stream.tail(), "Stream-Next-Offset")


@LONG_POLL.must("5.7")
async def a_long_poll_with_data_has_the_streams_content_type(server: Server) -> None:
    stream = await server.create("text/csv", b"a,b\n")
    (await stream.poll("-1")).expect(200).expect_header("Content-Type", "text/csv")


@LONG_POLL.must("9.1.5")
async def a_long_poll_of_json_gives_an_array(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    tail = await stream.tail()
    reply = await stream.poll_while(tail, lambda: stream.append(b'[{"a":2},3]'))
    reply.expect(200).expect_json([{"a": 2}, 3])


@LONG_POLL.must("5.7")
async def binary_data_comes_unchanged(server: Server) -> None:
    stream = await server.create(BINARY)
    data = bytes(range(256))
    reply = await stream.poll_while(await stream.tail(), lambda: stream.append(data))
    reply.expect(200).expect_body(data)


@LONG_POLL.must("5.7")
async def a_timeout_answers_204_up_to_date_with_the_tail(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = (await stream.timed_out_poll(tail)).expect(204).expect_body(b"").expect_up_to_date().expect_open()
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")
    _cursor(reply)


@LONG_POLL.must("5.7")
async def a_long_poll_with_data_has_a_cursor(server: Server) -> None:
    stream = await server.create(body=b"data")
    _cursor((await stream.poll("-1")).expect(200))


@LONG_POLL.must("10.1")
async def a_cursor_that_is_sent_back_grows(server: Server) -> None:
    stream = await server.create(body=b"data")
    first = _cursor(await stream.poll("-1"))
    second = _cursor((await stream.poll("-1", cursor=str(first))).expect(200))
    expect_that(second > first, f"a cursor greater than {first}", second)
    third = _cursor((await stream.poll("-1", cursor=str(second))).expect(200))
    expect_that(third > second, f"a cursor greater than {second}", third)


@LONG_POLL.must("10.1")
async def a_cursor_from_the_future_grows_too(server: Server) -> None:
    stream = await server.create(body=b"data")
    came = _cursor((await stream.poll("-1", cursor=str(_FAR_FUTURE))).expect(200))
    expect_that(came > _FAR_FUTURE, f"a cursor greater than {_FAR_FUTURE}", came)


@LONG_POLL.must("10.1")
async def the_cursor_of_a_timeout_grows_too(server: Server) -> None:
    stream, tail = await _waiting(server)
    came = _cursor((await stream.timed_out_poll(tail, cursor=str(_FAR_FUTURE))).expect(204))
    expect_that(came > _FAR_FUTURE, f"a cursor greater than {_FAR_FUTURE}", came)


@LONG_POLL.must("10.1")
async def an_old_cursor_gets_the_current_one(server: Server) -> None:
    stream = await server.create(body=b"data")
    current = _cursor(await stream.poll("-1"))
    came = _cursor((await stream.poll("-1", cursor="1")).expect(200))
    expect_that(came >= current, f"a cursor of at least {current}", came)


@LONG_POLL.quality("10.1")
async def a_cursor_that_is_no_number_does_no_harm(server: Server) -> None:
    stream = await server.create(body=b"data")
    for cursor in ("abc", "-5", "1e9", "9" * 40, "²", ""):
        reply = (await stream.poll("-1", cursor=cursor)).expect(200, 400)
        if reply.status == 200:
            reply.expect_body(b"data")
            _cursor(reply)


# The end of the stream


@LONG_POLL.must("5.7")
async def the_tail_of_a_closed_stream_answers_204_at_once(server: Server) -> None:
    stream, tail = await _waiting(server)
    await stream.close()
    reply = await _before_a_timeout(server, lambda: stream.poll(tail))
    reply.expect(204).expect_closed().expect_up_to_date().expect_body(b"")
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")


@LONG_POLL.must("5.6, 5.7")
async def the_rest_of_a_closed_stream_comes_with_its_end(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    (await stream.poll("-1")).expect(200).expect_body(b"data").expect_closed()


@LONG_POLL.must("5.7")
async def a_waiting_reader_learns_of_a_close(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = await stream.poll_while(tail, stream.close)
    reply.expect(204).expect_closed().expect_up_to_date()
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")


@LONG_POLL.quality("5.7")
async def an_append_ends_the_wait_at_once(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = await _before_a_timeout(server, lambda: stream.poll_while(tail, lambda: stream.append(b"news")))
    reply.expect(200).expect_body(b"news")


@LONG_POLL.quality("5.7")
async def a_close_ends_the_wait_at_once(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = await _before_a_timeout(server, lambda: stream.poll_while(tail, stream.close))
    reply.expect(204).expect_closed()


@LONG_POLL.must("5.7")
async def a_waiting_reader_gets_the_last_append_before_the_end(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = await stream.poll_while(tail, lambda: stream.close(b"last"))
    reply.expect(200).expect_body(b"last")
    final = await stream.tail()
    expect_equal(reply.next_offset, final, "Stream-Next-Offset")
    (await stream.poll(final)).expect(204).expect_closed()


@LONG_POLL.must("5.7")
async def readers_that_race_a_last_append_never_miss_it(server: Server) -> None:
    for pause_s in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        await _race_last_append(server, pause_s)


async def _race_last_append(server: Server, pause_s: float) -> None:
    stream, tail = await _waiting(server)
    contents: list[bytes] = []

    async def read() -> None:
        offset, content = tail, b""
        while True:
            reply = (await stream.poll(offset)).expect(200, 204)
            offset, content = reply.next_offset, content + reply.body
            if reply.is_closed:
                contents.append(content)
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        await anyio.sleep(pause_s)
        await stream.close(b"last")
    expect_equal(contents, [b"last"] * 3, "what three readers got before the end")


# From now on


@LONG_POLL.must("8")
async def from_now_on_only_new_data_comes(server: Server) -> None:
    stream, _ = await _waiting(server)
    replies: list[Reply] = []

    async def listen() -> None:
        replies.append(await stream.poll_for_news("now"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        while (
            not replies
        ):  # a poll that timed out begins again at the tail, behind what was appended meanwhile
            await anyio.sleep(0.1)
            await stream.append(b"news ")
    replies[0].expect(200)
    body = replies[0].body
    expect_equal(body, b"news " * max(1, len(body) // 5), "what came")


@LONG_POLL.must("8")
async def from_now_a_timeout_names_the_tail(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = (await stream.timed_out_poll("now")).expect(204).expect_up_to_date()
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")


@LONG_POLL.must("8")
async def from_now_on_an_empty_stream_a_timeout_names_a_real_offset(server: Server) -> None:
    stream = await server.create()
    reply = (await stream.timed_out_poll("now")).expect(204).expect_up_to_date()
    expect_equal(reply.next_offset, await stream.tail(), "Stream-Next-Offset")


@LONG_POLL.must("8")
async def from_now_a_closed_stream_answers_204_at_once(server: Server) -> None:
    stream, tail = await _waiting(server)
    await stream.close()
    reply = await _before_a_timeout(server, lambda: stream.poll("now"))
    reply.expect(204).expect_closed().expect_up_to_date()
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")


@LONG_POLL.must("5.7")
async def from_now_an_unknown_stream_answers_404(server: Server) -> None:
    (await server.unused().poll("now")).expect(404)


# Many readers, many appends


@LONG_POLL.must("5.7")
async def all_waiting_readers_get_an_append(server: Server) -> None:
    stream, tail = await _waiting(server)
    replies: list[Reply] = []

    async def listen() -> None:
        replies.append(await stream.poll_for_news(tail))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(listen)
        await anyio.sleep(0.15)
        await stream.append(b"news")
    expect_equal([reply.body for reply in replies], [b"news"] * 12, "what twelve readers got")


@LONG_POLL.must("5.7")
async def following_a_writer_repeats_and_loses_nothing(server: Server) -> None:
    stream = await server.create()
    content = bytearray()

    async def follow() -> None:
        offset = "-1"
        while True:
            reply = (await stream.poll(offset)).expect(200, 204)
            content.extend(reply.body)
            offset = reply.next_offset
            if reply.is_closed:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for number in range(25):
            await stream.append(b"<%d>" % number)
            await anyio.sleep(0.002 * (number % 4))
        await stream.close()
    expect_equal(bytes(content), b"".join(b"<%d>" % number for number in range(25)), "all that was read")


@LONG_POLL.must("5.7")
async def an_append_to_another_stream_wakes_nobody(server: Server) -> None:
    stream, tail = await _waiting(server)
    other = await server.create()
    reply = await stream.poll_while(tail, lambda: _append_to_both(other, stream))
    reply.expect(200).expect_body(b"mine")


async def _append_to_both(other: Stream, stream: Stream) -> None:
    await other.append(b"not mine")
    await anyio.sleep(0.1)
    await stream.append(b"mine")


@LONG_POLL.should("10.1")
async def a_timeout_cannot_be_cached(server: Server) -> None:
    stream, tail = await _waiting(server)
    reply = (await stream.timed_out_poll(tail)).expect(204)
    directives = (reply.get("Cache-Control") or "").replace(" ", "").lower().split(",")
    stored = [d for d in directives if d.startswith(("max-age=", "s-maxage=")) and not d.endswith("=0")]
    expect_that("no-store" in directives or "no-cache" in directives or not stored, "no max-age", directives)


@LONG_POLL.quality("RFC 9110 §13.1.2")
async def a_matching_etag_does_not_end_the_wait(server: Server) -> None:
    stream, tail = await _waiting(server)
    etag = (await stream.get(tail)).get("ETag") or '"none"'
    replies: list[Reply] = []

    async def listen() -> None:
        reply = await stream.poll(tail, headers={"If-None-Match": etag})
        while reply.status == 204:
            reply = await stream.poll(tail, headers={"If-None-Match": etag})
        replies.append(reply)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.sleep(0.15)
        await stream.append(b"news")
    replies[0].expect(200).expect_body(b"news")
