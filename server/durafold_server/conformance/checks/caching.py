"""ETag, If-None-Match and Cache-Control (PROTOCOL §10, RFC 9110)."""

from __future__ import annotations

import re
from typing import Final

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import CLOSED, JSON, Server, Stream

CACHING: Final = Topic("caching", "10", "Caching")

_ETAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


async def _etag(stream: Stream, offset: str | None = None) -> str:
    return (await stream.get(offset)).expect(200).value("ETag")


async def _get_unless(stream: Stream, etag: str, offset: str | None = None) -> Reply:
    return await stream.get(offset, headers={"If-None-Match": etag})


@CACHING.must("10.1")
async def a_read_has_an_etag(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = await _etag(stream)
    expect_that(_ETAG.fullmatch(etag), "an entity tag in quotes", etag)
    await _etag(stream, await stream.tail())
    await _etag(await server.create())
    await _etag(await server.create(JSON))


@CACHING.must("10.1")
async def the_etag_of_the_same_read_is_the_same(server: Server) -> None:
    stream = await server.create(body=b"data")
    expect_equal(await _etag(stream), await _etag(stream), "the ETag")


@CACHING.must("10.1")
async def a_matching_etag_answers_304_without_a_body(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await _get_unless(stream, await _etag(stream))).expect(304).expect_body(b"")


@CACHING.must("10.1")
async def a_matching_etag_at_the_tail_answers_304(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    (await _get_unless(stream, await _etag(stream, tail), tail)).expect(304).expect_body(b"")


@CACHING.must("10.1")
async def a_matching_etag_of_json_answers_304(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    (await _get_unless(stream, await _etag(stream))).expect(304).expect_body(b"")


@CACHING.must("10.1")
async def another_etag_answers_200_with_the_data(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await _get_unless(stream, '"something-else"')).expect(200).expect_body(b"data")


@CACHING.should("RFC 9110 §15.4.5")
async def a_304_repeats_the_etag(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = await _etag(stream)
    (await _get_unless(stream, etag)).expect(304).expect_header("ETag", etag)


@CACHING.should("RFC 9110 §13.1.2")
async def the_etag_may_be_one_of_a_list(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = await _etag(stream)
    (await _get_unless(stream, f'"a", {etag}, "b"')).expect(304)
    (await _get_unless(stream, f'"a",{etag}')).expect(304)
    (await _get_unless(stream, '"a", "b"')).expect(200).expect_body(b"data")


@CACHING.should("RFC 9110 §13.1.2")
async def a_weak_etag_matches(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = (await _etag(stream)).removeprefix("W/")
    (await _get_unless(stream, f"W/{etag}")).expect(304)


@CACHING.should("RFC 9110 §13.1.2")
async def a_star_matches_whatever_is_there(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await _get_unless(stream, "*")).expect(304).expect_body(b"")


@CACHING.quality("RFC 9110 §8.8.3")
async def a_part_of_an_etag_does_not_match(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = await _etag(stream)
    (await _get_unless(stream, f'{etag[:-2]}"')).expect(200).expect_body(b"data")
    (await _get_unless(stream, f'{etag[:-1]}x"')).expect(200).expect_body(b"data")


@CACHING.must("10.1")
async def the_etag_changes_with_an_append(server: Server) -> None:
    stream = await server.create(body=b"one ")
    etag = await _etag(stream)
    await stream.append(b"two")
    (await _get_unless(stream, etag)).expect(200).expect_body(b"one two")
    expect_that(await _etag(stream) != etag, "another ETag", etag)


@CACHING.must("10.1")
async def the_etag_of_an_empty_stream_changes_with_the_first_append(server: Server) -> None:
    stream = await server.create()
    etag = await _etag(stream)
    await stream.append(b"data")
    (await _get_unless(stream, etag)).expect(200).expect_body(b"data")


@CACHING.must("10.1")
async def a_304_at_the_tail_does_not_hide_an_append(server: Server) -> None:
    stream = await server.create(body=b"one ")
    tail = await stream.tail()
    etag = await _etag(stream, tail)
    await stream.append(b"two")
    (await _get_unless(stream, etag, tail)).expect(200).expect_body(b"two")


@CACHING.must("10.1")
async def a_304_does_not_hide_a_close(server: Server) -> None:
    stream = await server.create(body=b"data")
    etag = await _etag(stream)
    await stream.close()
    (await _get_unless(stream, etag)).expect(200).expect_body(b"data").expect_closed()


@CACHING.must("10.1")
async def a_304_at_the_tail_does_not_hide_a_close(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    etag = await _etag(stream, tail)
    await stream.close()
    (await _get_unless(stream, etag, tail)).expect(200).expect_body(b"").expect_closed()


@CACHING.must("10.1")
async def a_304_does_not_hide_the_close_of_an_empty_stream(server: Server) -> None:
    stream = await server.create()
    etag = await _etag(stream)
    await stream.close()
    (await _get_unless(stream, etag)).expect(200).expect_closed()


@CACHING.must("10.1")
async def a_closed_stream_has_an_etag_that_matches(server: Server) -> None:
    stream = await server.create(body=b"data", headers=CLOSED)
    (await _get_unless(stream, await _etag(stream))).expect(304)


@CACHING.must("RFC 9110 §8.8.3")
async def parts_of_a_stream_have_different_etags(server: Server) -> None:
    stream = await server.create(body=b"same")
    middle = await stream.tail()
    await stream.append(b"same")
    etags = {await _etag(stream), await _etag(stream, middle), await _etag(stream, await stream.tail())}
    expect_equal(len(etags), 3, "the number of different ETags")


@CACHING.quality("RFC 9110 §8.8.3")
async def a_stream_created_anew_has_another_etag(server: Server) -> None:
    stream = await server.create(body=b"old!")
    etag = await _etag(stream)
    (await stream.delete()).expect(204)
    (await stream.put(b"new!")).expect(201)
    (await _get_unless(stream, etag)).expect(200).expect_body(b"new!")


@CACHING.must("10.1")
async def now_has_no_etag(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get("now")).expect(200).expect_no_header("ETag")
    (await _get_unless(stream, "*", "now")).expect(200)


@CACHING.should("10.1")
async def data_may_be_cached(server: Server) -> None:
    stream = await server.create(body=b"one ")
    middle = await stream.tail()
    await stream.append(b"two")
    for offset in (None, "-1", middle):
        control = (await stream.get(offset)).value("Cache-Control").replace(" ", "").lower().split(",")
        shared = {"public", "private"} & set(control)
        expect_that(
            shared and any(d.startswith("max-age=") for d in control), "public or private, max-age", control
        )


@CACHING.should("10.1")
async def an_unknown_stream_is_not_answered_with_304(server: Server) -> None:
    (await server.unused().get(headers={"If-None-Match": "*"})).expect(404)
