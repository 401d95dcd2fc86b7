"""HEAD (PROTOCOL §5.5), and that it agrees with GET."""

from __future__ import annotations

from typing import Final

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import expect_equal, expect_that
from durafold_server.conformance.target import CLOSED, JSON, Server

METADATA: Final = Topic("metadata", "5.5", "Stream metadata")


@METADATA.must("5.5")
async def head_answers_200_with_content_type_and_tail(server: Server) -> None:
    stream = await server.create("text/csv", b"a,b\n")
    reply = (await stream.head()).expect(200).expect_header("Content-Type", "text/csv")
    expect_that(reply.next_offset, "a Stream-Next-Offset", reply)


@METADATA.must("5.5")
async def head_of_an_unknown_stream_answers_404_and_creates_nothing(server: Server) -> None:
    stream = server.unused()
    (await stream.head()).expect(404)
    (await stream.get()).expect(404)


@METADATA.must("5.5, RFC 9110 §9.3.2")
async def head_sends_no_body(server: Server) -> None:
    stream = await server.create(body=b"never to be seen here")
    head = server.connection.head("HEAD", stream.path, "Connection: close")
    answer = await server.connection.send_raw(head)
    expect_that(answer.endswith(b"\r\n\r\n"), "nothing after the headers", answer[-80:])


@METADATA.must("5.5")
async def head_follows_the_tail(server: Server) -> None:
    stream = await server.create()
    expect_equal(await stream.tail(), (await stream.get()).next_offset, "the tail of an empty stream")
    for number in range(3):
        tail = (await stream.append(b"%d" % number)).next_offset
        expect_equal(await stream.tail(), tail, "the tail")


@METADATA.must("5.5")
async def head_of_a_closed_stream_says_so(server: Server) -> None:
    stream = await server.create(body=b"data")
    await stream.close()
    (await stream.head()).expect(200).expect_closed()


@METADATA.must("5.5")
async def head_of_an_open_stream_does_not_say_that_it_is_closed(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.head()).expect(200).expect_open()


@METADATA.must("5.5")
async def head_names_the_ttl_as_it_was_given(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "3600"})
    (await stream.head()).expect(200).expect_header("Stream-TTL", "3600")


@METADATA.must("5.5")
async def head_names_the_expiry(server: Server) -> None:
    stream = await server.create(headers={"Stream-Expires-At": "2099-06-01T12:00:00Z"})
    came = (await stream.head()).expect(200).value("Stream-Expires-At")
    expect_that(came.startswith("2099-06-01T12:00:00"), "2099-06-01T12:00:00Z", came)


@METADATA.quality("5.5")
async def head_names_no_lifetime_where_there_is_none(server: Server) -> None:
    stream = await server.create()
    (await stream.head()).expect_no_header("Stream-TTL").expect_no_header("Stream-Expires-At")


@METADATA.should("5.5")
async def head_cannot_be_cached(server: Server) -> None:
    stream = await server.create(body=b"data")
    directives = (await stream.head()).value("Cache-Control").replace(" ", "").lower().split(",")
    fresh = "no-store" in directives or {"private", "max-age=0", "must-revalidate"} <= set(directives)
    expect_that(fresh, "no-store, or private, max-age=0, must-revalidate", directives)


@METADATA.must("5.5")
async def head_and_get_agree(server: Server) -> None:
    stream = await server.create(JSON, b'[{"a":1}]')
    await stream.close(b"[2]")
    head, get = await stream.head(), (await stream.get()).expect(200)
    for name in ("Content-Type", "Stream-Next-Offset", "Stream-Closed"):
        expect_equal(head.value(name), get.value(name), f"{name} of HEAD")


@METADATA.must("5.5")
async def head_and_get_agree_on_a_closed_empty_stream(server: Server) -> None:
    stream = await server.create(headers=CLOSED)
    head, get = await stream.head(), (await stream.get()).expect(200)
    for name in ("Content-Type", "Stream-Next-Offset", "Stream-Closed"):
        expect_equal(head.value(name), get.value(name), f"{name} of HEAD")
