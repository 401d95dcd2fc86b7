"""Offsets (PROTOCOL §8): their form, their order, and the two that have a meaning."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Skipped, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, Stream

OFFSETS: Final = Topic("offsets", "8", "Offsets")

_SIZES: Final = (1, 8, 1, 90, 900, 9_000, 90_000, 1, 10, 100)


async def _with_many_offsets(server: Server) -> tuple[Stream, list[str]]:
    """A stream with appends of such sizes that a byte count would gain digits, and all its offsets."""
    stream = server.unused(content_type=BINARY)
    offsets = [(await stream.put()).expect(201).next_offset]
    offsets += [(await stream.append(b"x" * size)).next_offset for size in _SIZES]
    return stream, offsets


@OFFSETS.must("8")
async def offsets_grow_as_text(server: Server) -> None:
    _, offsets = await _with_many_offsets(server)
    encoded = [offset.encode() for offset in offsets]
    expect_equal(encoded, sorted(set(encoded)), "the offsets, compared byte by byte")


@OFFSETS.must("8")
async def offsets_hold_no_reserved_characters(server: Server) -> None:
    _, offsets = await _with_many_offsets(server)
    for offset in offsets:
        expect_that(offset and not set(offset) & set(",&=?/"), "no , & = ? or /", offset)


@OFFSETS.must("8")
async def offsets_are_never_the_reserved_words(server: Server) -> None:
    _, offsets = await _with_many_offsets(server)
    expect_that(not {"-1", "now"} & set(offsets), "neither -1 nor now", offsets)


@OFFSETS.should("8")
async def offsets_are_short_and_safe_in_urls(server: Server) -> None:
    _, offsets = await _with_many_offsets(server)
    for offset in offsets:
        expect_that(len(offset) < 256, "fewer than 256 characters", offset)
        expect_equal(quote(offset, safe=""), offset, "the percent-encoded offset")


@OFFSETS.must("8")
async def offsets_stay_valid(server: Server) -> None:
    stream, offsets = await _with_many_offsets(server)
    await stream.close(b"end")
    left = sum(_SIZES) + 3
    for offset, size in zip(offsets, (*_SIZES, 3), strict=True):
        expect_equal(len(await stream.read(offset)), left, f"the number of bytes behind {offset}")
        left -= size


@OFFSETS.must("8")
async def the_start_of_an_empty_stream_is_an_offset_like_others(server: Server) -> None:
    stream = await server.create()
    start = await stream.tail()
    await stream.append(b"data")
    (await stream.get(start)).expect(200).expect_body(b"data")


@OFFSETS.must("8")
async def an_offset_with_a_reserved_character_is_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    for offset in ("0,1", "a&b", "a=b", "a?b", "a/b"):
        (await stream.get(offset)).expect(400)


@OFFSETS.must("5.6")
async def an_offset_with_spaces_or_control_characters_is_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    for offset in ("0 1", " ", "0\n1", "\x00", "0\r\n1"):
        (await stream.get(offset)).expect(400)


@OFFSETS.must("5.6")
async def an_empty_offset_is_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get("")).expect(400)


@OFFSETS.must("5.6")
async def two_offsets_are_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await server.send("GET", f"{stream.path}?offset=-1&offset=now")).expect(400)


@OFFSETS.must("5.6")
async def malformed_offsets_are_refused_by_live_reads_too(server: Server) -> None:
    stream = await server.create(body=b"data")
    for live in ("long-poll", "sse"):
        (await stream.get("0,1", live=live)).expect(400)
        (await stream.get("", live=live)).expect(400)


@OFFSETS.quality("5.6")
async def an_offset_that_the_server_never_made_is_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    for offset in ("nonsense", "-2", "NOW", "0x10", "é", "../..", "9" * 300):
        (await stream.get(offset)).expect_refusal()


@OFFSETS.quality("5.6")
async def an_offset_beyond_the_tail_is_refused(server: Server) -> None:
    source = await server.create(body=b"data")
    # A fork shares the offsets of its source, so its tail is one that the source has not reached.
    fork = server.unused()
    forked, appended = await fork.put_fork(source), await fork.post(b"more")
    if (forked.status, appended.status) != (201, 204):
        raise Skipped("only a fork can tell, and the server has none")
    (await source.get(appended.next_offset)).expect_refusal()


@OFFSETS.quality("8")
async def an_offset_may_be_percent_encoded(server: Server) -> None:
    stream = await server.create(body=b"one ")
    tail = await stream.tail()
    await stream.append(b"two")
    encoded = "".join(f"%{byte:02X}" for byte in tail.encode())
    (await server.send("GET", f"{stream.path}?offset={encoded}")).expect(200).expect_body(b"two")


# From now on


@OFFSETS.must("8")
async def now_gives_no_data_and_the_tail(server: Server) -> None:
    stream = await server.create(body=b"data")
    page = (await stream.get("now")).expect(200).expect_body(b"").expect_up_to_date().expect_open()
    expect_equal(page.next_offset, await stream.tail(), "Stream-Next-Offset")


@OFFSETS.must("8")
async def now_gives_an_empty_array_of_json(server: Server) -> None:
    stream = await server.create(JSON, b"[1,2]")
    (await stream.get("now")).expect(200).expect_json([]).expect_up_to_date()


@OFFSETS.must("8")
async def now_on_an_empty_stream_names_a_real_offset(server: Server) -> None:
    stream = await server.create()
    page = (await stream.get("now")).expect(200).expect_body(b"").expect_up_to_date()
    expect_equal(page.next_offset, await stream.tail(), "Stream-Next-Offset")


@OFFSETS.must("8")
async def reading_on_from_now_gives_only_what_is_new(server: Server) -> None:
    stream = await server.create(body=b"old ")
    offset = (await stream.get("now")).next_offset
    await stream.append(b"new")
    (await stream.get(offset)).expect(200).expect_body(b"new")


@OFFSETS.must("8")
async def now_on_a_closed_stream_says_closed(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    page = (await stream.get("now")).expect(200).expect_body(b"").expect_closed().expect_up_to_date()
    expect_equal(page.next_offset, await stream.tail(), "Stream-Next-Offset")


@OFFSETS.must("8")
async def now_on_a_closed_json_stream_is_an_empty_array(server: Server) -> None:
    stream = await server.create(JSON, b"[1]", headers=CLOSED)
    (await stream.get("now")).expect(200).expect_json([]).expect_closed().expect_up_to_date()


@OFFSETS.must("8")
async def now_on_an_unknown_stream_answers_404(server: Server) -> None:
    (await server.unused().get("now")).expect(404)


@OFFSETS.should("8")
async def now_cannot_be_cached(server: Server) -> None:
    stream = await server.create(body=b"data")
    directives = (await stream.get("now")).value("Cache-Control").replace(" ", "").lower().split(",")
    expect_that("no-store" in directives, "no-store", directives)


# Deleted and created anew


@OFFSETS.quality("8")
async def an_offset_of_a_deleted_stream_reads_no_part_of_its_successor(server: Server) -> None:
    stream = await server.create()
    old = (await stream.append(b"0123456789")).next_offset
    (await stream.delete()).expect(204)
    (await stream.put(b"abcdefghijklmnopqrstuvwxyz")).expect(201)
    reply = (await stream.get(old)).expect(200, 400, 404, 410)
    if reply.status == 200:
        reply.expect_body(b"abcdefghijklmnopqrstuvwxyz")


@OFFSETS.quality("8")
async def live_reads_refuse_an_offset_of_a_deleted_stream(server: Server) -> None:
    stream = await server.create()
    old = (await stream.append(b"0123456789")).next_offset
    (await stream.delete()).expect(204)
    (await stream.put(b"abcdefghijklmnopqrstuvwxyz")).expect(201)
    (await stream.poll(old)).expect(400, 404, 410)
    (await stream.sse(old)).expect(400, 404, 410)
