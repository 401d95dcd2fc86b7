"""Input that no well-meaning client sends, or that only some send: never a server error, never wrong data."""

from __future__ import annotations

import random
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Headers, Reply, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, producer

ROBUSTNESS: Final = Topic("robustness", "5", "Robustness")

_RAW_S: Final = 1.0


# Paths


async def _expect_own_stream(server: Server, name: str) -> None:
    """A stream of this name can be created, written, read and deleted."""
    stream = await server.create(body=b"one ", name=name)
    await stream.append(b"two")
    await stream.expect_content(b"one two")
    (await stream.head()).expect(200)
    (await stream.delete()).expect(204)
    (await stream.get()).expect(404)


@ROBUSTNESS.quality("12.2")
async def a_path_may_hold_unicode(server: Server) -> None:
    await _expect_own_stream(server, "-caf%C3%A9-%E6%BC%A2%E5%AD%97-%F0%9F%82%A1")


@ROBUSTNESS.quality("12.2")
async def a_path_may_hold_spaces_and_signs(server: Server) -> None:
    for name in (
        "%20a%20b",
        "+a+b",
        "%2Ba",
        "a:b@c;d=e,f!g$h'(i)*",
        "~a.b_c-d",
        "%25",
        "%25%32%30",
        "%22%3C%3E",
    ):
        await _expect_own_stream(server, f"-{name}")


@ROBUSTNESS.quality("12.2")
async def a_path_may_have_many_segments(server: Server) -> None:
    await _expect_own_stream(server, "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p")


@ROBUSTNESS.quality("12.2")
async def names_of_javascript_are_names_like_others(server: Server) -> None:
    for name in ("/constructor", "/__proto__", "/toString", "/hasOwnProperty"):
        await _expect_own_stream(server, name)


@ROBUSTNESS.quality("RFC 3986 §2.2")
async def an_encoded_slash_is_not_a_slash(server: Server) -> None:
    divided = await server.create(body=b"divided", name="-a/b")
    encoded = server.at(divided.path.replace("-a/b", "-a%2Fb"))
    (await encoded.put(b"encoded")).expect(201)
    await divided.expect_content(b"divided")
    await encoded.expect_content(b"encoded")


@ROBUSTNESS.quality("RFC 3986 §6.2.2.1")
async def the_case_of_percent_encoding_does_not_matter(server: Server) -> None:
    upper = await server.create(body=b"data", name="-%C3%A9")
    await server.at(upper.path.replace("%C3%A9", "%c3%a9")).expect_content(b"data")


@ROBUSTNESS.quality("12.2")
async def a_path_of_500_characters_is_taken(server: Server) -> None:
    await _expect_own_stream(server, "-" + "x" * 250 + "/" + "y" * 250)


@ROBUSTNESS.quality("12.2")
async def an_endless_path_is_no_server_error(server: Server) -> None:
    for length in (2000, 4000, 20_000):
        stream = server.unused("-" + "x" * length)
        reply = (await stream.put()).expect(201, 400, 404, 413, 414, 431)
        if reply.status == 201:
            await stream.append(b"data")
            await stream.expect_content(b"data")


@ROBUSTNESS.quality("12.2")
async def odd_paths_are_no_server_error(server: Server) -> None:
    odd = (
        "%00",
        "%",
        "%zz",
        "%C3",
        "%ff%fe",
        "%0A",
        "%7F",
        "//",
        "/",
        "/.",
        "/..",
        "%2e%2e",
        "\\",
        "|",
        "%ED%A0%80",
    )
    for name in odd:
        stream = server.unused(f"-{name}")
        for reply in (await stream.put(), await stream.get(), await stream.head(), await stream.delete()):
            reply.expect_no_server_error()


@ROBUSTNESS.quality("6")
async def the_reserved_path_holds_no_streams(server: Server) -> None:
    name = server.unused().path.removeprefix(f"{server.root}/")
    reserved = server.at(f"{server.root}/__ds/{name}")
    (await reserved.put(b"data")).expect_refusal()
    (await reserved.get()).expect_refusal()


@ROBUSTNESS.quality("5")
async def the_root_itself_is_no_server_error(server: Server) -> None:
    for path in (server.root or "/", f"{server.root}/"):
        for method in ("GET", "HEAD", "OPTIONS"):
            (await server.send(method, path)).expect_no_server_error()


# Methods and queries


@ROBUSTNESS.quality("RFC 9110 §9.1")
async def other_methods_change_nothing(server: Server) -> None:
    stream = await server.create(body=b"data")
    for method in ("PATCH", "PROPFIND", "TRACE", "LOCK"):
        (await server.send(method, stream.path)).expect(400, 404, 405, 501)
    await stream.expect_content(b"data")


