"""Closing a stream (PROTOCOL §5.3, §4.1), alone and together with a last append."""

from __future__ import annotations

from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import CLOSED, JSON, Server

CLOSE: Final = Topic("close", "5.3", "Close a stream")


@CLOSE.must("5.3")
async def a_close_answers_204_with_the_unchanged_tail(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    reply = (await stream.post(headers=CLOSED)).expect(204).expect_closed().expect_body(b"")
    expect_equal(reply.next_offset, tail, "Stream-Next-Offset")


@CLOSE.should("5.2")
async def a_second_close_answers_204_too(server: Server) -> None:
    stream = await server.create(body=b"data")
    first = (await stream.post(headers=CLOSED)).expect(204)
    second = (await stream.post(headers=CLOSED)).expect(204).expect_closed()
    expect_equal(second.next_offset, first.next_offset, "Stream-Next-Offset")


@CLOSE.must("5.2")
async def the_content_type_of_a_close_does_not_matter(server: Server) -> None:
    stream = await server.create("text/plain")
    (await stream.post(headers=CLOSED, content_type=JSON)).expect(204).expect_closed()


@CLOSE.must("5.2")
async def a_json_stream_is_closed_without_a_body(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    (await stream.post(headers=CLOSED, content_type=JSON)).expect(204).expect_closed()
    await stream.expect_messages([1])


@CLOSE.must("5.3")
async def closing_an_unknown_stream_answers_404(server: Server) -> None:
    stream = server.unused()
    (await stream.post(headers=CLOSED)).expect(404)
    (await stream.head()).expect(404)


@CLOSE.must("5.2")
async def a_last_append_and_a_close_are_one_step(server: Server) -> None:
    stream = await server.create(body=b"first ")
    reply = (await stream.post(b"last", headers=CLOSED)).expect(204).expect_closed()
    page = (await stream.get()).expect(200).expect_body(b"first last").expect_closed()
    expect_equal(page.next_offset, reply.next_offset, "Stream-Next-Offset")


@CLOSE.must("5.2")
async def an_append_to_a_closed_stream_is_a_conflict_with_its_final_offset(server: Server) -> None:
    stream = await server.create(body=b"all")
    final = (await stream.close()).next_offset
    reply = (await stream.post(b"more")).expect(409).expect_closed()
    expect_equal(reply.next_offset, final, "Stream-Next-Offset")
    await stream.expect_content(b"all")


@CLOSE.must("5.2")
async def an_append_and_close_of_a_closed_stream_is_a_conflict(server: Server) -> None:
    stream = await server.create(body=b"all")
    final = (await stream.close()).next_offset
    reply = (await stream.post(b"more", headers=CLOSED)).expect(409).expect_closed()
    expect_equal(reply.next_offset, final, "Stream-Next-Offset")
    await stream.expect_content(b"all")


@CLOSE.must("5.2")
async def a_repeated_append_and_close_without_a_producer_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"end", headers=CLOSED)).expect(204)
    (await stream.post(b"end", headers=CLOSED)).expect(409).expect_closed()
    await stream.expect_content(b"end")


@CLOSE.must("4.1")
async def stream_closed_is_compared_without_regard_to_case_by_a_close(server: Server) -> None:
    stream = await server.create()
    (await stream.post(headers={"stream-closed": "True"})).expect(204).expect_closed()


@CLOSE.must("4.1")
async def any_other_value_of_stream_closed_does_not_close(server: Server) -> None:
    stream = await server.create()
    for value in ("false", "yes", "1", "", "truethy"):
        (await stream.post(b"+", headers={"Stream-Closed": value})).expect(204).expect_open()
    (await stream.head()).expect_open()
    await stream.expect_content(b"+++++")


@CLOSE.must("4.1, 5.2")
async def an_empty_append_with_another_value_of_stream_closed_is_refused(server: Server) -> None:
    stream = await server.create()
    (await stream.post(headers={"Stream-Closed": "false"})).expect(400)
    (await stream.head()).expect_open()


