"""GET with `live=sse` (PROTOCOL §5.8)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.events import (
    Batch,
    bytes_of,
    decode_base64,
    expect_text,
    messages_of,
    parse_control,
    text_of,
)
from durafold_server.conformance.exchange import Failure, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, EventReader, Server, Stream

SSE: Final = Topic("sse", "5.8", "Read: SSE")

_FAR_FUTURE: Final = 10**9


async def _to_tail(stream: Stream, offset: str = "-1") -> list[Batch]:
    async with stream.events(offset) as events:
        return await events.to_tail()


async def _to_end(stream: Stream, offset: str = "-1") -> list[Batch]:
    """Everything to the end of a closed stream, after which the connection has to end."""
    async with stream.events(offset) as events:
        batches = await _until_closed(events)
        await events.expect_end()
        return batches


async def _until_closed(events: EventReader) -> list[Batch]:
    batches = [await events.batch()]
    while not batches[-1].control.closed:
        batches.append(await events.batch())
    return batches


# Headers


@SSE.must("5.8")
async def the_content_type_is_text_event_stream(server: Server) -> None:
    stream = await server.create(body=b"data")
    content_type = (await stream.sse("-1")).expect(200).value("Content-Type")
    expect_equal(content_type.partition(";")[0].strip().lower(), "text/event-stream", "Content-Type")


@SSE.quality("5.8")
async def an_event_stream_has_no_length_and_is_not_cached(server: Server) -> None:
    stream = await server.create(body=b"data")
    reply = (await stream.sse("-1")).expect(200).expect_no_header("Content-Length")
    directives = reply.value("Cache-Control").replace(" ", "").lower().split(",")
    expect_that({"no-cache", "no-store"} & set(directives), "no-cache or no-store", directives)


@SSE.must("5.8")
async def sse_needs_an_offset(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get(live="sse")).expect(400)


@SSE.must("5.8")
async def sse_of_an_unknown_stream_answers_404(server: Server) -> None:
    (await server.unused().sse("-1")).expect(404)
    (await server.unused().sse("now")).expect(404)


@SSE.must("5.8")
async def text_is_not_announced_as_base64(server: Server) -> None:
    for content_type in ("text/plain", "text/html; charset=utf-8", "text/csv", JSON):
        stream = await server.create(content_type)
        (await stream.sse("-1")).expect(200).expect_no_header("Stream-SSE-Data-Encoding")


@SSE.must("5.8")
async def anything_else_is_announced_as_base64(server: Server) -> None:
    types = (
        BINARY,
        "image/png",
        "application/x-protobuf",
        "application/ndjson",
        "application/xml",
        "audio/mpeg",
    )
    for content_type in types:
        stream = await server.create(content_type)
        (await stream.sse("-1")).expect(200).expect_header("Stream-SSE-Data-Encoding", "base64")


# Control events


@SSE.must("5.8")
async def data_that_is_there_already_comes_with_the_tail(server: Server) -> None:
    stream = await server.create(body=b"one ")
    await stream.append(b"two")
    batches = await _to_tail(stream)
    expect_text(batches, "one two")
    expect_equal(batches[-1].control.next_offset, await stream.tail(), "streamNextOffset")


@SSE.must("5.8")
async def data_that_is_appended_later_comes(server: Server) -> None:
    stream = await server.create(body=b"before")
    async with stream.events() as events:
        await events.to_tail()
        tail = (await stream.append(b"after")).next_offset
        batches = await events.news()
    expect_text(batches, "after")
    expect_equal(batches[-1].control.next_offset, tail, "streamNextOffset")


@SSE.must("5.8")
async def every_data_event_is_followed_by_a_control_event(server: Server) -> None:
    stream = await server.create(body=b"one ")
    await stream.append(b"two ")
    await stream.append(b"three")
    await _expect_controls(stream)


@SSE.must("5.8")
async def every_data_event_of_json_is_followed_by_a_control_event(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    await stream.append(b"[2,3]")
    await stream.append(b"[4]")
    await _expect_controls(stream)


@SSE.must("5.8")
async def every_data_event_of_binary_is_followed_by_a_control_event(server: Server) -> None:
    stream = await server.create(BINARY, b"\x00")
    await stream.append(b"\x01\x02")
    await stream.append(b"\x03")
    await _expect_controls(stream)


async def _expect_controls(stream: Stream) -> None:
    await stream.close()
    kinds: list[str] = []
    async with stream.events() as events:
        while (event := await events.event()) is not None:
            kinds.append(event.kind)
    alone = [at for at, kind in enumerate(kinds) if kind == "data" and kinds[at + 1 : at + 2] != ["control"]]
    expect_that(kinds and not alone, "a control event after each data event", " ".join(kinds))


@SSE.must("5.8")
async def an_empty_stream_begins_with_a_control_event_at_its_tail(server: Server) -> None:
    stream = await server.create()
    async with stream.events() as events:
        control = await events.control()
    expect_equal(control.next_offset, await stream.tail(), "streamNextOffset")
    expect_that(control.up_to_date, "upToDate: true", control.fields)
    expect_that(control.next_offset not in ("-1", "now"), "a real offset", control.next_offset)


@SSE.must("5.8")
async def a_control_event_of_an_open_stream_has_a_cursor(server: Server) -> None:
    stream = await server.create(body=b"data")
    for batch in await _to_tail(stream):
        expect_that(batch.control.cursor >= 0, "a cursor", batch.control.fields)
        expect_that(not batch.control.closed, "no streamClosed", batch.control.fields)


@SSE.must("5.8")
async def the_last_control_event_is_up_to_date(server: Server) -> None:
    stream = await server.create(body=b"data")
    async with stream.events() as events:
        batches = await events.to_tail()
        expect_that(
            batches[-1].control.fields.get("upToDate") is True, "upToDate: true", batches[-1].control.fields
        )
        await stream.append(b"more")
        batches = await events.news()
    expect_that(
        batches[-1].control.fields.get("upToDate") is True, "upToDate: true", batches[-1].control.fields
    )


@SSE.quality("5.8")
async def only_the_last_control_event_of_a_large_stream_is_up_to_date(server: Server) -> None:
    stream = await server.create(body=b"x" * 700_000)
    for _ in range(3):
        await stream.append(b"x" * 700_000)
    batches = await _to_tail(stream)
    expect_equal(len(text_of(batches)), 2_800_000, "the number of characters up to the first upToDate")


@SSE.must("10.1")
async def a_cursor_that_is_sent_back_grows_over_sse(server: Server) -> None:
    stream = await server.create(body=b"data")
    async with stream.events() as events:
        first = (await events.batch()).control.cursor
    async with stream.events(cursor=str(first)) as events:
        second = (await events.batch()).control.cursor
    expect_that(second > first, f"a cursor greater than {first}", second)


@SSE.must("10.1")
async def cursors_of_a_connection_never_go_back(server: Server) -> None:
    stream = await server.create(body=b"data")
    cursors: list[int] = []
    async with stream.events(cursor=str(_FAR_FUTURE)) as events:
        for number in range(6):
            cursors += [batch.control.cursor for batch in await events.to_tail()]
            await stream.append(b"%d" % number)
    expect_that(cursors[0] > _FAR_FUTURE, f"a cursor greater than {_FAR_FUTURE}", cursors[0])
    expect_equal(cursors, sorted(cursors), "the cursors")


@SSE.must("8")
async def offsets_of_control_events_grow(server: Server) -> None:
    stream = await server.create()
    offsets: list[str] = []
    async with stream.events() as events:
        offsets += [batch.control.next_offset for batch in await events.to_tail()]
        for number in range(12):
            await stream.append(b"x" * number + b".")
            offsets += [batch.control.next_offset for batch in await events.news() if batch.data]
    expect_equal(offsets, sorted(set(offsets)), "the offsets")


# Resuming


@SSE.must("5.8")
async def a_connection_resumes_behind_the_last_control_event(server: Server) -> None:
    stream = await server.create(body=b"one ")
    offset = (await _to_tail(stream))[-1].control.next_offset
    await stream.append(b"two ")
    expect_text(await _to_tail(stream, offset), "two ")
    (await stream.get(offset)).expect(200).expect_body(b"two ")


@SSE.must("5.8")
async def reconnecting_after_every_event_repeats_and_loses_nothing(server: Server) -> None:
    stream = await server.create()
    content: list[str] = []

    async def read() -> None:
        offset, closed = "-1", False
        while not closed:
            async with stream.events(offset) as events:
                batch = await events.batch()
            content.extend(batch.data)
            offset, closed = batch.control.next_offset, batch.control.closed

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for number in range(20):
            await stream.append(b"<%d>" % number)
            await anyio.sleep(0.002 * (number % 3))
        await stream.close()
    expect_equal("".join(content), "".join(f"<{number}>" for number in range(20)), "all that was read")


@SSE.must("5.8")
async def one_connection_follows_a_writer_in_order(server: Server) -> None:
    stream = await server.create(JSON)
    messages: list[int] = []

    async def read() -> None:
        async with stream.events() as events:
            messages.extend(messages_of(await _until_closed(events)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for number in range(40):
            await stream.append(b"[%d]" % number)
        await stream.close()
    expect_equal(messages, list(range(40)), "all messages that were read")


@SSE.must("5.8")
async def all_connections_get_an_append(server: Server) -> None:
    stream = await server.create(body=b"before ")
    tail = await stream.tail()
    texts: list[str] = []

    async def read() -> None:
        async with stream.events(tail) as events:
            texts.append(text_of(await events.news()))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(read)
        await anyio.sleep(0.15)
        await stream.append(b"news")
    expect_equal(texts, ["news"] * 12, "what twelve readers got")


# From now on


@SSE.must("8")
async def from_now_the_first_event_names_the_tail(server: Server) -> None:
    stream = await server.create(body=b"before")
    async with stream.events("now") as events:
        control = await events.control()
    expect_equal(control.next_offset, await stream.tail(), "streamNextOffset")
    expect_that(control.up_to_date, "upToDate: true", control.fields)


@SSE.must("8")
async def from_now_only_new_data_comes_over_sse(server: Server) -> None:
    stream = await server.create(body=b"before")
    async with stream.events("now") as events:
        await events.control()
        await stream.append(b"after")
        expect_text(await events.news(), "after")


@SSE.must("8")
async def from_now_a_closed_stream_is_one_event_and_the_end(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    async with stream.events("now") as events:
        control = await events.control()
        await events.expect_end()
    expect_that(control.closed, "streamClosed: true", control.fields)
    expect_equal(control.next_offset, await stream.tail(), "streamNextOffset")


# JSON


@SSE.must("5.8, 9.1")
async def data_events_of_json_are_arrays(server: Server) -> None:
    stream = await server.create(JSON, b'[{"a":1},[2]]')
    async with stream.events() as events:
        batches = await events.to_tail()
        await stream.append(b'"three"')
        batches += await events.news()
    expect_equal(messages_of(batches), [{"a": 1}, [2], "three"], "the messages")


@SSE.must("5.8")
async def line_breaks_inside_json_do_no_harm(server: Server) -> None:
    stream = await server.create(JSON)
    await stream.append(b'{\n  "pretty":\r\n [1,\r2]\n}\n')
    await stream.append(b'{"text": "line\\nbreak\\r\\n\\n", "event: control": "\\u2028"}')
    await stream.close()
    expected = [{"pretty": [1, 2]}, {"text": "line\nbreak\r\n\n", "event: control": "\u2028"}]
    expect_equal(messages_of(await _to_end(stream)), expected, "the messages")


# Text


async def _expect_text_to_arrive(server: Server, *texts: str) -> None:
    """Each text is appended by itself; all come, whether they were there before or not."""
    stream = await server.create("text/plain")
    async with stream.events() as live:
        await live.to_tail()
        for text in texts:
            await stream.append(text.encode())
        await stream.close()
        expect_text(await _until_closed(live), "".join(texts))
        await live.expect_end()
    expect_text(await _to_end(stream), "".join(texts))


@SSE.must("5.8")
async def text_of_many_lines_arrives(server: Server) -> None:
    await _expect_text_to_arrive(server, "line1\nline2\n\nline4", "\nline5\n")


@SSE.must("5.8")
async def line_ends_of_all_kinds_stay_line_ends(server: Server) -> None:
    await _expect_text_to_arrive(server, "a\r\nb\rc\nd\n\re")


@SSE.must("5.8")
async def leading_spaces_of_lines_arrive(server: Server) -> None:
    await _expect_text_to_arrive(server, " one", "  two\n three\n    four", " ")


@SSE.must("5.8")
async def text_that_is_only_line_breaks_arrives(server: Server) -> None:
    await _expect_text_to_arrive(server, "\n", "\n\n\n")


@SSE.must("5.8")
async def text_that_begins_or_ends_with_line_breaks_arrives(server: Server) -> None:
    await _expect_text_to_arrive(server, "\n\nmiddle\n\n", "next\n")


@SSE.must("5.8")
async def unicode_text_arrives(server: Server) -> None:
    await _expect_text_to_arrive(server, "é ж 漢 🂡 ", "e\u0301")


@SSE.quality("5.8")
async def a_byte_order_mark_arrives(server: Server) -> None:
    await _expect_text_to_arrive(server, "\ufeff", "\ufefftext")


@SSE.must("5.8")
async def only_cr_and_lf_end_lines(server: Server) -> None:
    await _expect_text_to_arrive(server, "a\x0bb\x0cc\x1cd\x1ee\x85f\u2028g\u2029h", "\x00\x01\x7f")


@SSE.must("5.8")
async def text_that_looks_like_fields_arrives(server: Server) -> None:
    await _expect_text_to_arrive(
        server, "event: control", "data: x", ": comment", "id: 7", "retry: 1", "data"
    )


async def _expect_no_injection(server: Server, newline: str) -> None:
    forged = f'{newline}event: control{newline}data: {{"streamNextOffset":"forged","streamClosed":true}}'
    text = f"safe{forged}{newline}{newline}event: data{newline}data: forged{newline}{newline}"
    stream = await server.create("text/plain", text.encode())
    await stream.close()
    batches = await _to_end(stream)
    expect_text(batches, text)
    expect_equal(batches[-1].control.next_offset, await stream.tail(), "streamNextOffset")


@SSE.must("12.3")
async def text_cannot_forge_events_with_crlf(server: Server) -> None:
    await _expect_no_injection(server, "\r\n")


@SSE.must("12.3")
async def text_cannot_forge_events_with_lf(server: Server) -> None:
    await _expect_no_injection(server, "\n")


@SSE.must("12.3")
async def text_cannot_forge_events_with_cr(server: Server) -> None:
    await _expect_no_injection(server, "\r")


@SSE.must("12.3")
async def line_breaks_split_over_two_appends_forge_nothing(server: Server) -> None:
    await _expect_text_to_arrive(server, "a\r", "b", "\nevent: control\n", "data: {}\n", "\n")


@SSE.quality("5.8")
async def a_character_split_over_two_appends_arrives_whole(server: Server) -> None:
    stream = await server.create("text/plain", b"a")
    async with stream.events() as events:
        batches = await events.to_tail()
        card = "🂡".encode()
        await stream.append(card[:2])
        await anyio.sleep(0.05)
        await stream.append(card[2:] + b"z")
        while not text_of(batches).endswith("z"):
            batches.append(await events.batch())
    expect_text(batches, "a🂡z")


@SSE.quality("5.8")
async def a_connection_may_be_resumed_inside_a_split_character(server: Server) -> None:
    stream = await server.create("text/plain", b"a")
    card = "🂡".encode()
    await stream.append(card[:2])
    async with stream.events() as events:
        batches = [await events.batch()]
    await stream.append(card[2:] + b"z")
    await stream.close()
    batches += await _to_end(stream, batches[-1].control.next_offset)
    expect_text(batches, "a🂡z")


@SSE.quality("5.8")
async def one_invalid_byte_does_not_keep_the_rest_from_arriving(server: Server) -> None:
    stream = await server.create("text/plain")
    reply = (await stream.post(b"before\xffafter")).expect(204, 400)
    await stream.append(b" and more")
    await stream.close()
    text = text_of(await _to_end(stream))
    expect_that(text.endswith(" and more"), "the text that follows", text)
    expect_that(
        reply.status == 400 or ("before" in text and "after" in text), "the text around the byte", text
    )


# Binary


async def _expect_bytes_to_arrive(server: Server, *parts: bytes, content_type: str = BINARY) -> None:
    stream = await server.create(content_type)
    async with stream.events() as live:
        await live.to_tail()
        for part in parts:
            await stream.append(part)
        await stream.close()
        expect_equal(bytes_of(await _until_closed(live)), b"".join(parts), "the bytes that arrived live")
    expect_equal(bytes_of(await _to_end(stream)), b"".join(parts), "the bytes that arrived later")


@SSE.must("5.8")
async def all_byte_values_arrive_as_base64(server: Server) -> None:
    await _expect_bytes_to_arrive(server, bytes(range(256)))


@SSE.must("5.8")
async def bytes_of_every_length_are_padded(server: Server) -> None:
    await _expect_bytes_to_arrive(server, b"\xff", b"\xfb\xff", b"\x00\x10\x83", b"\xff\xff\xff\xff")


@SSE.must("5.8")
async def large_binary_data_arrives(server: Server) -> None:
    await _expect_bytes_to_arrive(server, bytes(range(256)) * 1024, b"\r\n\x00\xfe" * 1000)


@SSE.must("5.8")
async def protobuf_arrives_as_base64(server: Server) -> None:
    await _expect_bytes_to_arrive(server, b"\x08\x96\x01", content_type="application/x-protobuf")


@SSE.must("5.8")
async def each_binary_data_event_is_base64_by_itself(server: Server) -> None:
    stream = await server.create(BINARY, b"a")
    await stream.append(b"bc")
    await stream.close()
    for batch in await _to_end(stream):
        for data in batch.data:
            expect_equal(
                base64.b64encode(decode_base64(data)).decode(), data.replace("\n", ""), "the base64 text"
            )


@SSE.must("5.8")
async def control_events_of_binary_are_not_encoded(server: Server) -> None:
    stream = await server.create(BINARY, b"data")
    async with stream.events() as events:
        kinds = [await events.event(), await events.event()]
    control = next((event for event in kinds if event is not None and event.kind == "control"), None)
    if control is None:
        raise Failure("a control event", str(kinds))
    expect_that(parse_control(control).next_offset, "streamNextOffset", control.data)


@SSE.must("5.8")
async def an_empty_binary_stream_begins_with_its_tail(server: Server) -> None:
    stream = await server.create(BINARY)
    async with stream.events() as events:
        batch = await events.batch()
    expect_equal(bytes_of([batch]), b"", "the bytes")
    expect_that(batch.control.up_to_date, "upToDate: true", batch.control.fields)


@SSE.must("8")
async def from_now_only_new_bytes_come(server: Server) -> None:
    stream = await server.create(BINARY, b"\x00old")
    async with stream.events("now") as events:
        await events.control()
        await stream.append(b"\xffnew")
        expect_equal(bytes_of(await events.news()), b"\xffnew", "the bytes")


# The end of the stream


@SSE.must("5.8")
async def a_closed_stream_ends_with_closed_and_the_connection(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    batches = await _to_end(stream)
    expect_text(batches, "data")
    _expect_closed_only_at_the_end(batches)


def _expect_closed_only_at_the_end(batches: Sequence[Batch]) -> None:
    closed = [batch.control.closed for batch in batches]
    expect_equal(closed, [False] * (len(batches) - 1) + [True], "streamClosed of the control events")


@SSE.must("5.8")
async def the_tail_of_a_closed_stream_is_one_event_and_the_end(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = (await stream.close()).next_offset
    async with stream.events(tail) as events:
        control = await events.control()
        await events.expect_end()
    expect_that(control.closed, "streamClosed: true", control.fields)
    expect_equal(control.next_offset, tail, "streamNextOffset")


@SSE.should("5.8")
async def the_tail_of_a_closed_stream_is_up_to_date_too(server: Server) -> None:
    # PROTOCOL says MUST here, and two paragraphs before that it may be left out.
    stream = await server.create(body=b"data")
    tail = (await stream.close()).next_offset
    async with stream.events(tail) as events:
        control = await events.control()
    expect_that(control.fields.get("upToDate") is True, "upToDate: true", control.fields)


@SSE.must("5.8")
async def a_closed_empty_stream_is_one_event_and_the_end(server: Server) -> None:
    stream = await server.create(headers=CLOSED)
    async with stream.events() as events:
        control = await events.control()
        await events.expect_end()
    expect_that(control.closed, "streamClosed: true", control.fields)


@SSE.quality("5.8")
async def the_end_of_a_stream_has_no_cursor(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    fields = (await _to_end(stream))[-1].control.fields
    expect_that("streamCursor" not in fields, "no streamCursor", fields)


@SSE.must("5.8")
async def a_waiting_connection_learns_of_a_close_and_ends(server: Server) -> None:
    stream = await server.create(body=b"data")
    async with stream.events() as events:
        await events.to_tail()
        await stream.close()
        batches = await events.news()
        await events.expect_end()
    expect_text(batches, "")
    _expect_closed_only_at_the_end(batches)


@SSE.must("5.8")
async def a_waiting_connection_gets_the_last_append_before_the_end(server: Server) -> None:
    stream = await server.create(body=b"data")
    async with stream.events() as events:
        await events.to_tail()
        await stream.close(b"last")
        batches = await _until_closed(events)
        await events.expect_end()
    expect_text(batches, "last")


@SSE.must("5.8")
async def connections_that_race_a_last_append_never_miss_it(server: Server) -> None:
    for pause_s in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        await _race_last_append(server, pause_s)


async def _race_last_append(server: Server, pause_s: float) -> None:
    stream = await server.create(body=b"first ")
    tail = await stream.tail()
    texts: list[str] = []

    async def read() -> None:
        texts.append(text_of(await _to_end(stream, tail)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        await anyio.sleep(pause_s)
        await stream.close(b"last")
    expect_equal(texts, ["last"] * 3, "what three readers got before the end")


@SSE.must("5.8")
async def the_last_json_message_comes_before_the_end(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    async with stream.events() as events:
        batches = await events.to_tail()
        await stream.close(b"[2]")
        batches += await _until_closed(events)
    expect_equal(messages_of(batches), [1, 2], "the messages")