@ROBUSTNESS.quality("5.6")
async def odd_queries_are_no_server_error(server: Server) -> None:
    stream = await server.create(body=b"data")
    for query in (
        "%zz",
        "%ff=%fe",
        "offset",
        "&&&",
        "=",
        "live=",
        "live=bogus&offset=-1",
        "live=sse&live=long-poll",
    ):
        (await server.send("GET", f"{stream.path}?{query}")).expect_no_server_error()
    for query in (
        "offset=%ff",
        "offset=%00",
        f"offset={'0' * 5000}",
        "offset=%F0%9F%82%A1",
        "offset=-1%0d%0a",
    ):
        (await server.send("GET", f"{stream.path}?{query}")).expect_refusal()


@ROBUSTNESS.quality("5.6")
async def an_unknown_live_mode_does_not_wait(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.get("-1", live="bogus")).expect(200, 400)
    (await stream.get(await stream.tail(), live="SSE")).expect(200, 400)


# Headers


@ROBUSTNESS.quality("RFC 9110 §5.3")
async def a_ttl_that_is_sent_twice_is_refused(server: Server) -> None:
    stream = server.unused()
    (await stream.put(headers=[("Stream-TTL", "60"), ("Stream-TTL", "3600")])).expect(400)
    (await stream.head()).expect(404)


@ROBUSTNESS.quality("RFC 9110 §5.3")
async def producer_numbers_that_are_sent_twice_are_refused(server: Server) -> None:
    stream = await server.create()
    for twice in (("Producer-Epoch", "1"), ("Producer-Seq", "1")):
        (await stream.post(b"x", headers=[*producer("p", 0, 0).items(), twice])).expect(400)
    await stream.expect_content(b"")


@ROBUSTNESS.quality("RFC 9110 §5.3")
async def headers_that_are_sent_twice_are_no_server_error(server: Server) -> None:
    stream = await server.create()
    twice: list[Headers] = [
        [("Stream-Closed", "false"), ("Stream-Closed", "false")],
        [("Stream-Seq", "1"), ("Stream-Seq", "2")],
        [*producer("p", 0, 0).items(), ("Producer-Id", "q")],
        [("Content-Type", "text/plain"), ("Content-Type", JSON)],
        [("If-None-Match", '"a"'), ("If-None-Match", '"b"')],
    ]
    for headers in twice:
        (await stream.post(b"+", headers=headers)).expect_no_server_error()
        (await stream.get(headers=headers)).expect_no_server_error()
    content = await stream.read()
    expect_equal(content, b"+" * len(content), "the content")


@ROBUSTNESS.quality("RFC 9110 §5.5")
async def headers_of_any_bytes_are_no_server_error(server: Server) -> None:
    stream = await server.create()
    for value in (b"\xff\xfe", "漢字".encode(), b"x" * 3000, b"a\tb", b"\x80"):
        for name in (
            "Stream-Seq",
            "Producer-Id",
            "If-None-Match",
            "Stream-TTL",
            "Stream-Forked-From",
            "X-Any",
        ):
            (await stream.post(b"+", headers={name: value})).expect_no_server_error()
            (await server.unused().put(headers={name: value})).expect_no_server_error()


@ROBUSTNESS.quality("RFC 9110 §8.3")
async def odd_content_types_are_no_server_error(server: Server) -> None:
    for content_type in (
        "nonsense",
        "",
        ";",
        "a/b/c",
        "text/",
        "/plain",
        "text/plain;;;=",
        "x" * 2000,
        "é/é",
        "*/*",
    ):
        stream = server.unused()
        (
            await stream.put(b"data", headers={"Content-Type": content_type}, content_type=None)
        ).expect_no_server_error()
        (await stream.get()).expect_no_server_error()


@ROBUSTNESS.quality("RFC 6585 §5")
async def huge_headers_are_taken_or_refused(server: Server) -> None:
    stream = await server.create()
    huge = f"X-Huge: {'x' * 200_000}"
    await _expect_no_server_error(
        server, server.connection.head("GET", stream.path, huge, "Connection: close")
    )


# The connection


async def _expect_no_server_error(server: Server, data: bytes) -> None:
    """Any answer but 5xx, or none: a connection that ends."""
    with anyio.move_on_after(_RAW_S):
        answer = await server.connection.send_raw(data)
        expect_that(b" 5" not in answer[8:10], "no server error", answer[:60])
    (await server.unused().put()).expect(201)


