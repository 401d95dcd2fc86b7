"""POST with data (PROTOCOL §5.2), except producers and closing, which have files of their own."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, Stream

APPEND: Final = Topic("append", "5.2", "Append")

_MIB: Final = 1024 * 1024


def _seq(value: str) -> dict[str, str]:
    return {"Stream-Seq": value}


@APPEND.must("5.2")
async def an_append_answers_204_with_the_new_tail(server: Server) -> None:
    stream = await server.create()
    before = await stream.tail()
    reply = (await stream.post(b"data")).expect(204).expect_body(b"")
    expect_that(reply.next_offset > before, f"a tail behind {before}", reply.next_offset)
    expect_equal(await stream.tail(), reply.next_offset, "the tail from HEAD")


@APPEND.must("5.2")
async def appended_data_is_read_in_the_order_of_the_appends(server: Server) -> None:
    stream = await server.create()
    for part in (b"one,", b"two,", b"three"):
        await stream.append(part)
    await stream.expect_content(b"one,two,three")


@APPEND.must("4")
async def an_acknowledged_append_can_be_read_at_once(server: Server) -> None:
    stream = await server.create()
    for number in range(10):
        tail = await stream.tail()
        await stream.append(b"%d" % number)
        (await stream.get(tail)).expect(200).expect_body(b"%d" % number)


@APPEND.must("5.2")
async def an_append_to_an_unknown_stream_answers_404_and_creates_nothing(server: Server) -> None:
    stream = server.unused()
    (await stream.post(b"data")).expect(404)
    (await stream.head()).expect(404)


@APPEND.must("5.2, 12.4")
async def an_append_of_another_content_type_is_a_conflict(server: Server) -> None:
    stream = await server.create(body=b"kept")
    (await stream.post(b"{}", content_type=JSON)).expect(409)
    await stream.expect_content(b"kept")


@APPEND.should("5.2, RFC 9110 §8.3.1")
async def the_content_type_of_an_append_is_compared_without_regard_to_case(server: Server) -> None:
    stream = await server.create("text/plain")
    (await stream.post(b"data", content_type="TEXT/Plain")).expect(204)


@APPEND.must("5.2")
async def an_append_with_the_same_content_type_and_parameters_is_taken(server: Server) -> None:
    stream = await server.create("text/plain; charset=utf-8")
    (await stream.post(b"data", content_type="text/plain; charset=utf-8")).expect(204)


@APPEND.must("5.2")
async def an_append_without_a_content_type_is_refused(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"data", content_type=None)).expect(400)
    await stream.expect_content(b"")


@APPEND.must("5.2")
async def an_empty_append_is_refused(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"")).expect(400)
    (await stream.post(b"", content_type="text/plain")).expect(400)


@APPEND.must("5.2")
async def an_empty_append_of_unknown_length_is_refused(server: Server) -> None:
    stream = await server.create()
    (await stream.post(chunks=(b"",))).expect(400)


@APPEND.should("5.2")
async def a_body_of_unknown_length_is_appended_whole(server: Server) -> None:
    stream = await server.create()
    (await stream.post(chunks=(b"in ", b"three ", b"chunks"))).expect(204)
    await stream.expect_content(b"in three chunks")


@APPEND.must("4")
async def all_byte_values_come_back_unchanged(server: Server) -> None:
    stream = await server.create(BINARY)
    data = bytes(range(256)) + bytes(reversed(range(256)))
    await stream.append(data)
    await stream.expect_content(data)


@APPEND.must("4")
async def bytes_of_text_come_back_unchanged(server: Server) -> None:
    text = "  spaces  \r\n\r\n\ttabs\r, \x0b\x0c\x1e, \u2028\u2029\u0085, \ufeff, é, 漢字, 🂡\n".encode()
    stream = await server.create("text/plain", text)
    await stream.append(text)
    await stream.expect_content(text * 2)


@APPEND.must("4")
async def a_character_split_over_two_appends_comes_back_whole(server: Server) -> None:
    stream = await server.create("text/plain")
    snowman = "☃".encode()
    await stream.append(b"a" + snowman[:1])
    await stream.append(snowman[1:] + b"b")
    await stream.expect_content(b"a" + snowman + b"b")


@APPEND.must("4")
async def a_mebibyte_comes_back_unchanged(server: Server) -> None:
    stream = await server.create(BINARY)
    data = bytes(number * 7 % 251 for number in range(4096)) * 256
    await stream.append(data)
    await stream.expect_content(data)


@APPEND.quality("5.2")
async def ten_mebibytes_are_taken_or_refused_as_too_large(server: Server) -> None:
    stream = await server.create(BINARY)
    reply = (await stream.post(b"0123456789abcdef" * (10 * _MIB // 16))).expect(200, 204, 413)
    expected_bytes = 0 if reply.status == 413 else 10 * _MIB
    expect_equal(len(await stream.read()), expected_bytes, "the length of the stream in bytes")


@APPEND.must("5.2")
async def an_open_stream_does_not_say_that_it_is_closed(server: Server) -> None:
    stream = await server.create()
    (await stream.append(b"data")).expect_open()


@APPEND.quality("11.1")
async def unknown_request_headers_are_ignored(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"data", headers={"Stream-Something-New": "1"})).expect(204)


@APPEND.must("4")
async def concurrent_appends_are_all_kept_and_none_is_torn(server: Server) -> None:
    stream = await server.create()
    records = [f"<{number:03d}:{'x' * (number * 37 % 400)}>".encode() for number in range(60)]
    async with anyio.create_task_group() as tasks:
        for record in records:
            tasks.start_soon(stream.append, record)
    content = await stream.read()
    came = [part + b">" for part in content.split(b">") if part]
    expect_equal(Counter(came), Counter(records), "the records")


@APPEND.must("4")
async def each_writer_finds_its_own_appends_in_its_order(server: Server) -> None:
    stream = await server.create()

    async def write(writer: int) -> None:
        for number in range(10):
            await stream.append(b"%d:%d " % (writer, number))

    async with anyio.create_task_group() as tasks:
        for writer in range(5):
            tasks.start_soon(write, writer)
    words = (await stream.read()).split()
    for writer in range(5):
        own = [word for word in words if word.startswith(b"%d:" % writer)]
        expect_equal(
            own, [b"%d:%d" % (writer, number) for number in range(10)], f"what writer {writer} wrote"
        )


@APPEND.must("8")
async def concurrent_appends_get_different_tails(server: Server) -> None:
    stream = await server.create()
    tails: list[str] = []

    async def write() -> None:
        tails.append((await stream.append(b"data")).next_offset)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(write)
    expect_equal(len(set(tails)), 20, "the number of different offsets")
    expect_equal(await stream.tail(), max(tails), "the tail")


@APPEND.must("4")
async def readers_during_writes_see_a_beginning_of_the_whole(server: Server) -> None:
    stream = await server.create()
    seen: list[bytes] = []

    async def read() -> None:
        seen.extend([await stream.read() for _ in range(10)])

    async def write() -> None:
        for number in range(20):
            await stream.append(b"<%d>" % number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)
        tasks.start_soon(write)
    whole = await stream.read()
    odd = [content for content in seen if not whole.startswith(content)]
    expect_that(not odd, "each read to be a beginning of the whole", odd)


# Stream-Seq


@APPEND.must("5.2")
async def stream_seq_must_grow(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("001"))).expect(204)
    (await stream.post(b"2", headers=_seq("002"))).expect(204)
    (await stream.post(b"x", headers=_seq("001"))).expect(409)
    await stream.expect_content(b"12")


@APPEND.must("5.2")
async def an_equal_stream_seq_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("a"))).expect(204)
    (await stream.post(b"x", headers=_seq("a"))).expect(409)
    await stream.expect_content(b"1")


@APPEND.must("5.2")
async def stream_seq_10_is_less_than_2(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("2"))).expect(204)
    (await stream.post(b"x", headers=_seq("10"))).expect(409)
    await stream.expect_content(b"1")


@APPEND.must("5.2")
async def stream_seq_10_is_more_than_09(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("09"))).expect(204)
    (await stream.post(b"2", headers=_seq("10"))).expect(204)


@APPEND.must("5.2")
async def stream_seq_regards_case(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("a"))).expect(204)
    (await stream.post(b"x", headers=_seq("B"))).expect(409)
    (await stream.post(b"2", headers=_seq("b"))).expect(204)


@APPEND.must("5.2")
async def a_longer_stream_seq_is_more_than_its_beginning(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("a"))).expect(204)
    (await stream.post(b"2", headers=_seq("a0"))).expect(204)
    (await stream.post(b"x", headers=_seq("a"))).expect(409)


@APPEND.must("5.2")
async def appends_without_stream_seq_do_not_reset_it(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq("5"))).expect(204)
    (await stream.post(b"2")).expect(204)
    (await stream.post(b"x", headers=_seq("4"))).expect(409)
    (await stream.post(b"3", headers=_seq("6"))).expect(204)
    await stream.expect_content(b"123")


@APPEND.must("5.2")
async def the_stream_seq_of_a_refused_append_is_not_remembered(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"x", headers=_seq("9"), content_type=JSON)).expect(409)
    (await stream.post(b"", headers=_seq("9"))).expect(400)
    (await stream.post(b"1", headers=_seq("1"))).expect(204)


@APPEND.must("5.2")
async def of_concurrent_appends_with_one_stream_seq_one_is_taken(server: Server) -> None:
    stream = await server.create()
    replies: list[Reply] = []

    async def write(number: int) -> None:
        replies.append(await stream.post(b"<%d>" % number, headers=_seq("same")))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(write, number)
    expect_equal(sorted(reply.status for reply in replies), [204] + [409] * 7, "the statuses")
    expect_equal((await stream.read()).count(b"<"), 1, "the number of records")


@APPEND.must("5.2")
async def concurrent_writers_with_stream_seq_keep_what_was_acknowledged(server: Server) -> None:
    stream = await server.create()
    taken: list[bytes] = []

    async def write(number: int) -> None:
        record = b"%04d" % number
        reply = (await stream.post(record, headers=_seq(record.decode()))).expect(204, 409)
        if reply.status == 204:
            taken.append(record)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(write, number)
    await stream.expect_content(b"".join(sorted(taken)))


# Precedence


@APPEND.should("5.2")
async def closed_takes_precedence_over_another_content_type(server: Server) -> None:
    stream = await server.create(headers=CLOSED)
    (await stream.post(b"{}", content_type=JSON)).expect(409).expect_closed()


@APPEND.should("5.2")
async def closed_takes_precedence_over_a_lower_stream_seq(server: Server) -> None:
    stream = await _closed_at_seq(server, "5")
    (await stream.post(b"x", headers=_seq("4"))).expect(409).expect_closed()


@APPEND.quality("5.2")
async def an_unknown_stream_takes_precedence_over_what_is_wrong_with_the_body(server: Server) -> None:
    stream = server.unused(content_type=JSON)
    (await stream.post(b"{broken")).expect(404)


async def _closed_at_seq(server: Server, seq: str) -> Stream:
    stream = await server.create()
    (await stream.post(b"1", headers=_seq(seq))).expect(204)
    await stream.close()
    return stream
