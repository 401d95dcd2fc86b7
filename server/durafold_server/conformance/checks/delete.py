"""DELETE (PROTOCOL §5.4). Soft deletion is checked with forks."""

from __future__ import annotations

from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import JSON, Server, producer

DELETE: Final = Topic("delete", "5.4", "Delete a stream")


@DELETE.must("5.4")
async def a_delete_answers_204(server: Server) -> None:
    stream = await server.create(body=b"data")
    (await stream.delete()).expect(204).expect_body(b"")


@DELETE.must("5.4")
async def deleting_an_unknown_stream_answers_404(server: Server) -> None:
    (await server.unused().delete()).expect(404)


@DELETE.must("5.4")
async def deleting_a_stream_twice_answers_404(server: Server) -> None:
    stream = await server.create()
    (await stream.delete()).expect(204)
    (await stream.delete()).expect(404)


@DELETE.must("5.4")
async def a_closed_stream_can_be_deleted(server: Server) -> None:
    stream = await server.create(body=b"data")
    await stream.close()
    (await stream.delete()).expect(204)
    (await stream.get()).expect(404)


@DELETE.must("5.4")
async def every_operation_on_a_deleted_stream_answers_404(server: Server) -> None:
    stream = await server.create(body=b"data")
    tail = await stream.tail()
    (await stream.delete()).expect(204)
    (await stream.get()).expect(404)
    (await stream.get(tail)).expect(404)
    (await stream.get("now")).expect(404)
    (await stream.head()).expect(404)
    (await stream.post(b"more")).expect(404)
    (await stream.poll("-1")).expect(404)
    (await stream.sse("-1")).expect(404)


@DELETE.must("5.4")
async def a_stream_created_anew_begins_empty(server: Server) -> None:
    stream = await server.create(body=b"old")
    await stream.append(b"old")
    (await stream.delete()).expect(204)
    (await stream.put()).expect(201)
    await stream.expect_content(b"")
    await stream.append(b"new")
    await stream.expect_content(b"new")


@DELETE.must("5.4")
async def a_stream_may_be_created_anew_with_another_configuration(server: Server) -> None:
    stream = await server.create("text/plain", b"old")
    await stream.close()
    (await stream.delete()).expect(204)
    (await stream.put(b"[1]", content_type=JSON)).expect(201).expect_open()
    (await stream.head()).expect_header("Content-Type", JSON).expect_open()
    await stream.expect_messages([1])


@DELETE.must("5.4")
async def what_producers_wrote_is_forgotten_with_the_stream(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"old", headers=producer("p", 4, 0))).expect(200)
    (await stream.delete()).expect(204)
    (await stream.put()).expect(201)
    (await stream.post(b"new", headers=producer("p", 0, 0))).expect(200)
    await stream.expect_content(b"new")


@DELETE.must("5.4")
async def stream_seq_is_forgotten_with_the_stream(server: Server) -> None:
    stream = await server.create()
    await stream.append(b"old", {"Stream-Seq": "9"})
    (await stream.delete()).expect(204)
    (await stream.put()).expect(201)
    (await stream.post(b"new", headers={"Stream-Seq": "1"})).expect(204)


@DELETE.quality("5.4")
async def of_concurrent_deletes_one_answers_204(server: Server) -> None:
    stream = await server.create(body=b"data")
    replies: list[Reply] = []

    async def delete() -> None:
        replies.append(await stream.delete())

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(delete)
    expect_equal(sorted(reply.status for reply in replies), [204] + [404] * 5, "the statuses")


@DELETE.quality("5.4")
async def streams_below_a_deleted_one_stay(server: Server) -> None:
    above = await server.create(body=b"above")
    below = server.at(f"{above.path}/below")
    (await below.put(b"below")).expect(201)
    (await above.delete()).expect(204)
    await below.expect_content(b"below")


@DELETE.quality("5.4")
async def appends_that_race_a_delete_are_taken_or_get_404(server: Server) -> None:
    stream = await server.create()

    async def write() -> None:
        for _ in range(6):
            (await stream.post(b"data")).expect(204, 404)

    async def delete() -> None:
        await anyio.sleep(0.01)
        (await stream.delete()).expect(204)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(write)
        tasks.start_soon(delete)
    (await stream.head()).expect(404)


@DELETE.quality("5.4")
async def a_waiting_long_poll_learns_of_the_delete(server: Server) -> None:
    stream = await server.create(body=b"data")
    reply = await stream.poll_while(await stream.tail(), stream.delete)
    reply.expect(404, 410)


@DELETE.quality("5.4")
async def a_waiting_long_poll_gets_no_data_of_a_stream_created_anew(server: Server) -> None:
    stream = await server.create(body=b"old data")

    async def replace() -> None:
        (await stream.delete()).expect(204)
        (await stream.put(b"something else that is longer")).expect(201)

    reply = await stream.poll_while(await stream.tail(), replace)
    expect_that(reply.status != 200 or not reply.body, "no data of the new stream", reply)


@DELETE.quality("5.4")
async def an_sse_connection_ends_with_the_stream(server: Server) -> None:
    stream = await server.create(body=b"data")
    async with stream.events() as events:
        await events.to_tail()
        (await stream.delete()).expect(204)
        await events.expect_end()


@DELETE.quality("5.4")
async def an_sse_connection_gets_no_data_of_a_stream_created_anew(server: Server) -> None:
    stream = await server.create(body=b"old")
    async with stream.events() as events:
        await events.to_tail()
        (await stream.delete()).expect(204)
        (await stream.put(b"something else")).expect(201)
        await stream.append(b"and more")
        await events.expect_end()
