"""GET without `live` (PROTOCOL §5.6)."""

from __future__ import annotations

from typing import Final

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, Skipped, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, JSON, Server, Stream

CATCH_UP: Final = Topic("catch-up", "5.6", "Read: catch-up")

_LARGE_PART: Final = bytes(range(256)) * 1024
_LARGE_PARTS: Final = 9


async def _large(server: Server) -> Stream:
    """A stream of 2.25 MiB, which most servers give in several pages."""
    stream = await server.create(BINARY)
    for _ in range(_LARGE_PARTS):
        await stream.append(_LARGE_PART)
    return stream


async def _several_pages(stream: Stream) -> list[Reply]:
    pages = await stream.pages()
    if len(pages) == 1:
        raise Skipped(f"the server gives {len(pages[0].body)} bytes in one page")
    return pages


@CATCH_UP.must("5.6")
async def an_empty_stream_is_read_as_nothing_up_to_date(server: Server) -> None:
    stream = await server.create()
    page = (await stream.get()).expect(200).expect_body(b"").expect_up_to_date().expect_open()
    expect_equal(page.next_offset, await stream.tail(), "Stream-Next-Offset")


@CATCH_UP.must("5.6")
async def the_whole_stream_is_read_from_its_start(server: Server) -> None:
    stream = await server.create(body=b"one ")
    tail = (await stream.append(b"two")).next_offset
    page = (await stream.get()).expect(200).expect_body(b"one two").expect_up_to_date()
    expect_equal(page.next_offset, tail, "Stream-Next-Offset")


@CATCH_UP.must("5.6")
async def reading_an_unknown_stream_answers_404(server: Server) -> None:
    stream = server.unused()
    (await stream.get()).expect(404)
    (await stream.get("-1")).expect(404)


@CATCH_UP.must("5.6")
async def the_offset_minus_1_reads_the_same_as_none(server: Server) -> None:
    stream = await server.create(body=b"data")
    none, start = (await stream.get()).expect(200), (await stream.get("-1")).expect(200)
    start.expect_body(none.body)
    expect_equal(start.next_offset, none.next_offset, "Stream-Next-Offset")


@CATCH_UP.must("5.6")
async def a_read_from_an_offset_gives_what_follows_it(server: Server) -> None:
    stream = await server.create()
    parts = [b"alpha ", b"beta ", b"gamma ", b"delta"]
    offsets = [(await stream.append(part)).next_offset for part in parts]
    for number, offset in enumerate(offsets):
        (await stream.get(offset)).expect(200).expect_body(b"".join(parts[number + 1 :]))


@CATCH_UP.should("5.6")
async def a_read_from_the_tail_gives_nothing_and_the_same_offset(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    page = (await stream.get(tail)).expect(200).expect_body(b"").expect_up_to_date().expect_open()
    expect_equal(page.next_offset, tail, "Stream-Next-Offset")


@CATCH_UP.must("5.6")
async def reading_on_from_each_answer_repeats_and_loses_nothing(server: Server) -> None:
    stream = await server.create()
    offset, content = "-1", b""
    for number in range(6):
        await stream.append(b"<%d>" % number)
        page = (await stream.get(offset)).expect(200)
        offset, content = page.next_offset, content + page.body
    expect_equal(content, b"<0><1><2><3><4><5>", "all that was read")


@CATCH_UP.must("5.6")
async def a_page_at_the_tail_of_a_closed_stream_says_closed(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = (await stream.close()).next_offset
    (await stream.get()).expect(200).expect_body(b"data").expect_closed().expect_up_to_date()
    (await stream.get(tail)).expect(200).expect_body(b"").expect_closed().expect_up_to_date()


@CATCH_UP.must("5.6")
async def an_open_stream_is_up_to_date_but_not_closed(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get()).expect(200).expect_up_to_date().expect_open()


@CATCH_UP.must("5.6")
async def the_content_type_of_a_page_is_the_streams(server: Server) -> None:
    for content_type in ("text/plain", "application/json", "application/octet-stream", "image/png"):
        stream = await server.create(content_type)
        (await stream.get()).expect(200).expect_header("Content-Type", content_type)


@CATCH_UP.must("11.1")
async def unknown_query_parameters_are_ignored(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await server.send("GET", f"{stream.path}?offset=-1&unknown=1&table=x%26y")).expect(200).expect_body(
        b"data"
    )


@CATCH_UP.must("5.6")
async def a_large_stream_is_read_whole_page_by_page(server: Server) -> None:
    stream = await _large(server)
    expect_equal(await stream.read(), _LARGE_PART * _LARGE_PARTS, "the content")


@CATCH_UP.must("8")
async def the_offsets_of_pages_grow(server: Server) -> None:
    pages = await _several_pages(await _large(server))
    offsets = [page.next_offset for page in pages]
    expect_equal(offsets, sorted(set(offsets)), "the offsets of the pages")


@CATCH_UP.should("5.6")
async def only_the_last_page_is_up_to_date(server: Server) -> None:
    pages = await _several_pages(await _large(server))
    pages[0].expect_no_header("Stream-Up-To-Date")
    expect_that(pages[0].body, "a page with data", pages[0])


@CATCH_UP.should("5.6")
async def only_the_last_page_of_a_closed_stream_says_closed(server: Server) -> None:
    stream = await _large(server)
    await stream.close()
    pages = await _several_pages(stream)
    pages[0].expect_open()
    pages[-1].expect_closed()


@CATCH_UP.must("9.1.1")
async def pages_of_json_are_cut_between_messages(server: Server) -> None:
    stream = await server.create(JSON)
    message = '{"text":"' + "x" * 400 + '"}'
    for _ in range(5):
        await stream.append(f"[{','.join([message] * 1000)}]".encode())
    pages = await _several_pages(stream)
    for page in pages:
        expect_that(isinstance(page.json(), list), "a JSON array in each page", page)
    expect_equal(sum(len(page.json()) for page in pages), 5000, "the number of messages")


@CATCH_UP.must("4")
async def bytes_at_an_offset_never_change(server: Server) -> None:
    stream = await server.create(body=b"first ")
    middle = await stream.tail()
    await stream.append(b"second ")
    before, after_middle = (await stream.get()).body, (await stream.get(middle)).body
    await stream.append(b"third")
    whole, rest = (await stream.get()).body, (await stream.get(middle)).body
    expect_equal(whole[: len(before)], before, "the beginning of the stream")
    expect_equal(rest[: len(after_middle)], after_middle, "the data after an offset")


@CATCH_UP.must("4")
async def two_reads_give_the_same_bytes(server: Server) -> None:
    stream = await server.create(JSON, b'[{"b":1,"a":[1.50,2e3]},"\\u00e9"]')
    first = (await stream.get()).expect(200)
    (await stream.get()).expect(200).expect_body(first.body)


@CATCH_UP.quality("RFC 9110 §8.4")
async def a_compressed_answer_holds_the_same_bytes(server: Server) -> None:
    stream = await server.create(body=b"compressible " * 1000)
    page = (await stream.get(headers={"Accept-Encoding": "gzip"})).expect(200)
    page.expect_body(b"compressible " * 1000)
