"""Idempotent producers (PROTOCOL §5.2.1)."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Failure, HeaderValue, Reply, expect_equal
from durafold_server.conformance.target import CLOSED, JSON, Server, Stream, producer

PRODUCERS: Final = Topic("producers", "5.2.1", "Idempotent producers")

_MAX_INTEGER: Final = 2**53 - 1
_ATTEMPTS: Final = 60


async def _send(stream: Stream, body: bytes, epoch: int, seq: int, producer_id: HeaderValue = "p") -> Reply:
    return await stream.post(body, headers=producer(producer_id, epoch, seq))


async def _sent(server: Server, *bodies: bytes) -> Stream:
    """A stream with these appends of producer p, epoch 0."""
    stream = await server.create()
    for seq, body in enumerate(bodies):
        (await _send(stream, body, 0, seq)).expect(200)
    return stream


@PRODUCERS.must("5.2.1")
async def the_first_append_answers_200(server: Server) -> None:
    stream = await server.create()
    reply = (await _send(stream, b"data", 0, 0)).expect(200)
    reply.expect_header("Producer-Epoch", "0").expect_header("Producer-Seq", "0")
    expect_equal(await stream.tail(), reply.next_offset, "the tail")
    await stream.expect_content(b"data")


@PRODUCERS.must("5.2.1")
async def consecutive_numbers_are_taken_in_order(server: Server) -> None:
    stream = await server.create()
    for seq in range(5):
        (await _send(stream, b"%d" % seq, 0, seq)).expect(200).expect_header("Producer-Seq", str(seq))
    await stream.expect_content(b"01234")


@PRODUCERS.must("5.2.1")
async def a_duplicate_answers_204_and_is_not_appended(server: Server) -> None:
    stream = await _sent(server, b"once")
    (await _send(stream, b"once", 0, 0)).expect(204)
    await stream.expect_content(b"once")


@PRODUCERS.must("5.2.1")
async def a_duplicate_names_epoch_and_highest_number(server: Server) -> None:
    stream = await _sent(server, b"0", b"1", b"2")
    reply = (await _send(stream, b"1", 0, 1)).expect(204)
    reply.expect_header("Producer-Epoch", "0").expect_header("Producer-Seq", "2")


@PRODUCERS.should("5.2")
async def a_duplicate_names_the_tail(server: Server) -> None:
    stream = await _sent(server, b"0", b"1")
    reply = (await _send(stream, b"0", 0, 0)).expect(204)
    expect_equal(reply.next_offset, await stream.tail(), "Stream-Next-Offset")


@PRODUCERS.must("5.2.1")
async def a_duplicate_with_another_body_is_still_a_duplicate(server: Server) -> None:
    stream = await _sent(server, b"first")
    (await _send(stream, b"second", 0, 0)).expect(204)
    await stream.expect_content(b"first")


@PRODUCERS.must("5.2.1")
async def a_duplicate_does_not_set_the_number_back(server: Server) -> None:
    stream = await _sent(server, b"0", b"1")
    (await _send(stream, b"0", 0, 0)).expect(204)
    (await _send(stream, b"2", 0, 2)).expect(200)
    await stream.expect_content(b"012")


@PRODUCERS.must("5.2.1")
async def a_gap_is_a_conflict_that_names_both_numbers(server: Server) -> None:
    stream = await _sent(server, b"0")
    reply = (await _send(stream, b"x", 0, 3)).expect(409)
    reply.expect_header("Producer-Expected-Seq", "1").expect_header("Producer-Received-Seq", "3")
    await stream.expect_content(b"0")


@PRODUCERS.must("5.2.1")
async def what_was_missing_is_taken_after_a_gap(server: Server) -> None:
    stream = await _sent(server, b"0")
    (await _send(stream, b"x", 0, 2)).expect(409)
    (await _send(stream, b"1", 0, 1)).expect(200)
    (await _send(stream, b"2", 0, 2)).expect(200)
    await stream.expect_content(b"012")


@PRODUCERS.must("5.2.1")
async def an_unknown_producer_begins_at_number_0(server: Server) -> None:
    stream = await server.create()
    (await _send(stream, b"x", 0, 1)).expect(400, 409)
    await stream.expect_content(b"")
    (await _send(stream, b"0", 0, 0)).expect(200)


@PRODUCERS.must("5.2.1")
async def an_unknown_producer_may_begin_with_any_epoch(server: Server) -> None:
    stream = await server.create()
    (await _send(stream, b"data", 7, 0)).expect(200).expect_header("Producer-Epoch", "7")


@PRODUCERS.must("5.2.1")
async def a_higher_epoch_begins_anew(server: Server) -> None:
    stream = await _sent(server, b"a", b"b")
    reply = (await _send(stream, b"c", 1, 0)).expect(200)
    reply.expect_header("Producer-Epoch", "1").expect_header("Producer-Seq", "0")
    (await _send(stream, b"d", 1, 1)).expect(200)
    await stream.expect_content(b"abcd")


@PRODUCERS.must("5.2.1")
async def an_epoch_may_skip_numbers(server: Server) -> None:
    stream = await _sent(server, b"a")
    (await _send(stream, b"b", 100, 0)).expect(200).expect_header("Producer-Epoch", "100")


@PRODUCERS.must("5.2.1")
async def a_higher_epoch_that_does_not_begin_at_0_is_refused(server: Server) -> None:
    stream = await _sent(server, b"a")
    (await _send(stream, b"x", 1, 1)).expect(400)
    await stream.expect_content(b"a")
    (await _send(stream, b"b", 0, 1)).expect(200)


@PRODUCERS.must("5.2.1")
async def a_stale_epoch_is_fenced_with_the_current_one(server: Server) -> None:
    stream = await _sent(server, b"a")
    (await _send(stream, b"b", 3, 0)).expect(200)
    (await _send(stream, b"x", 0, 1)).expect(403).expect_header("Producer-Epoch", "3")
    (await _send(stream, b"x", 2, 0)).expect(403).expect_header("Producer-Epoch", "3")
    await stream.expect_content(b"ab")


@PRODUCERS.must("5.2.1")
async def a_duplicate_of_a_stale_epoch_is_fenced_too(server: Server) -> None:
    stream = await _sent(server, b"a")
    (await _send(stream, b"b", 1, 0)).expect(200)
    (await _send(stream, b"a", 0, 0)).expect(403).expect_header("Producer-Epoch", "1")


@PRODUCERS.must("5.2.1")
async def of_two_processes_with_one_producer_id_the_newer_wins(server: Server) -> None:
    stream = await _sent(server, b"old0,")
    (await _send(stream, b"new0,", 1, 0)).expect(200)
    (await _send(stream, b"old1,", 0, 1)).expect(403)
    (await _send(stream, b"new1,", 1, 1)).expect(200)
    await stream.expect_content(b"old0,new0,new1,")


# Headers


async def _expect_refused(server: Server, *headers: dict[str, HeaderValue]) -> None:
    stream = await server.create()
    for some in headers:
        (await stream.post(b"x", headers=some)).expect(400)
    await stream.expect_content(b"")


@PRODUCERS.must("5.2.1")
async def a_producer_id_alone_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Id": "p"})


@PRODUCERS.must("5.2.1")
async def a_producer_epoch_alone_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Epoch": "0"})


@PRODUCERS.must("5.2.1")
async def a_producer_seq_alone_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Seq": "0"})


@PRODUCERS.must("5.2.1")
async def a_producer_without_an_id_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Epoch": "0", "Producer-Seq": "0"})


@PRODUCERS.must("5.2.1")
async def a_producer_without_an_epoch_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Id": "p", "Producer-Seq": "0"})


@PRODUCERS.must("5.2.1")
async def a_producer_without_a_number_is_refused(server: Server) -> None:
    await _expect_refused(server, {"Producer-Id": "p", "Producer-Epoch": "0"})


@PRODUCERS.must("5.2.1")
async def an_empty_producer_id_is_refused(server: Server) -> None:
    await _expect_refused(server, producer("", 0, 0))


@PRODUCERS.must("5.2.1")
async def numbers_that_are_no_integers_are_refused(server: Server) -> None:
    texts = ("0xyz", "xyz", "1e3", "0.0", "1.5", "0x0", "1_0", "²")
    await _expect_refused(server, *(producer("p", text, 0) for text in texts))
    await _expect_refused(server, *(producer("p", 0, text) for text in texts))


@PRODUCERS.must("5.2.1")
async def negative_numbers_are_refused(server: Server) -> None:
    await _expect_refused(server, producer("p", -1, 0), producer("p", 0, -1))


@PRODUCERS.must("5.2.1")
async def empty_numbers_are_refused(server: Server) -> None:
    await _expect_refused(server, producer("p", "", 0), producer("p", 0, ""))


@PRODUCERS.must("5.2.1")
async def numbers_beyond_2_to_the_53_are_refused(server: Server) -> None:
    await _expect_refused(server, producer("p", _MAX_INTEGER + 1, 0))
    stream = await _sent(server, b"0")
    (await _send(stream, b"x", 0, _MAX_INTEGER + 1)).expect(400)


@PRODUCERS.must("5.2.1")
async def the_largest_epoch_is_taken(server: Server) -> None:
    stream = await server.create()
    reply = (await _send(stream, b"data", _MAX_INTEGER, 0)).expect(200)
    reply.expect_header("Producer-Epoch", str(_MAX_INTEGER))


@PRODUCERS.quality("5.2.1")
async def producer_ids_of_any_text_are_told_apart(server: Server) -> None:
    stream = await server.create()
    ids: list[HeaderValue] = ["p", "P", "p q", "p/q", "p%71", "p:0:0", '"p"', "constructor", "ж", "x" * 200]
    for producer_id in ids:
        (await _send(stream, b"+", 0, 0, producer_id)).expect(200)
    for producer_id in ids:
        (await _send(stream, b"+", 0, 0, producer_id)).expect(204)
    await stream.expect_content(b"+" * len(ids))


# Independence


@PRODUCERS.must("5.2.1")
async def producers_of_a_stream_do_not_disturb_each_other(server: Server) -> None:
    stream = await server.create()
    (await _send(stream, b"a0,", 0, 0, "a")).expect(200)
    (await _send(stream, b"b0,", 5, 0, "b")).expect(200)
    (await _send(stream, b"a1,", 0, 1, "a")).expect(200)
    (await _send(stream, b"b1,", 5, 1, "b")).expect(200)
    (await _send(stream, b"a1,", 0, 1, "a")).expect(204)
    await stream.expect_content(b"a0,b0,a1,b1,")


@PRODUCERS.must("5.2.1")
async def one_producer_has_its_own_state_on_each_stream(server: Server) -> None:
    one = await _sent(server, b"0", b"1")
    other = await server.create()
    (await _send(other, b"x", 0, 2)).expect(400, 409)
    (await _send(other, b"0", 0, 0)).expect(200)
    (await _send(one, b"2", 0, 2)).expect(200)


@PRODUCERS.must("5.2.1")
async def plain_appends_do_not_disturb_a_producer(server: Server) -> None:
    stream = await _sent(server, b"0")
    await stream.append(b"plain")
    (await _send(stream, b"1", 0, 1)).expect(200)
    await stream.expect_content(b"0plain1")


@PRODUCERS.must("5.2.1")
async def a_batch_of_messages_counts_as_one(server: Server) -> None:
    stream = await server.create(JSON)
    (await _send(stream, b"[1,2,3]", 0, 0)).expect(200)
    (await _send(stream, b"[1,2,3]", 0, 0)).expect(204)
    (await _send(stream, b"[4,5]", 0, 1)).expect(200)
    await stream.expect_messages([1, 2, 3, 4, 5])


# With Stream-Seq


@PRODUCERS.must("5.2.1")
async def stream_seq_is_checked_for_producers_too(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"0", headers={**producer("p", 0, 0), "Stream-Seq": "b"})).expect(200)
    (await stream.post(b"x", headers={**producer("p", 0, 1), "Stream-Seq": "a"})).expect(409)
    (await stream.post(b"1", headers={**producer("p", 0, 1), "Stream-Seq": "c"})).expect(200)
    await stream.expect_content(b"01")


@PRODUCERS.must("5.2.1")
async def a_duplicate_is_recognised_before_its_stream_seq_is_compared(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"0", headers={**producer("p", 0, 0), "Stream-Seq": "a"})).expect(200)
    (await stream.post(b"0", headers={**producer("p", 0, 0), "Stream-Seq": "a"})).expect(204)
    await stream.expect_content(b"0")


# Refused appends


@PRODUCERS.must("5.2")
async def a_producer_on_an_unknown_stream_gets_404(server: Server) -> None:
    (await _send(server.unused(), b"data", 0, 0)).expect(404)


@PRODUCERS.must("5.2")
async def a_producer_with_another_content_type_gets_409_and_may_try_again(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"{}", headers=producer("p", 0, 0), content_type=JSON)).expect(409)
    (await _send(stream, b"0", 0, 0)).expect(200)
    await stream.expect_content(b"0")


@PRODUCERS.must("5.2")
async def a_producer_with_an_empty_body_gets_400_and_may_try_again(server: Server) -> None:
    stream = await server.create()
    (await _send(stream, b"", 0, 0)).expect(400)
    (await _send(stream, b"0", 0, 0)).expect(200)
    await stream.expect_content(b"0")


@PRODUCERS.must("9.1.4")
async def a_producer_with_invalid_json_gets_400_and_may_try_again(server: Server) -> None:
    stream = await server.create(JSON)
    (await _send(stream, b"{broken", 0, 0)).expect(400)
    (await _send(stream, b'{"whole":1}', 0, 0)).expect(200)
    await stream.expect_messages([{"whole": 1}])


@PRODUCERS.must("9.1.3")
async def a_producer_with_an_empty_array_gets_400_and_may_try_again(server: Server) -> None:
    stream = await server.create(JSON)
    (await _send(stream, b"[]", 0, 0)).expect(400)
    (await _send(stream, b"[1]", 0, 0)).expect(200)
    await stream.expect_messages([1])


# Concurrency


@PRODUCERS.must("5.2.1")
async def of_concurrent_equal_appends_exactly_one_is_kept(server: Server) -> None:
    stream = await server.create()
    replies: list[Reply] = []

    async def send() -> None:
        replies.append(await _send(stream, b"once", 0, 0))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(send)
    expect_equal(sorted(reply.status for reply in replies), [200] + [204] * 9, "the statuses")
    await stream.expect_content(b"once")


@PRODUCERS.must("5.2.1")
async def of_concurrent_claims_of_an_epoch_exactly_one_is_kept(server: Server) -> None:
    stream = await _sent(server, b"old,")
    replies: list[Reply] = []

    async def claim(number: int) -> None:
        replies.append(await _send(stream, b"%d," % number, 1, 0))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(claim, number)
    expect_equal(sorted(reply.status for reply in replies), [200] + [204] * 5, "the statuses")
    expect_equal((await stream.read()).count(b","), 2, "the number of records")


@PRODUCERS.must("5.2.1")
async def pipelined_appends_end_up_once_and_in_order(server: Server) -> None:
    stream = await server.create()
    await _pipeline(stream, "p", 12)
    await stream.expect_content(b"".join(b"<p:%d>" % seq for seq in range(12)))


@PRODUCERS.must("5.2.1")
async def concurrent_producers_that_repeat_themselves_write_exactly_once(server: Server) -> None:
    stream = await server.create()
    names = [f"p{number}" for number in range(5)]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(_pipeline, stream, name, 6)
            tasks.start_soon(_pipeline, stream, name, 6)
    records = (await stream.read()).replace(b"><", b"> <").split()
    expected = [b"<%s:%d>" % (name.encode(), seq) for name in names for seq in range(6)]
    expect_equal(Counter(records), Counter(expected), "the records")
    for name in names:
        own = [record for record in records if record.startswith(b"<%s:" % name.encode())]
        expect_equal(own, sorted(own), f"the order of what {name} wrote")


async def _pipeline(stream: Stream, name: str, count: int) -> None:
    """Send numbers 0 to `count` at once, each again as long as it leaves a gap."""

    async def send(seq: int) -> None:
        for attempt in range(_ATTEMPTS):
            reply = (await _send(stream, b"<%s:%d>" % (name.encode(), seq), 0, seq, name)).expect(
                200, 204, 409
            )
            if reply.status != 409:
                return
            await anyio.sleep(0.01 * min(attempt + 1, 10))
        raise Failure(f"number {seq} to be taken once those before it were", f"409, {_ATTEMPTS} times")

    async with anyio.create_task_group() as tasks:
        for seq in reversed(range(count)):
            tasks.start_soon(send, seq)


# Closing


@PRODUCERS.must("5.2.1")
async def a_producer_appends_and_closes_in_one_step(server: Server) -> None:
    stream = await _sent(server, b"0")
    reply = (await stream.post(b"1", headers={**producer("p", 0, 1), **CLOSED})).expect(200).expect_closed()
    reply.expect_header("Producer-Epoch", "0").expect_header("Producer-Seq", "1")
    (await stream.get()).expect_body(b"01").expect_closed()


@PRODUCERS.must("5.2.1")
async def a_producer_that_repeats_its_closing_append_gets_204(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"end", headers={**producer("p", 0, 0), **CLOSED})).expect(200)
    (await stream.post(b"end", headers={**producer("p", 0, 0), **CLOSED})).expect(204).expect_closed()
    (await stream.post(b"another", headers={**producer("p", 0, 0), **CLOSED})).expect(204).expect_closed()
    await stream.expect_content(b"end")


@PRODUCERS.must("5.2.1")
async def a_producer_closes_without_data(server: Server) -> None:
    stream = await _sent(server, b"0")
    reply = (await stream.post(headers={**producer("p", 0, 1), **CLOSED})).expect(204).expect_closed()
    reply.expect_header("Producer-Epoch", "0").expect_header("Producer-Seq", "1")
    await stream.expect_content(b"0")


@PRODUCERS.should("5.2.1")
async def a_producer_that_repeats_its_close_gets_204(server: Server) -> None:
    stream = await server.create()
    (await stream.post(headers={**producer("p", 0, 0), **CLOSED})).expect(204)
    reply = (await stream.post(headers={**producer("p", 0, 0), **CLOSED})).expect(204).expect_closed()
    reply.expect_header("Producer-Epoch", "0").expect_header("Producer-Seq", "0")


async def _closed_by_p(server: Server) -> Stream:
    stream = await _sent(server, b"0")
    (await stream.post(b"1", headers={**producer("p", 0, 1), **CLOSED})).expect(200)
    return stream


@PRODUCERS.must("5.2.1")
async def another_producer_cannot_append_to_a_closed_stream(server: Server) -> None:
    stream = await _closed_by_p(server)
    (await _send(stream, b"x", 0, 0, "q")).expect(409).expect_closed()
    (await stream.post(b"x", headers={**producer("q", 0, 1), **CLOSED})).expect(409).expect_closed()
    await stream.expect_content(b"01")


@PRODUCERS.must("5.2.1")
async def the_next_number_cannot_be_appended_to_a_closed_stream(server: Server) -> None:
    stream = await _closed_by_p(server)
    (await _send(stream, b"x", 0, 2)).expect(409).expect_closed()
    await stream.expect_content(b"01")


@PRODUCERS.must("5.2.1")
async def a_stale_epoch_is_refused_by_a_closed_stream(server: Server) -> None:
    stream = await server.create()
    (await stream.post(b"end", headers={**producer("p", 2, 0), **CLOSED})).expect(200)
    (await _send(stream, b"x", 1, 0)).expect(403, 409)
    await stream.expect_content(b"end")


@PRODUCERS.must("5.2.1")
async def a_close_that_leaves_a_gap_leaves_the_stream_open(server: Server) -> None:
    stream = await _sent(server, b"0")
    (await stream.post(b"x", headers={**producer("p", 0, 5), **CLOSED})).expect(409).expect_open()
    (await stream.head()).expect_open()
    (await _send(stream, b"1", 0, 1)).expect(200)


@PRODUCERS.must("5.2.1")
async def a_close_of_a_stale_epoch_leaves_the_stream_open(server: Server) -> None:
    stream = await server.create()
    (await _send(stream, b"0", 1, 0)).expect(200)
    (await stream.post(headers={**producer("p", 0, 0), **CLOSED})).expect(403)
    (await stream.head()).expect_open()


@PRODUCERS.must("5.2.1")
async def of_concurrent_equal_closing_appends_exactly_one_is_kept(server: Server) -> None:
    stream = await server.create()
    replies: list[Reply] = []

    async def send() -> None:
        replies.append(await stream.post(b"end", headers={**producer("p", 0, 0), **CLOSED}))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(send)
    expect_equal(sorted(reply.status for reply in replies), [200] + [204] * 7, "the statuses")
    await stream.expect_content(b"end")