@CLOSE.must("4.1")
async def all_data_of_a_closed_stream_can_be_read(server: Server) -> None:
    stream = await server.create(body=b"one ")
    middle = (await stream.append(b"two ")).next_offset
    await stream.close(b"three")
    await stream.expect_content(b"one two three")
    (await stream.get(middle)).expect(200).expect_body(b"three").expect_closed()


@CLOSE.must("4.1")
async def a_closed_stream_cannot_be_opened_again(server: Server) -> None:
    stream = await server.create(headers=CLOSED)
    (await stream.put()).expect(409)
    (await stream.post(b"x")).expect(409).expect_closed()
    (await stream.post(b"x", headers={"Stream-Closed": "false"})).expect(409).expect_closed()
    (await stream.head()).expect_closed()


@CLOSE.must("5.2")
async def a_closing_append_of_another_content_type_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"{}", headers=CLOSED, content_type=JSON)).expect(409).expect_open()
    (await stream.head()).expect_open()


@CLOSE.must("5.2")
async def a_closing_append_with_a_lower_stream_seq_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create()
    await stream.append(b"1", {"Stream-Seq": "5"})
    (await stream.post(b"x", headers={**CLOSED, "Stream-Seq": "4"})).expect(409)
    (await stream.head()).expect_open()
    await stream.expect_content(b"1")


@CLOSE.must("9.1.4")
async def a_closing_append_of_invalid_json_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create(JSON)
    (await stream.post(b"{broken", headers=CLOSED)).expect(400)
    (await stream.head()).expect_open()


@CLOSE.must("9.1.3")
async def a_closing_append_of_an_empty_array_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create(JSON)
    (await stream.post(b"[]", headers=CLOSED)).expect(400)
    (await stream.head()).expect_open()


@CLOSE.must("5.2")
async def a_closing_append_without_a_content_type_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"data", headers=CLOSED, content_type=None)).expect(400)
    (await stream.head()).expect_open()


@CLOSE.must("4.1")
async def concurrent_closes_all_succeed(server: Server) -> None:
    stream = await server.create(body=b"data")
    replies: list[Reply] = []

    async def close() -> None:
        replies.append(await stream.close())

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(close)
    expect_equal(len({reply.next_offset for reply in replies}), 1, "the number of final offsets")


@CLOSE.must("5.2")
async def of_concurrent_closing_appends_exactly_one_is_kept(server: Server) -> None:
    stream = await server.create()
    replies: list[Reply] = []

    async def close(number: int) -> None:
        replies.append(await stream.post(b"<%d>" % number, headers=CLOSED))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(close, number)
    expect_equal(sorted(reply.status for reply in replies), [204] + [409] * 7, "the statuses")
    expect_equal((await stream.read()).count(b"<"), 1, "the number of records")


@CLOSE.must("4.1")
async def nothing_is_appended_after_a_close_that_races_appends(server: Server) -> None:
    stream = await server.create()
    taken: list[bytes] = []
    final: list[str] = []

    async def write(number: int) -> None:
        for part in range(6):
            record = b"<%d:%d>" % (number, part)
            if (await stream.post(record)).expect(204, 409).status == 204:
                taken.append(record)

    async def close() -> None:
        await anyio.sleep(0.01)
        final.append((await stream.close()).next_offset)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(write, number)
        tasks.start_soon(close)
    page = (await stream.pages())[-1].expect_closed()
    expect_equal(page.next_offset, final[0], "the final offset")
    records = (await stream.read()).replace(b"><", b"> <").split()
    expect_equal(sorted(records), sorted(taken), "the records")


@CLOSE.must("5.2")
async def the_close_of_one_stream_leaves_others_open(server: Server) -> None:
    one, other = await server.create(), await server.create()
    await one.close()
    (await other.append(b"data")).expect_open()
    expect_that((await other.head()).get("Stream-Closed") is None, "an open stream", "Stream-Closed")
