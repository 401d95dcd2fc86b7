"""PUT without fork headers (PROTOCOL §5.1). Lifetimes have a file of their own."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, Stream

CREATION: Final = Topic("creation", "5.1", "Create a stream")


@CREATION.must("5.1")
async def creating_a_stream_answers_201(server: Server) -> None:
    (await server.unused().put()).expect(201)


@CREATION.must("5.1")
async def creating_it_again_with_the_same_configuration_answers_200(server: Server) -> None:
    stream = await server.create()
    (await stream.put()).expect(200)


@CREATION.must("5.1")
async def creating_it_again_with_another_content_type_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    (await stream.put(content_type=JSON)).expect(409)
    (await stream.head()).expect(200).expect_header("Content-Type", "text/plain")


@CREATION.must("5.1")
async def creating_it_again_with_another_ttl_is_a_conflict(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "3600"})
    (await stream.put(headers={"Stream-TTL": "7200"})).expect(409)


@CREATION.must("5.1")
async def creating_it_again_with_the_same_ttl_answers_200(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "3600"})
    (await stream.put(headers={"Stream-TTL": "3600"})).expect(200)


@CREATION.must("5.1")
async def creating_it_again_with_a_ttl_where_there_was_none_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    (await stream.put(headers={"Stream-TTL": "3600"})).expect(409)


@CREATION.must("5.1")
async def creating_it_again_without_the_ttl_that_it_has_is_a_conflict(server: Server) -> None:
    stream = await server.create(headers={"Stream-TTL": "3600"})
    (await stream.put()).expect(409)


@CREATION.must("5.1")
async def creating_it_again_with_another_expiry_is_a_conflict(server: Server) -> None:
    stream = await server.create(headers={"Stream-Expires-At": "2099-01-01T00:00:00Z"})
    (await stream.put(headers={"Stream-Expires-At": "2099-01-02T00:00:00Z"})).expect(409)


@CREATION.must("5.1")
async def creating_it_again_with_the_same_expiry_answers_200(server: Server) -> None:
    stream = await server.create(headers={"Stream-Expires-At": "2099-01-01T00:00:00Z"})
    (await stream.put(headers={"Stream-Expires-At": "2099-01-01T00:00:00Z"})).expect(200)


@CREATION.must("5.1")
async def creating_a_closed_stream_again_as_open_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    await stream.close()
    (await stream.put()).expect(409)
    (await stream.head()).expect_closed()


@CREATION.must("5.1")
async def creating_an_open_stream_again_as_closed_is_a_conflict(server: Server) -> None:
    stream = await server.create()
    (await stream.put(headers=CLOSED)).expect(409)
    (await stream.head()).expect_open()


@CREATION.must("5.1")
async def creating_a_closed_stream_again_as_closed_answers_200(server: Server) -> None:
    stream = await server.create(headers=CLOSED)
    (await stream.put(headers=CLOSED)).expect(200).expect_closed()


@CREATION.must("5.1")
async def creating_an_open_stream_as_closed_answers_200_once_it_was_closed(server: Server) -> None:
    stream = await server.create()
    await stream.close()
    (await stream.put(headers=CLOSED)).expect(200).expect_closed()


@CREATION.must("5.1")
async def creating_it_again_with_a_body_appends_nothing(server: Server) -> None:
    stream = await server.create(body=b"first")
    (await stream.put(b"second")).expect(200)
    await stream.expect_content(b"first")


@CREATION.must("5.1")
async def creating_it_again_leaves_its_data_and_tail(server: Server) -> None:
    stream = await server.create()
    tail = (await stream.append(b"data")).next_offset
    expect_equal((await stream.put()).expect(200).next_offset, tail, "Stream-Next-Offset")
    await stream.expect_content(b"data")


@CREATION.should("5.1, RFC 9110 §8.3.1")
async def content_types_are_compared_without_regard_to_case(server: Server) -> None:
    stream = await server.create("text/plain")
    (await stream.put(content_type="Text/PLAIN")).expect(200)


@CREATION.must("5.1")
async def a_new_stream_names_its_content_type(server: Server) -> None:
    (await server.unused(content_type=JSON).put()).expect(201).expect_header("Content-Type", JSON)


@CREATION.must("5.1")
async def an_existing_stream_names_its_content_type(server: Server) -> None:
    stream = await server.create(JSON)
    (await stream.put()).expect(200).expect_header("Content-Type", JSON)


@CREATION.quality("5.1")
async def parameters_of_the_content_type_are_kept(server: Server) -> None:
    stream = await server.create("text/plain; charset=utf-8")
    came = (await stream.head()).value("Content-Type").replace(" ", "").lower()
    expect_equal(came, "text/plain;charset=utf-8", "Content-Type, apart from spaces and case,")


@CREATION.must("5.1")
async def a_new_stream_names_its_tail(server: Server) -> None:
    reply = (await server.unused().put()).expect(201)
    expect_that(reply.next_offset, "a Stream-Next-Offset", reply)


@CREATION.must("5.1")
async def the_tail_of_a_stream_created_with_a_body_is_behind_it(server: Server) -> None:
    stream = server.unused()
    tail = (await stream.put(b"initial")).expect(201).next_offset
    expect_equal(await stream.tail(), tail, "the tail from HEAD")
    (await stream.get(tail)).expect(200).expect_body(b"").expect_up_to_date()


@CREATION.should("5.1")
async def a_new_stream_names_its_location(server: Server) -> None:
    stream = server.unused()
    location = (await stream.put()).expect(201).value("Location")
    expect_equal(urljoin(stream.url, location), stream.url, "Location")


@CREATION.quality("5.1, RFC 9110 §10.2.2")
async def the_location_of_a_unicode_path_leads_to_the_stream(server: Server) -> None:
    stream = server.unused("-caf%C3%A9%20%E2%98%83")
    location = (await stream.put(b"here")).expect(201).value("Location")
    path = urljoin(stream.url, location).removeprefix(server.connection.origin)
    (await server.send("GET", path)).expect(200).expect_body(b"here")


@CREATION.must("5.1")
async def a_body_becomes_the_first_content(server: Server) -> None:
    stream = await server.create(body=b"initial ")
    await stream.append(b"and more")
    await stream.expect_content(b"initial and more")


@CREATION.should("5.2")
async def a_body_of_unknown_length_becomes_the_first_content(server: Server) -> None:
    stream = server.unused()
    (await stream.put(chunks=(b"in ", b"two chunks"))).expect(201)
    await stream.expect_content(b"in two chunks")


@CREATION.must("5.1")
async def the_content_type_may_be_left_out(server: Server) -> None:
    stream = server.unused()
    reply = (await stream.put(content_type=None)).expect(201)
    expect_that("/" in reply.value("Content-Type"), "a content type", reply.value("Content-Type"))


@CREATION.should("5.1")
async def the_default_content_type_is_binary(server: Server) -> None:
    stream = server.unused()
    (await stream.put(content_type=None)).expect(201).expect_header("Content-Type", BINARY)


@CREATION.must("5.1")
async def creating_it_twice_without_a_content_type_answers_200(server: Server) -> None:
    stream = server.unused()
    (await stream.put(content_type=None)).expect(201)
    (await stream.put(content_type=None)).expect(200)


@CREATION.must("5.1")
async def a_stream_can_be_created_closed_and_empty(server: Server) -> None:
    stream = server.unused()
    (await stream.put(headers=CLOSED)).expect(201).expect_closed()
    (await stream.get()).expect(200).expect_body(b"").expect_closed()


@CREATION.must("5.1")
async def a_stream_can_be_created_closed_with_all_its_content(server: Server) -> None:
    stream = server.unused()
    (await stream.put(b"all there is", headers=CLOSED)).expect(201).expect_closed()
    (await stream.get()).expect(200).expect_body(b"all there is").expect_closed()


@CREATION.must("5.1")
async def a_stream_created_closed_takes_no_appends(server: Server) -> None:
    stream = await server.create(body=b"final", headers=CLOSED)
    (await stream.post(b"more")).expect(409).expect_closed()
    await stream.expect_content(b"final")


@CREATION.must("5.1")
async def a_stream_created_open_does_not_say_that_it_is_closed(server: Server) -> None:
    stream = server.unused()
    (await stream.put()).expect(201).expect_open()
    (await stream.put()).expect(200).expect_open()


@CREATION.must("4.1")
async def stream_closed_is_compared_without_regard_to_case(server: Server) -> None:
    (await server.unused().put(headers={"Stream-Closed": "TRUE"})).expect(201).expect_closed()
    (await server.unused().put(headers={"stream-closed": "True"})).expect(201).expect_closed()


async def _create_with_stream_closed(server: Server, value: str) -> None:
    stream = server.unused()
    (await stream.put(headers={"Stream-Closed": value})).expect(201).expect_open()
    (await stream.append(b"still open")).expect_open()


@CREATION.must("4.1")
async def stream_closed_false_creates_an_open_stream(server: Server) -> None:
    await _create_with_stream_closed(server, "false")


@CREATION.must("4.1")
async def stream_closed_yes_creates_an_open_stream(server: Server) -> None:
    await _create_with_stream_closed(server, "yes")


@CREATION.must("4.1")
async def stream_closed_1_creates_an_open_stream(server: Server) -> None:
    await _create_with_stream_closed(server, "1")


@CREATION.must("4.1")
async def an_empty_stream_closed_creates_an_open_stream(server: Server) -> None:
    await _create_with_stream_closed(server, "")


@CREATION.must("5.1")
async def a_refused_creation_leaves_no_stream(server: Server) -> None:
    stream = server.unused()
    (await stream.put(headers={"Stream-TTL": "soon"})).expect(400)
    (await stream.head()).expect(404)


@CREATION.must("9.1.4")
async def a_json_stream_is_not_created_with_a_body_that_is_no_json(server: Server) -> None:
    stream = server.unused(content_type=JSON)
    (await stream.put(b'{"broken": ')).expect(400)
    (await stream.head()).expect(404)


@CREATION.quality("5.1")
async def of_equal_concurrent_creations_one_answers_201(server: Server) -> None:
    replies = await _put_at_once(server.unused(), ["text/plain"] * 8)
    expect_equal(sorted(reply.status for reply in replies), [200] * 7 + [201], "the statuses")


@CREATION.quality("5.1")
async def of_different_concurrent_creations_one_wins(server: Server) -> None:
    stream = server.unused()
    replies = await _put_at_once(stream, [f"text/x-{number}" for number in range(8)])
    expect_equal(sorted(reply.status for reply in replies), [201] + [409] * 7, "the statuses")
    winner = next(reply for reply in replies if reply.status == 201)
    (await stream.head()).expect_header("Content-Type", winner.value("Content-Type"))


@CREATION.quality("5.1")
async def names_that_differ_in_case_are_different_streams(server: Server) -> None:
    lower = await server.create(body=b"lower", name="-name")
    await lower.expect_content(b"lower")
    upper = server.at(lower.path.removesuffix("-name") + "-NAME")
    (await upper.put(b"upper")).expect(201)
    await lower.expect_content(b"lower")


@CREATION.quality("5.1")
async def a_stream_below_another_is_a_stream_of_its_own(server: Server) -> None:
    above = await server.create(body=b"above")
    below = server.at(f"{above.path}/below/it")
    (await below.put(b"below")).expect(201)
    await above.expect_content(b"above")
    await below.expect_content(b"below")


async def _put_at_once(stream: Stream, content_types: list[str]) -> list[Reply]:
    replies: list[Reply] = []

    async def put(content_type: str) -> None:
        replies.append(await stream.put(content_type=content_type))

    async with anyio.create_task_group() as tasks:
        for content_type in content_types:
            tasks.start_soon(put, content_type)
    return replies
