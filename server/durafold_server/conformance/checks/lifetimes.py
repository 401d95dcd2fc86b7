"""Stream-TTL and Stream-Expires-At (PROTOCOL §5.1). Those of forks are checked with forks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Headers, expect_equal, expect_that
from durafold_server.conformance.target import CLOSED, Server, Stream, producer
from durafold_server.conformance.timing import Stopwatch, expect_alive, expiring_soon, server_time

LIFETIMES: Final = Topic("lifetimes", "5.1", "TTL and expiry", sleeps=True)

_TTL_S: Final = 2
_USE_AT_S: Final = 1.2
_LOOK_AT_S: Final = 2.4
_EXPIRED_AT_S: Final = 3.5
"""After which a stream that expires two to three seconds after its creation is gone for sure."""


async def _expect_refused(server: Server, name: str, *values: str) -> None:
    stream = server.unused()
    for value in values:
        (await stream.put(headers={name: value})).expect(400)
    (await stream.head()).expect(404)


async def _expect_taken(server: Server, headers: Headers) -> None:
    stream = server.unused()
    (await stream.put(headers=headers)).expect(201)
    (await stream.head()).expect(200)


# What may be asked for


@LIFETIMES.must("5.1")
async def a_ttl_is_a_plain_number_of_seconds(server: Server) -> None:
    await _expect_taken(server, {"Stream-TTL": "3600"})
    await _expect_taken(server, {"Stream-TTL": "1000000000"})


@LIFETIMES.must("5.1")
async def a_ttl_with_leading_zeros_is_refused(server: Server) -> None:
    await _expect_refused(server, "Stream-TTL", "03600", "00", "007")


@LIFETIMES.must("5.1")
async def a_ttl_with_a_sign_is_refused(server: Server) -> None:
    await _expect_refused(server, "Stream-TTL", "+3600", "-1", "-0")


@LIFETIMES.must("5.1")
async def a_ttl_with_a_fraction_is_refused(server: Server) -> None:
    await _expect_refused(server, "Stream-TTL", "3600.0", "3600.", ".5", "1,5")


@LIFETIMES.must("5.1")
async def a_ttl_with_an_exponent_is_refused(server: Server) -> None:
    await _expect_refused(server, "Stream-TTL", "3.6e3", "1e3", "1E3")


@LIFETIMES.must("5.1")
async def a_ttl_that_is_no_decimal_number_is_refused(server: Server) -> None:
    await _expect_refused(
        server, "Stream-TTL", "abc", "0x10", "1_000", "10 s", "1h", "NaN", "Infinity", "²", "٣"
    )


@LIFETIMES.should("5.1")
async def a_ttl_together_with_an_expiry_is_refused(server: Server) -> None:
    stream = server.unused()
    both = {"Stream-TTL": "3600", "Stream-Expires-At": "2099-01-01T00:00:00Z"}
    (await stream.put(headers=both)).expect(400)
    (await stream.head()).expect(404)


@LIFETIMES.must("5.1")
async def an_expiry_in_utc_is_taken(server: Server) -> None:
    await _expect_taken(server, {"Stream-Expires-At": "2099-01-01T00:00:00Z"})
    await _expect_taken(server, {"Stream-Expires-At": "2099-01-01T00:00:00.123Z"})


@LIFETIMES.must("5.1")
async def an_expiry_in_another_time_zone_is_taken(server: Server) -> None:
    await _expect_taken(server, {"Stream-Expires-At": "2099-01-01T02:00:00+02:00"})
    await _expect_taken(server, {"Stream-Expires-At": "2098-12-31T18:30:00-05:30"})


@LIFETIMES.must("5.1")
async def an_expiry_that_is_no_timestamp_is_refused(server: Server) -> None:
    await _expect_refused(
        server, "Stream-Expires-At", "tomorrow", "2099-13-01T00:00:00Z", "2099-01-01T25:00:00Z"
    )


@LIFETIMES.quality("5.1, RFC 3339 §5.7")
async def an_expiry_on_a_day_that_does_not_exist_is_refused(server: Server) -> None:
    await _expect_refused(server, "Stream-Expires-At", "2099-02-30T00:00:00Z", "2099-04-31T00:00:00Z")


@LIFETIMES.quality("5.1, RFC 3339 §5.6")
async def an_expiry_without_time_or_zone_is_refused(server: Server) -> None:
    await _expect_refused(
        server, "Stream-Expires-At", "2099-01-01", "2099-01-01T00:00:00", "Thu, 01 Jan 2099 00:00:00 GMT"
    )


@LIFETIMES.quality("5.1")
async def an_expiry_in_the_past_makes_no_living_stream(server: Server) -> None:
    stream = server.unused()
    (await stream.put(headers={"Stream-Expires-At": "2001-01-01T00:00:00Z"})).expect(201, 400)
    (await stream.head()).expect(404)


@LIFETIMES.quality("5.1")
async def extreme_lifetimes_are_taken_or_refused(server: Server) -> None:
    for ttl in ("0", "9" * 15, "9" * 40, "9" * 5000):
        (await server.unused().put(headers={"Stream-TTL": ttl})).expect(201, 400, 413, 431)
    for text in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        (await server.unused().put(headers={"Stream-Expires-At": text})).expect(201, 400)


# The end


@LIFETIMES.must("5.1")
async def a_stream_that_was_not_used_for_its_ttl_is_gone(server: Server) -> None:
    stream = await server.create(body=b"data", headers={"Stream-TTL": "1"})
    tail = await stream.tail()
    await anyio.sleep(1.5)
    (await stream.head()).expect(404)
    (await stream.get()).expect(404)
    (await stream.get("now")).expect(404)
    (await stream.post(b"more")).expect(404)
    (await stream.post(headers=CLOSED)).expect(404)
    (await stream.poll(tail)).expect(404)
    (await stream.sse(tail)).expect(404)
    (await stream.delete()).expect(404)


@LIFETIMES.must("5.1")
async def a_stream_is_gone_after_its_expiry(server: Server) -> None:
    stream = await server.create(body=b"data", headers=await expiring_soon(server))
    watch = Stopwatch()
    (await stream.get()).expect(200).expect_body(b"data")
    await watch.reach(_EXPIRED_AT_S)
    (await stream.head()).expect(404)
    (await stream.get()).expect(404)
    (await stream.post(b"more")).expect(404)
    (await stream.delete()).expect(404)


@LIFETIMES.must("5.1")
async def use_does_not_put_off_an_expiry(server: Server) -> None:
    stream = await server.create(headers=await expiring_soon(server))
    watch = Stopwatch()
    await watch.reach(1.0)
    await stream.append(b"data")
    (await stream.get()).expect(200)
    await watch.reach(_EXPIRED_AT_S)
    (await stream.head()).expect(404)


@LIFETIMES.must("5.1")
async def an_expiry_in_another_time_zone_is_the_same_moment(server: Server) -> None:
    moment = await server_time(server) + timedelta(hours=2, seconds=3)
    stream = await server.create(headers={"Stream-Expires-At": moment.strftime("%Y-%m-%dT%H:%M:%S+02:00")})
    watch = Stopwatch()
    (await stream.head()).expect(200)
    await watch.reach(_EXPIRED_AT_S)
    (await stream.head()).expect(404)


@LIFETIMES.must("5.1")
async def an_expired_stream_can_be_created_anew_and_begins_empty(server: Server) -> None:
    stream = server.unused()
    (await stream.put(b"old", headers={"Stream-TTL": "1"})).expect(201)
    (await stream.post(b"old", headers=producer("p", 5, 0))).expect(200)
    await anyio.sleep(1.5)
    (await stream.put()).expect(201).expect_no_header("Stream-TTL")
    (await stream.post(b"new", headers=producer("p", 0, 0))).expect(200)
    await stream.expect_content(b"new")


@LIFETIMES.must("5.1")
async def an_expired_stream_can_be_created_anew_with_another_configuration(server: Server) -> None:
    stream = await server.create("text/plain", b"old", {"Stream-TTL": "1"})
    await anyio.sleep(1.5)
    (await stream.put(b"[1]", content_type="application/json")).expect(201)
    await stream.expect_messages([1])


# What renews a TTL


async def _expect_renewal(server: Server, use: Callable[[Stream], Awaitable[object]]) -> None:
    stream = await server.create(body=b"data", headers={"Stream-TTL": str(_TTL_S)})
    since_creation = Stopwatch()
    await since_creation.reach(_USE_AT_S)
    since_use = Stopwatch()
    await use(stream)
    await since_creation.reach(_LOOK_AT_S)
    await expect_alive(stream, since_use, _TTL_S)


@LIFETIMES.must("5.1")
async def an_append_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.append(b"more"))


@LIFETIMES.must("5.1")
async def an_append_of_a_producer_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.append(b"more", producer("p", 0, 0)))


@LIFETIMES.must("5.1")
async def a_read_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.get())


@LIFETIMES.must("5.1")
async def a_read_from_the_tail_renews_the_ttl(server: Server) -> None:
    async def read(stream: Stream) -> None:
        await stream.get(await stream.tail())

    await _expect_renewal(server, read)


@LIFETIMES.must("5.1")
async def a_read_from_now_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.get("now"))


@LIFETIMES.must("5.1")
async def a_read_that_is_answered_with_304_renews_the_ttl(server: Server) -> None:
    stream = await server.create(body=b"data", headers={"Stream-TTL": str(_TTL_S)})
    etag = (await stream.get()).value("ETag")
    since_first_read = Stopwatch()
    await since_first_read.reach(_USE_AT_S)
    since_use = Stopwatch()
    (await stream.get(headers={"If-None-Match": etag})).expect(304)
    await since_first_read.reach(_LOOK_AT_S)
    await expect_alive(stream, since_use, _TTL_S)


@LIFETIMES.must("5.1")
async def a_long_poll_renews_the_ttl(server: Server) -> None:
    async def poll(stream: Stream) -> None:
        tail = await stream.tail()
        with anyio.move_on_after(0.3):
            await stream.poll(tail)

    await _expect_renewal(server, poll)


@LIFETIMES.must("5.1")
async def an_sse_connection_renews_the_ttl(server: Server) -> None:
    async def connect(stream: Stream) -> None:
        async with stream.events("now") as events:
            await events.batch()

    await _expect_renewal(server, connect)


@LIFETIMES.must("5.1")
async def a_close_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.close())


@LIFETIMES.must("5.1")
async def a_closing_append_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.close(b"last"))


@LIFETIMES.must("5.1")
async def a_close_by_a_producer_renews_the_ttl(server: Server) -> None:
    await _expect_renewal(server, lambda stream: stream.close(headers=producer("p", 0, 0)))


@LIFETIMES.must("5.1")
async def head_does_not_renew_the_ttl(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "1"})
    watch = Stopwatch()
    for moment_s in (0.3, 0.6, 0.8):
        await watch.reach(moment_s)
        await stream.head()
    await watch.reach(1.35)
    (await stream.head()).expect(404)


@LIFETIMES.quality("5.1")
async def a_refused_append_does_not_renew_the_ttl(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "1"})
    watch = Stopwatch()
    await watch.reach(0.7)
    (await stream.post(b"{}", content_type="application/json")).expect(404, 409)
    await watch.reach(1.4)
    (await stream.head()).expect(404)


# Live readers


@LIFETIMES.quality("5.1")
async def a_stream_with_an_sse_reader_does_not_expire(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "1"})
    async with stream.events("now") as events:
        await events.batch()
        await anyio.sleep(2.5)
        (await stream.append(b"late")).expect(204)
        batches = await events.news()
    expect_equal("".join(batches[-1].data), "late", "the text that arrived")


@LIFETIMES.quality("5.1")
async def a_stream_with_a_long_poll_reader_does_not_expire(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "1"})

    async def append_late() -> None:
        await anyio.sleep(2.5)
        (await stream.append(b"late")).expect(204)

    reply = await stream.poll_while(await stream.tail(), append_late)
    reply.expect(200).expect_body(b"late")


@LIFETIMES.quality("5.1")
async def a_waiting_long_poll_ends_when_its_stream_expires(server: Server) -> None:
    stream = await server.create(headers=await expiring_soon(server))
    (await stream.poll_for_news(await stream.tail())).expect(404, 410)


@LIFETIMES.quality("5.1")
async def an_sse_connection_ends_when_its_stream_expires(server: Server) -> None:
    stream = await server.create(body=b"data", headers=await expiring_soon(server))
    async with stream.events() as events:
        await events.to_tail()
        await events.expect_end()
    reply = await stream.head()
    expect_that(reply.status == 404, "the end no earlier than the expiry", reply)
