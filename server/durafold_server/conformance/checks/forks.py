"""Forks (PROTOCOL §4.2): creation, reading, live reads, deletion, and lifetimes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.events import bytes_of, expect_text, messages_of
from durafold_server.conformance.exchange import Headers, Reply, expect_equal
from durafold_server.conformance.target import BINARY, CLOSED, JSON, Server, Stream, producer
from durafold_server.conformance.timing import Stopwatch, expect_alive, expiring_soon

FORKS: Final = Topic("forks", "4.2", "Forks")

_GIVE_UP_S: Final = 5.0


def _at(offset: str, sub_offset: int | str | None = None) -> dict[str, str]:
    beyond = {} if sub_offset is None else {"Stream-Fork-Sub-Offset": str(sub_offset)}
    return {"Stream-Fork-Offset": offset, **beyond}


def _typed(offset: str, sub_offset: int | None = None) -> dict[str, str]:
    return {**_at(offset, sub_offset), "Content-Type": "text/plain"}


async def _source(
    server: Server, *parts: bytes, content_type: str = "text/plain"
) -> tuple[Stream, list[str]]:
    """A stream with these appends, and its offsets from its start on."""
    stream = server.unused(content_type=content_type)
    offsets = [(await stream.put()).expect(201).next_offset]
    offsets += [(await stream.append(part)).next_offset for part in parts]
    return stream, offsets


async def _eventually(ask: Callable[[], Awaitable[Reply]], status: int) -> None:
    """Expect a status within some seconds: the clean-up after the last fork may take its time."""
    reply = await ask()
    with anyio.move_on_after(_GIVE_UP_S):
        while reply.status != status:
            await anyio.sleep(0.05)
            reply = await ask()
    reply.expect(status)


# Creation


@FORKS.must("4.2")
async def a_fork_begins_with_the_data_of_its_source(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two")
    fork = server.unused()
    reply = (
        (await fork.put_fork(source)).expect(201).expect_header("Content-Type", "text/plain").expect_open()
    )
    expect_equal(reply.next_offset, offsets[-1], "Stream-Next-Offset")
    await fork.expect_content(b"one two")


@FORKS.must("4.2")
async def a_fork_at_an_offset_begins_with_the_data_before_it(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ", b"three")
    fork = await server.fork(source, _at(offsets[2]))
    await fork.expect_content(b"one two ")
    expect_equal(await fork.tail(), offsets[2], "the fork's tail")


@FORKS.must("4.2")
async def a_fork_at_each_offset_begins_with_the_data_before_it(server: Server) -> None:
    parts = [b"a", b"bb", b"ccc", b"dddd", b"eeeee"]
    source, offsets = await _source(server, *parts)
    for number, offset in enumerate(offsets):
        await (await server.fork(source, _at(offset))).expect_content(b"".join(parts[:number]))


@FORKS.must("4.2")
async def a_fork_at_the_start_is_empty(server: Server) -> None:
    source, offsets = await _source(server, b"data")
    fork = await server.fork(source, _at(offsets[0]))
    await fork.expect_content(b"")
    await fork.append(b"own")
    await fork.expect_content(b"own")


@FORKS.must("4.2")
async def an_empty_stream_can_be_forked(server: Server) -> None:
    fork = await server.fork(await server.create())
    await fork.expect_content(b"")
    await fork.append(b"own")
    await fork.expect_content(b"own")


@FORKS.must("4.2")
async def a_fork_may_begin_with_a_body_behind_what_it_inherits(server: Server) -> None:
    source, _ = await _source(server, b"inherited ")
    fork = await server.fork(source, body=b"own", headers={"Content-Type": "text/plain"})
    await fork.expect_content(b"inherited own")
    await source.expect_content(b"inherited ")


@FORKS.must("4.2")
async def a_fork_inherits_the_content_type(server: Server) -> None:
    source, _ = await _source(server, b"{}", content_type=JSON)
    fork = await server.fork(source)
    (await fork.head()).expect_header("Content-Type", JSON)


@FORKS.must("4.2")
async def a_fork_may_name_the_content_type_of_its_source(server: Server) -> None:
    source, _ = await _source(server, b"data")
    await server.fork(source, {"Content-Type": "text/plain"})


@FORKS.must("4.2")
async def a_fork_with_another_content_type_is_a_conflict(server: Server) -> None:
    source, _ = await _source(server, b"data")
    fork = server.unused()
    (await fork.put_fork(source, {"Content-Type": JSON})).expect(409)
    (await fork.head()).expect(404)


@FORKS.must("4.2")
async def a_fork_of_an_unknown_stream_answers_404(server: Server) -> None:
    fork = server.unused()
    (await fork.put_fork(server.unused())).expect(404)
    (await fork.head()).expect(404)


@FORKS.must("4.2")
async def a_fork_offset_beyond_the_tail_is_refused(server: Server) -> None:
    source, _ = await _source(server, b"data")
    # A fork shares the offsets of its source, so its tail is one that the source has not reached.
    beyond = (await (await server.fork(source)).append(b"more")).next_offset
    fork = server.unused()
    (await fork.put_fork(source, _at(beyond))).expect(400)
    (await fork.head()).expect(404)


@FORKS.must("4.2")
async def a_malformed_fork_offset_is_refused(server: Server) -> None:
    source, _ = await _source(server, b"data")
    for offset in ("0,1", "a b", "a&b", "a/b"):
        (await server.unused().put_fork(source, _at(offset))).expect(400)


@FORKS.quality("4.2")
async def fork_headers_without_a_source_are_refused(server: Server) -> None:
    stream = await server.create(body=b"data")
    for headers in (
        _at(await stream.tail()),
        {"Stream-Fork-Sub-Offset": "0"},
        {"Stream-Fork-Sub-Offset": "1"},
    ):
        (await server.unused().put(headers=headers)).expect(400)


@FORKS.must("4.2")
async def creating_a_fork_again_answers_200(server: Server) -> None:
    source, offsets = await _source(server, b"one", b"two")
    fork = await server.fork(source, _typed(offsets[1]))
    (await fork.put_fork(source, _typed(offsets[1]))).expect(200)
    await fork.expect_content(b"one")


@FORKS.must("4.2")
async def creating_a_fork_again_without_a_content_type_answers_200(server: Server) -> None:
    source, offsets = await _source(server, b"one", b"two")
    fork = await server.fork(source, _at(offsets[1]))
    (await fork.put_fork(source, _at(offsets[1]))).expect(200)
    await fork.expect_content(b"one")


@FORKS.must("4.2")
async def creating_a_fork_again_at_another_offset_is_a_conflict(server: Server) -> None:
    source, offsets = await _source(server, b"one", b"two")
    fork = await server.fork(source, _typed(offsets[1]))
    (await fork.put_fork(source, _typed(offsets[2]))).expect(409)
    await fork.expect_content(b"one")


@FORKS.must("4.2")
async def creating_a_fork_again_from_another_source_is_a_conflict(server: Server) -> None:
    source, offsets = await _source(server, b"one")
    other, other_offsets = await _source(server, b"one")
    fork = await server.fork(source, _typed(offsets[1]))
    (await fork.put_fork(other, _typed(other_offsets[1]))).expect(409)


@FORKS.must("4.2")
async def a_fork_where_a_plain_stream_exists_is_a_conflict(server: Server) -> None:
    source, offsets = await _source(server, b"one")
    taken = await server.create(body=b"kept")
    (await taken.put_fork(source, _at(offsets[1]))).expect(409)
    await taken.expect_content(b"kept")


@FORKS.must("4.2")
async def a_fork_of_a_closed_stream_is_open(server: Server) -> None:
    source = await server.create(body=b"final", headers=CLOSED)
    fork = server.unused()
    (await fork.put_fork(source)).expect(201).expect_open()
    (await fork.head()).expect_open()
    await fork.append(b" and on")
    await fork.expect_content(b"final and on")
    (await source.head()).expect_closed()


@FORKS.quality("4.2")
async def a_fork_can_be_created_closed(server: Server) -> None:
    source, _ = await _source(server, b"data")
    fork = await server.fork(source, CLOSED)
    (await fork.get()).expect(200).expect_body(b"data").expect_closed()
    (await source.head()).expect_open()


@FORKS.quality("4.2")
async def many_forks_of_a_stream_go_their_own_ways(server: Server) -> None:
    source, _ = await _source(server, b"shared ")
    forks = [await server.fork(source) for _ in range(10)]
    for number, fork in enumerate(forks):
        await fork.append(b"%d" % number)
    for number, fork in enumerate(forks):
        await fork.expect_content(b"shared %d" % number)


@FORKS.quality("4.2")
async def a_stream_with_a_unicode_path_can_be_forked(server: Server) -> None:
    source = await server.create(body=b"data", name="-caf%C3%A9%20%2F")
    await (await server.fork(source)).expect_content(b"data")


@FORKS.must("4.2")
async def forks_are_streams_like_others(server: Server) -> None:
    source, _ = await _source(server, b"data")
    fork = server.unused()
    for reply in ((await fork.put_fork(source)).expect(201), await fork.head(), await fork.get()):
        for name in ("Stream-Forked-From", "Stream-Fork-Offset", "Stream-Fork-Sub-Offset"):
            reply.expect_no_header(name)


# Sub-offsets


@FORKS.must("4.2")
async def a_sub_offset_of_bytes_divides_an_append(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    fork = await server.fork(source, _at(offsets[0], 4))
    await fork.expect_content(b"0123")
    await fork.append(b"own")
    await fork.expect_content(b"0123own")


@FORKS.must("4.2")
async def a_sub_offset_counts_from_the_fork_offset(server: Server) -> None:
    source, offsets = await _source(server, b"first ", b"second", content_type=BINARY)
    fork = await server.fork(source, _at(offsets[1], 3))
    await fork.expect_content(b"first sec")


@FORKS.must("4.2")
async def a_sub_offset_of_messages_divides_a_batch(server: Server) -> None:
    source, offsets = await _source(server, b"[1]", b'[{"a":2},[3],4]', content_type=JSON)
    fork = await server.fork(source, _at(offsets[1], 2))
    await fork.expect_messages([1, {"a": 2}, [3]])
    await fork.append(b'"own"')
    await fork.expect_messages([1, {"a": 2}, [3], "own"])


@FORKS.must("4.2")
async def a_sub_offset_may_reach_to_the_end_of_an_append(server: Server) -> None:
    text, text_offsets = await _source(server, b"data")
    await (await server.fork(text, _at(text_offsets[0], 4))).expect_content(b"data")
    messages, offsets = await _source(server, b"[1,2]", content_type=JSON)
    await (await server.fork(messages, _at(offsets[0], 2))).expect_messages([1, 2])


@FORKS.must("4.2")
async def a_sub_offset_of_0_is_the_same_as_none(server: Server) -> None:
    source, offsets = await _source(server, b"one", b"two")
    fork = await server.fork(source, _typed(offsets[1], 0))
    (await fork.put_fork(source, _typed(offsets[1]))).expect(200)
    await fork.expect_content(b"one")


@FORKS.must("4.2")
async def a_sub_offset_beyond_the_data_is_refused(server: Server) -> None:
    text, text_offsets = await _source(server, b"data")
    (await server.unused().put_fork(text, _at(text_offsets[0], 5))).expect(400)
    (await server.unused().put_fork(text, _at(text_offsets[1], 1))).expect(400)
    messages, offsets = await _source(server, b"[1,2]", content_type=JSON)
    (await server.unused().put_fork(messages, _at(offsets[0], 3))).expect(400)


@FORKS.must("4.2")
async def a_sub_offset_on_an_empty_stream_is_refused(server: Server) -> None:
    source, offsets = await _source(server)
    (await server.unused().put_fork(source, _at(offsets[0], 1))).expect(400)


@FORKS.must("4.2")
async def a_malformed_sub_offset_is_refused(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    for sub_offset in ("-1", "abc", "1.5", "05", "+1", "1e1", "0x1", "1_0", "²"):
        (await server.unused().put_fork(source, _at(offsets[0], sub_offset))).expect(400)


@FORKS.must("4.2")
async def a_sub_offset_without_a_fork_offset_is_refused(server: Server) -> None:
    source, _ = await _source(server, b"0123456789")
    (await server.unused().put_fork(source, {"Stream-Fork-Sub-Offset": "3"})).expect(400)


@FORKS.must("4.2")
async def a_fork_is_confirmed_only_with_the_same_sub_offset(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    fork = await server.fork(source, _typed(offsets[0], 4))
    (await fork.put_fork(source, _typed(offsets[0], 4))).expect(200)
    (await fork.put_fork(source, _typed(offsets[0], 5))).expect(409)
    (await fork.put_fork(source, _typed(offsets[0]))).expect(409)


@FORKS.must("4.2")
async def a_body_follows_the_inherited_part_of_an_append(server: Server) -> None:
    source, offsets = await _source(server, b"[1,2,3]", content_type=JSON)
    fork = await server.fork(source, {**_at(offsets[0], 2), "Content-Type": JSON}, b'["own"]')
    await fork.expect_messages([1, 2, "own"])


@FORKS.must("4.2")
async def the_tail_of_a_fork_inside_an_append_can_be_read_from(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    fork = server.unused()
    tail = (await fork.put_fork(source, _at(offsets[0], 4))).expect(201).next_offset
    (await fork.get(tail)).expect(200).expect_body(b"").expect_up_to_date()
    await fork.append(b"own")
    (await fork.get(tail)).expect(200).expect_body(b"own")


@FORKS.must("4.2")
async def a_closed_stream_can_be_forked_inside_an_append(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    await source.close()
    await (await server.fork(source, _at(offsets[0], 4))).expect_content(b"0123")


@FORKS.must("4.2")
async def sub_offsets_add_up_over_forks_of_forks(server: Server) -> None:
    source, offsets = await _source(server, b"0123456789")
    middle = await server.fork(source, _at(offsets[0], 6))
    await middle.append(b"abc")
    last = await server.fork(middle, _at(offsets[0], 3))
    await last.append(b"xyz")
    await last.expect_content(b"012xyz")
    await middle.expect_content(b"012345abc")


# Reading and writing


@FORKS.must("8")
async def a_fork_has_the_offsets_of_its_source(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ", b"three ")
    fork = await server.fork(source)
    await fork.append(b"own")
    (await fork.get(offsets[1])).expect(200).expect_body(b"two three own")
    (await fork.get(offsets[3])).expect(200).expect_body(b"own")


@FORKS.must("8")
async def the_offsets_of_a_fork_grow_across_its_beginning(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ")
    fork = await server.fork(source, _at(offsets[1]))
    own = [(await fork.append(b"x" * size)).next_offset for size in (1, 10, 100)]
    expect_equal([offsets[1], *own], sorted({offsets[1], *own}), "the fork's offsets")


@FORKS.must("4.2")
async def a_fork_does_not_show_what_its_source_gets_later(server: Server) -> None:
    source, _ = await _source(server, b"shared ")
    fork = await server.fork(source)
    await source.append(b"source only")
    await fork.append(b"fork only")
    await fork.expect_content(b"shared fork only")
    await source.expect_content(b"shared source only")


@FORKS.must("4.2")
async def a_fork_behind_the_tail_does_not_show_what_follows_there(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ", b"three ")
    fork = await server.fork(source, _at(offsets[1]))
    await fork.append(b"own")
    await fork.expect_content(b"one own")
    (await fork.get(offsets[1])).expect(200).expect_body(b"own")


@FORKS.must("9.1")
async def a_read_across_the_beginning_of_a_json_fork_is_one_array(server: Server) -> None:
    source, offsets = await _source(server, b'[{"a":1}]', b"[2]", content_type=JSON)
    fork = await server.fork(source)
    await fork.append(b"[[3]]")
    (await fork.get()).expect(200).expect_json([{"a": 1}, 2, [3]])
    (await fork.get(offsets[1])).expect(200).expect_json([2, [3]])


@FORKS.must("4.2")
async def a_fork_is_closed_by_itself(server: Server) -> None:
    source, _ = await _source(server, b"shared")
    fork = await server.fork(source)
    await fork.close()
    (await source.head()).expect_open()
    (await source.append(b" on")).expect_open()
    (await fork.get()).expect_body(b"shared").expect_closed()


@FORKS.must("4.2")
async def closing_the_source_leaves_a_fork_open(server: Server) -> None:
    source, _ = await _source(server, b"shared")
    fork = await server.fork(source)
    await source.close()
    (await fork.get()).expect(200).expect_body(b"shared").expect_open()
    await fork.append(b" on")
    await fork.expect_content(b"shared on")


@FORKS.must("4.2")
async def a_fork_does_not_inherit_producers(server: Server) -> None:
    source = await server.create()
    (await source.post(b"0", headers=producer("p", 3, 0))).expect(200)
    fork = await server.fork(source)
    (await fork.post(b"fork", headers=producer("p", 0, 0))).expect(200)
    await fork.expect_content(b"0fork")
    (await source.post(b"1", headers=producer("p", 3, 1))).expect(200)


@FORKS.must("4.2")
async def a_fork_inside_an_append_does_not_inherit_producers(server: Server) -> None:
    source = server.unused(content_type=JSON)
    start = (await source.put()).expect(201).next_offset
    (await source.post(b"[1,2,3]", headers=producer("p", 0, 0))).expect(200)
    fork = await server.fork(source, _at(start, 2))
    (await fork.post(b"[9]", headers=producer("p", 0, 0))).expect(200)
    await fork.expect_messages([1, 2, 9])


@FORKS.must("4.2")
async def a_fork_does_not_inherit_stream_seq(server: Server) -> None:
    source = await server.create()
    await source.append(b"0", {"Stream-Seq": "9"})
    fork = await server.fork(source)
    (await fork.post(b"1", headers={"Stream-Seq": "1"})).expect(204)


@FORKS.must("5.2.1")
async def producers_work_on_a_fork(server: Server) -> None:
    source, _ = await _source(server, b"shared ")
    fork = await server.fork(source)
    (await fork.post(b"0", headers=producer("p", 0, 0))).expect(200)
    (await fork.post(b"0", headers=producer("p", 0, 0))).expect(204)
    (await fork.post(b"1", headers=producer("p", 0, 1))).expect(200)
    await fork.expect_content(b"shared 01")


@FORKS.must("4.2")
async def forks_of_forks_keep_to_their_own(server: Server) -> None:
    first, offsets = await _source(server, b"1a ", b"1b ")
    second = await server.fork(first, _at(offsets[1]))
    await second.append(b"2 ")
    third = await server.fork(second)
    await third.append(b"3")
    await first.append(b"1c")
    await second.append(b"2b")
    await first.expect_content(b"1a 1b 1c")
    await second.expect_content(b"1a 2 2b")
    await third.expect_content(b"1a 2 3")


@FORKS.must("4.2")
async def a_fork_of_a_fork_may_branch_off_inside_what_that_inherits(server: Server) -> None:
    first, offsets = await _source(server, b"a ", b"b ", b"c ")
    second = await server.fork(first)
    await second.append(b"d ")
    third = await server.fork(second, _at(offsets[1]))
    await third.append(b"own")
    await third.expect_content(b"a own")


# Live reads


@FORKS.must("5.7")
async def a_long_poll_gives_inherited_data_at_once(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two")
    fork = await server.fork(source)
    (await fork.poll(offsets[1])).expect(200).expect_body(b"two").expect_up_to_date()


@FORKS.must("5.7")
async def a_long_poll_at_the_tail_of_a_fork_waits_for_its_own_appends_only(server: Server) -> None:
    source, offsets = await _source(server, b"shared ")
    fork = await server.fork(source)

    async def append_to_both() -> None:
        await source.append(b"source only")
        await anyio.sleep(0.15)
        await fork.append(b"own")

    reply = await fork.poll_while(offsets[-1], append_to_both)
    reply.expect(200).expect_body(b"own")


@FORKS.must("5.7")
async def a_long_poll_reader_goes_on_from_inherited_to_own_data(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ")
    fork = await server.fork(source)
    first = (await fork.poll(offsets[1])).expect(200)
    reply = await fork.poll_while(first.next_offset, lambda: fork.append(b"own"))
    expect_equal(first.body + reply.expect(200).body, b"two own", "all that came")


@FORKS.must("5.8")
async def sse_gives_inherited_and_own_data(server: Server) -> None:
    source, offsets = await _source(server, b"one ", b"two ")
    fork = await server.fork(source, _at(offsets[1]))
    await fork.append(b"own ")
    async with fork.events() as events:
        batches = await events.to_tail()
        await source.append(b"source only")
        await fork.append(b"later")
        batches += await events.news()
    expect_text(batches, "one own later")


@FORKS.must("5.8")
async def sse_of_a_json_fork_is_arrays(server: Server) -> None:
    source, offsets = await _source(server, b"[1,2,3]", content_type=JSON)
    fork = await server.fork(source, _at(offsets[0], 2))
    await fork.close(b"[4]")
    async with fork.events() as events:
        expect_equal(messages_of(await events.to_tail()), [1, 2, 4], "the messages")


@FORKS.must("5.8")
async def sse_of_a_binary_fork_is_base64(server: Server) -> None:
    source, offsets = await _source(server, b"\x00\x01\x02", content_type=BINARY)
    fork = await server.fork(source, _at(offsets[0], 2))
    await fork.close(b"\xff")
    async with fork.events() as events:
        expect_equal(bytes_of(await events.to_tail()), b"\x00\x01\xff", "the bytes")


# Deletion


@FORKS.must("4.2")
async def deleting_a_fork_leaves_its_source(server: Server) -> None:
    source, _ = await _source(server, b"data")
    fork = await server.fork(source)
    (await fork.delete()).expect(204)
    (await fork.get()).expect(404)
    await source.expect_content(b"data")
    await source.append(b" on")


@FORKS.must("4.2, 5.4")
async def a_deleted_source_is_gone_but_its_forks_read_on(server: Server) -> None:
    source, _ = await _source(server, b"shared ")
    fork = await server.fork(source)
    (await source.delete()).expect(204)
    await fork.expect_content(b"shared ")
    await fork.append(b"own")
    await fork.expect_content(b"shared own")


async def _soft_deleted(server: Server) -> tuple[Stream, Stream]:
    source, _ = await _source(server, b"data")
    fork = await server.fork(source)
    (await source.delete()).expect(204)
    return source, fork


@FORKS.must("4.2")
async def every_operation_on_a_deleted_source_answers_410(server: Server) -> None:
    source, _ = await _soft_deleted(server)
    (await source.get()).expect(410)
    (await source.head()).expect(410)
    (await source.post(b"more")).expect(410)
    (await source.post(headers=CLOSED)).expect(410)
    (await source.poll("-1")).expect(410)
    (await source.sse("-1")).expect(410)


@FORKS.must("5.4")
async def deleting_a_deleted_source_answers_410(server: Server) -> None:
    source, _ = await _soft_deleted(server)
    (await source.delete()).expect(410)


@FORKS.must("4.2")
async def a_deleted_source_cannot_be_created_anew(server: Server) -> None:
    source, fork = await _soft_deleted(server)
    (await source.put()).expect(409)
    (await source.put(content_type=JSON)).expect(409)
    (await source.put_fork(fork)).expect(409)


@FORKS.must("4.2")
async def a_deleted_source_cannot_be_forked(server: Server) -> None:
    source, _ = await _soft_deleted(server)
    fork = server.unused()
    (await fork.put_fork(source)).expect(409)
    (await fork.head()).expect(404)


@FORKS.must("4.2")
async def a_deleted_source_vanishes_with_its_last_fork(server: Server) -> None:
    source, fork = await _soft_deleted(server)
    (await fork.delete()).expect(204)
    await _eventually(source.head, 404)
    (await source.put(b"anew")).expect(201)
    await source.expect_content(b"anew")


@FORKS.must("4.2")
async def a_deleted_source_stays_while_one_fork_is_left(server: Server) -> None:
    source, _ = await _source(server, b"data")
    one, other = await server.fork(source), await server.fork(source)
    (await source.delete()).expect(204)
    (await one.delete()).expect(204)
    (await source.head()).expect(410)
    await other.expect_content(b"data")
    (await other.delete()).expect(204)
    await _eventually(source.head, 404)


@FORKS.must("4.2")
async def deleted_streams_vanish_along_a_chain_of_forks(server: Server) -> None:
    first, _ = await _source(server, b"1")
    second = await server.fork(first)
    third = await server.fork(second)
    (await first.delete()).expect(204)
    (await second.delete()).expect(204)
    (await second.head()).expect(410)
    await third.expect_content(b"1")
    (await third.delete()).expect(204)
    await _eventually(second.head, 404)
    await _eventually(first.head, 404)


@FORKS.must("4.2")
async def deleting_the_middle_of_a_chain_keeps_both_ends(server: Server) -> None:
    first, _ = await _source(server, b"1 ")
    second = await server.fork(first)
    await second.append(b"2 ")
    third = await server.fork(second)
    await third.append(b"3")
    (await second.delete()).expect(204)
    await first.expect_content(b"1 ")
    await third.expect_content(b"1 2 3")


@FORKS.must("4.2")
async def a_source_that_was_not_deleted_stays_when_all_forks_go(server: Server) -> None:
    source, _ = await _source(server, b"data")
    forks = [await server.fork(source) for _ in range(3)]
    for fork in forks:
        (await fork.delete()).expect(204)
    await source.expect_content(b"data")
    (await source.delete()).expect(204)
    (await source.head()).expect(404)


@FORKS.must("4.2")
async def refused_forks_do_not_keep_a_source(server: Server) -> None:
    source, offsets = await _source(server, b"data")
    (await server.unused().put_fork(source, {"Content-Type": JSON})).expect(409)
    (await server.unused().put_fork(source, _at(offsets[0], 99))).expect(400)
    (await server.unused().put_fork(source, {"Stream-TTL": "-1"})).expect(400)
    (await (await server.create()).put_fork(source)).expect(409)
    (await source.delete()).expect(204)
    await _eventually(source.head, 404)


@FORKS.must("4.2")
async def a_fork_that_is_confirmed_counts_once(server: Server) -> None:
    source, offsets = await _source(server, b"data")
    fork = await server.fork(source, _typed(offsets[1]))
    (await fork.put_fork(source, _typed(offsets[1]))).expect(200)
    (await fork.put_fork(source, _typed(offsets[1]))).expect(200)
    (await source.delete()).expect(204)
    (await fork.delete()).expect(204)
    await _eventually(source.head, 404)


@FORKS.must("5.4")
async def live_readers_of_a_fork_outlive_its_source(server: Server) -> None:
    source, offsets = await _source(server, b"data")
    fork = await server.fork(source)

    async def delete_source_then_append() -> None:
        (await source.delete()).expect(204)
        await fork.append(b"own")

    reply = await fork.poll_while(offsets[-1], delete_source_then_append)
    reply.expect(200).expect_body(b"own")


# Lifetimes


async def _lifetime(stream: Stream) -> tuple[str | None, str | None]:
    reply = (await stream.head()).expect(200)
    return reply.get("Stream-TTL"), (reply.get("Stream-Expires-At") or "")[:19] or None


async def _forked(server: Server, source: Headers, fork: Headers) -> Stream:
    return await server.fork(await server.create(body=b"data", headers=source), fork)


_TTL: Final = {"Stream-TTL": "3600"}
_OTHER_TTL: Final = {"Stream-TTL": "7200"}
_EXPIRY: Final = {"Stream-Expires-At": "2098-01-01T00:00:00Z"}
_OTHER_EXPIRY: Final = {"Stream-Expires-At": "2099-01-01T00:00:00Z"}


@FORKS.must("4.2")
async def a_fork_has_no_lifetime_if_neither_has_one(server: Server) -> None:
    expect_equal(await _lifetime(await _forked(server, {}, {})), (None, None), "TTL and expiry")


@FORKS.must("4.2")
async def a_fork_has_its_own_lifetime_if_its_source_has_none(server: Server) -> None:
    expect_equal(await _lifetime(await _forked(server, {}, _TTL)), ("3600", None), "TTL and expiry")
    expect_equal(
        await _lifetime(await _forked(server, {}, _EXPIRY)), (None, "2098-01-01T00:00:00"), "TTL and expiry"
    )


@FORKS.must("4.2")
async def a_fork_inherits_a_ttl(server: Server) -> None:
    expect_equal(await _lifetime(await _forked(server, _TTL, {})), ("3600", None), "TTL and expiry")


@FORKS.must("4.2")
async def a_fork_inherits_an_expiry(server: Server) -> None:
    expect_equal(
        await _lifetime(await _forked(server, _EXPIRY, {})), (None, "2098-01-01T00:00:00"), "TTL and expiry"
    )


@FORKS.must("4.2")
async def the_lifetime_of_a_fork_takes_the_place_of_its_sources(server: Server) -> None:
    expect_equal(await _lifetime(await _forked(server, _TTL, _OTHER_TTL)), ("7200", None), "TTL and expiry")
    expect_equal(await _lifetime(await _forked(server, _EXPIRY, _TTL)), ("3600", None), "TTL and expiry")
    later = (None, "2099-01-01T00:00:00")
    expect_equal(await _lifetime(await _forked(server, _TTL, _OTHER_EXPIRY)), later, "TTL and expiry")
    expect_equal(await _lifetime(await _forked(server, _EXPIRY, _OTHER_EXPIRY)), later, "TTL and expiry")


@FORKS.must("4.2")
async def a_fork_expires_by_its_own_ttl(server: Server) -> None:
    source = await server.create(body=b"data")
    fork = await server.fork(source, {"Stream-TTL": "1"})
    await anyio.sleep(1.5)
    (await fork.head()).expect(404)
    await source.expect_content(b"data")


@FORKS.must("4.2")
async def a_fork_outlives_its_expired_source(server: Server) -> None:
    source = await server.create(body=b"data", headers={"Stream-TTL": "1"})
    fork = await server.fork(source, {"Stream-TTL": "60"})
    await anyio.sleep(1.5)
    (await source.head()).expect(404, 410)
    await fork.expect_content(b"data")


@FORKS.must("4.2")
async def a_fork_outlives_the_expiry_of_its_source(server: Server) -> None:
    expiry = await expiring_soon(server)
    source = await server.create(body=b"data", headers=expiry)
    fork = await server.fork(source, _OTHER_EXPIRY)
    await anyio.sleep(3.5)
    (await source.head()).expect(404, 410)
    await fork.expect_content(b"data")


@FORKS.must("4.2")
async def an_inherited_ttl_is_renewed_by_itself(server: Server) -> None:
    source = await server.create(body=b"data", headers={"Stream-TTL": "2"})
    fork = await server.fork(source)
    watch = Stopwatch()
    await watch.reach(1.2)
    since_use = Stopwatch()
    await fork.append(b" own")
    await watch.reach(2.4)
    await expect_alive(fork, since_use, 2)
    (await source.head()).expect(404, 410)
    await fork.expect_content(b"data own")


@FORKS.quality("4.2")
async def an_expired_fork_does_not_keep_a_deleted_source(server: Server) -> None:
    source, _ = await _source(server, b"data")
    fork = await server.fork(source, {"Stream-TTL": "1"})
    (await source.delete()).expect(204)
    (await source.head()).expect(410)
    await anyio.sleep(1.5)
    (await fork.get()).expect(404)
    await _eventually(source.head, 404)