@ROBUSTNESS.quality("RFC 9112 §3.2")
async def an_empty_or_missing_host_is_no_server_error(server: Server) -> None:
    path = server.unused().path
    for host in ("Host:\r\n", "", "Host: a\r\nHost: b\r\n", "Host: \xe9:x:y\r\n"):
        lines = ("Content-Length: 0", "Connection: close")
        await _expect_no_server_error(server, server.connection.head("PUT", path, *lines, host=host))
    await server.at(path).delete()


@ROBUSTNESS.quality("RFC 9112 §2.2")
async def what_is_no_http_is_no_server_error(server: Server) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        await _expect_no_server_error(server, data)


@ROBUSTNESS.quality("RFC 9112 §6.3")
async def a_length_that_is_no_number_is_refused(server: Server) -> None:
    stream = await server.create()
    for length in ("abc", "-1", "1, 2", "99999999999999999999"):
        lines = ("Content-Type: text/plain", f"Content-Length: {length}", "Connection: close")
        await _expect_no_server_error(server, server.connection.head("POST", stream.path, *lines) + b"x")
    await stream.expect_content(b"")


@ROBUSTNESS.quality("RFC 9112 §8")
async def an_append_that_breaks_off_is_not_taken(server: Server) -> None:
    stream = await server.create()
    cut_off = (("Content-Length: 1000", b"only a part"), ("Transfer-Encoding: chunked", b"4\r\npart\r\n"))
    for length, part in cut_off:
        head = server.connection.head("POST", stream.path, "Content-Type: text/plain", length)
        with anyio.move_on_after(0.3):
            await server.connection.send_raw(head + part)
    await stream.append(b"whole")
    await stream.expect_content(b"whole")


@ROBUSTNESS.quality("5.7")
async def readers_that_leave_do_no_harm(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    for _ in range(10):
        with anyio.move_on_after(0.02):
            await stream.poll(tail)
        with anyio.move_on_after(0.02):
            async with stream.events("now") as events:
                await events.news()
    await stream.append(b" more")
    (await stream.poll(tail)).expect(200).expect_body(b" more")


# Bytes


@ROBUSTNESS.quality("4")
async def bytes_come_back_the_same_by_every_way_of_reading(server: Server) -> None:
    stream = await server.create(BINARY)
    data = bytes(number * number % 256 for number in range(5000))
    for at in range(0, len(data), 1000):
        await stream.append(data[at : at + 1000])
    await stream.expect_content(data)
    (await stream.poll("-1")).expect(200)
    content, offset = b"", "-1"
    while len(content) < len(data):
        reply = (await stream.poll(offset)).expect(200)
        content, offset = content + reply.body, reply.next_offset
    expect_equal(content, data, "what long-polls gave")


@ROBUSTNESS.quality("4")
async def two_hundred_small_appends_come_back_in_order(server: Server) -> None:
    stream = await server.create(JSON)
    for number in range(200):
        await stream.append(b"%d" % number)
    await stream.expect_messages(list(range(200)))


@ROBUSTNESS.quality("4")
async def a_random_history_is_the_same_as_in_a_list(server: Server) -> None:
    chance = random.Random(82)  # noqa: S311 - the same history each time
    stream = await server.create(BINARY)
    content, offsets = b"", {await stream.tail(): 0}
    for _ in range(60):
        if chance.random() < 0.5:
            part = chance.randbytes(chance.randrange(1, 300))
            content += part
            offsets[(await stream.append(part)).next_offset] = len(content)
        else:
            offset, position = chance.choice(list(offsets.items()))
            (await stream.get(offset)).expect(200).expect_body(content[position:])
    expect_equal(list(offsets), sorted(offsets), "the order of the offsets")
    await stream.expect_content(content)


@ROBUSTNESS.quality("4.1")
async def a_mixed_history_adds_up(server: Server) -> None:
    stream = await server.create(body=b"a")
    expected = b"a"
    replies: list[Reply] = [
        await stream.post(b"b"),
        await stream.post(b"x", content_type=JSON),
        await stream.post(b""),
        await stream.post(b"c", headers=producer("p", 0, 0)),
        await stream.post(b"c", headers=producer("p", 0, 0)),
        await stream.post(b"x", headers=producer("p", 0, 7)),
        await stream.post(b"d", headers={"Stream-Seq": "1"}),
        await stream.post(b"x", headers={"Stream-Seq": "1"}),
        await stream.post(b"e", headers=CLOSED),
        await stream.post(b"x"),
    ]
    expected += b"bcde"
    expect_equal(
        [reply.status for reply in replies],
        [204, 409, 400, 200, 204, 409, 204, 409, 204, 409],
        "the statuses",
    )
    await stream.expect_content(expected)
    (await stream.get()).expect_closed()
