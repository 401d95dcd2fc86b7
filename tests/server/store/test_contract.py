"""What every store promises: each test runs on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from durafold_server.protocol.errors import Conflict
from durafold_server.protocol.model import (
    AppendData,
    Decision,
    Lifetime,
    Loaded,
    Mode,
    Payload,
    ProducerState,
    ReadKey,
    RemoveStream,
    SaveProducer,
    SaveStream,
    StreamState,
)
from durafold_server.store.base import NotABoundary, StreamStore
from support.server_stores import (
    ManualClock,
    add,
    appending,
    look,
    looking,
    make,
    read_all,
    remove,
    removing,
    write,
    written,
)

pytestmark = pytest.mark.anyio

TTL_1: Lifetime = Lifetime(ttl_s=1)


def telling_the_time(found: Sequence[Loaded], now_us: int) -> Decision[int]:
    return Decision((), now_us)


def refusing(found: Sequence[Loaded], now_us: int) -> Decision[None]:
    raise Conflict("no")


# Transactions


async def test_a_stream_that_was_never_made_is_none(store: StreamStore) -> None:
    assert await store.load("s") is None
    assert await look(store, "s", "p") == Loaded(None, None)


async def test_what_was_written_is_visible_on_return(store: StreamStore) -> None:
    made = await make(store)

    after = await add(store, "s", b"abc", ("p", ProducerState(1, 2)))

    assert after == replace(made, tail=3, used_us=after.used_us)
    assert await store.load("s") == after
    assert await look(store, "s", "p") == Loaded(after, ProducerState(1, 2))
    assert await read_all(store, after) == b"abc"


async def test_a_decision_is_shown_its_keys_in_order(store: StreamStore) -> None:
    a, b = await make(store, "a"), await make(store, "b")
    keys = (ReadKey("b"), ReadKey("missing"), ReadKey("a", "p"), ReadKey("b"))

    found = await store.transact(keys, looking)

    assert found == (Loaded(b), Loaded(None), Loaded(a), Loaded(b))


async def test_a_refusal_reaches_the_caller_and_writes_nothing(store: StreamStore) -> None:
    made = await make(store)

    with pytest.raises(Conflict, match="no"):
        await store.transact((ReadKey("s"),), refusing)

    assert await store.load("s") == made


async def test_a_decision_may_raise_anything(store: StreamStore) -> None:
    with pytest.raises(ZeroDivisionError):
        await store.transact((), lambda found, now_us: Decision((), 1 // 0))

    assert await make(store) is not None


async def test_writes_to_several_streams_are_one_step(store: StreamStore) -> None:
    a, b = await make(store, "a"), await make(store, "b")

    await write(
        store,
        SaveStream(replace(a, tail=1)),
        AppendData(a.id, 0, Payload(b"x", 1)),
        SaveProducer(a.id, "p", ProducerState(0, 0)),
        RemoveStream(b),
    )

    assert await store.load("a") == replace(a, tail=1)
    assert await store.load("b") is None
    assert (await look(store, "a", "p")).producer == ProducerState(0, 0)


async def test_the_last_of_several_writes_to_one_stream_wins(store: StreamStore) -> None:
    made = await make(store)

    await write(store, SaveStream(replace(made, tail=1)), SaveStream(replace(made, tail=2)))

    assert await store.load("s") == replace(made, tail=2)


async def test_everything_in_a_stream_state_is_kept(store: StreamStore) -> None:
    made = await make(
        store, "a%2Fb/ü", lifetime=Lifetime(None, "2030-01-01T00:00:00Z", 1_893_456_000_000_000)
    )
    full = replace(
        made, closed=True, last_seq="\xe9\x00\U0001f600", start=3, forks=2, deleted=True, tail=10**15
    )

    await write(store, SaveStream(full))

    assert await store.load("a%2Fb/ü") == full


async def test_time_grows_strictly_even_when_the_clock_stands_still_or_goes_back(
    store: StreamStore, clock: ManualClock
) -> None:
    times = [await store.transact((), telling_the_time) for _ in range(3)]
    clock.now_us -= 10**9
    times += [await store.transact((), telling_the_time) for _ in range(3)]

    assert times == sorted(set(times))


async def test_time_follows_the_clock(store: StreamStore, clock: ManualClock) -> None:
    clock.now_us += 10**9

    assert await store.transact((), telling_the_time) == clock.now_us


async def test_concurrent_appends_to_one_stream_are_all_kept_in_one_order(store: StreamStore) -> None:
    await make(store)
    messages = [b"%03d" % n for n in range(200)]

    outcomes = await asyncio.gather(*(add(store, "s", message) for message in messages))

    stream = await store.load("s")
    assert stream is not None
    in_order = [message for _, message in sorted(zip([o.tail for o in outcomes], messages, strict=True))]
    assert await read_all(store, stream) == b"".join(in_order)
    assert sorted(o.tail for o in outcomes) == list(range(3, 603, 3))


async def test_concurrent_transactions_each_see_the_one_before(store: StreamStore) -> None:
    made = await make(store)

    outcomes = await asyncio.gather(
        *(store.transact((ReadKey("s"),), appending(b"x")) for _ in range(20)),
        *(store.transact((ReadKey("s"),), refusing) for _ in range(20)),
        *(store.transact((ReadKey("s", "p"),), looking) for _ in range(20)),
        return_exceptions=True,
    )

    assert sorted(outcome.tail for outcome in outcomes if isinstance(outcome, StreamState)) == list(
        range(1, 21)
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 20
    assert (await look(store, "s")).stream == replace(
        made, tail=20, used_us=written([await look(store, "s")]).used_us
    )


async def test_concurrent_appends_to_many_streams_do_not_mix(store: StreamStore) -> None:
    paths = [f"s{n}" for n in range(20)]
    await asyncio.gather(*(make(store, path) for path in paths))

    await asyncio.gather(*(add(store, path, f"{path}:{n};".encode()) for n in range(5) for path in paths))

    streams = [await store.load(path) for path in paths]
    contents = [await read_all(store, stream) for stream in streams if stream is not None]
    assert contents == ["".join(f"{path}:{n};" for n in range(5)).encode() for path in paths]
    assert len({stream.id for stream in streams if stream is not None}) == 20


# Producers


async def test_producers_are_kept_by_stream_and_id(store: StreamStore) -> None:
    await make(store, "a")
    await make(store, "b")

    await add(store, "a", b"x", ("p", ProducerState(1, 1)))
    await add(store, "a", b"x", ("q", ProducerState(2, 2, b"owner")))
    await add(store, "b", b"x", ("p", ProducerState(3, 2**53 - 1)))
    await add(store, "a", b"x", ("p", ProducerState(1, 4)))

    assert (await look(store, "a", "p")).producer == ProducerState(1, 4)
    assert (await look(store, "a", "q")).producer == ProducerState(2, 2, b"owner")
    assert (await look(store, "b", "p")).producer == ProducerState(3, 2**53 - 1)
    assert (await look(store, "b", "q")).producer is None


@pytest.mark.parametrize("producer_id", ["", " ", "\xff", "p'; --", "%", "x" * 1024, "😀", "\x00"])
async def test_any_text_can_be_a_producers_id(store: StreamStore, producer_id: str) -> None:
    await make(store)

    await add(store, "s", b"x", (producer_id, ProducerState(0, 7)))

    assert (await look(store, "s", producer_id)).producer == ProducerState(0, 7)
    assert (await look(store, "s", producer_id + "x")).producer is None


# Reading


async def test_a_read_may_begin_and_end_anywhere_in_bytes(store: StreamStore) -> None:
    await make(store)
    await add(store, "s", b"abc")
    stream = await add(store, "s", b"defg")

    page = await store.read(stream.id, 1, until=6, max_bytes=100, framed=False)

    assert (page.start, page.data, page.end) == (1, b"bcdef", 6)


@pytest.mark.parametrize(
    ("after", "max_bytes", "data"),
    [
        (0, 1, b"abc"),
        (0, 3, b"abc"),
        (0, 6, b"abc"),
        (0, 7, b"abcdefg"),
        (1, 1, b"bc"),
        (3, 1, b"defg"),
        (3, 5, b"defgh"),
        (7, 1, b"h"),
    ],
)
async def test_a_page_holds_whole_appends_up_to_its_size_but_at_least_one(
    store: StreamStore, after: int, max_bytes: int, data: bytes
) -> None:
    await make(store)
    await add(store, "s", b"abc")
    await add(store, "s", b"defg")
    stream = await add(store, "s", b"h")

    page = await store.read(stream.id, after, until=stream.tail, max_bytes=max_bytes, framed=False)

    assert page.data == data


async def test_a_read_where_nothing_is_wanted_is_empty(store: StreamStore) -> None:
    await make(store)
    stream = await add(store, "s", b"abc")

    assert (await store.read(stream.id, 3, until=3, max_bytes=9, framed=True)).data == b""
    assert (await store.read(stream.id, 1, until=1, max_bytes=9, framed=False)).data == b""
    assert (await store.read(stream.id + 1, 0, until=3, max_bytes=9, framed=False)).data == b""


async def test_a_framed_read_begins_only_where_a_message_ended(store: StreamStore) -> None:
    await make(store, mode=Mode.JSON)
    stream = await add(store, "s", b'[1,2],"a,b",3,')
    stream = await add(store, "s", b"4,")
    ends = [0, 6, 12, 14]

    pages = [await store.read(stream.id, end, until=16, max_bytes=99, framed=True) for end in ends]

    assert [page.data for page in pages] == [b'[1,2],"a,b",3,4,', b'"a,b",3,4,', b"3,4,", b"4,"]


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 7, 9, 11, 13, 15])
async def test_a_framed_read_inside_a_message_is_no_boundary(store: StreamStore, after: int) -> None:
    await make(store, mode=Mode.JSON)
    await add(store, "s", b'[1,2],"a,b",3,')
    stream = await add(store, "s", b"4,")

    with pytest.raises(NotABoundary):
        await store.read(stream.id, after, until=16, max_bytes=99, framed=True)


async def test_a_stream_may_begin_at_a_position_of_its_own(store: StreamStore) -> None:
    made = await make(store)

    await write(store, SaveStream(replace(made, tail=103)), AppendData(made.id, 100, Payload(b"abc", 1)))

    page = await store.read(made.id, 100, until=103, max_bytes=99, framed=True)
    assert (page.start, page.data) == (100, b"abc")


async def test_more_than_any_cache_holds_is_read_back(store: StreamStore) -> None:
    await make(store)
    parts = [bytes([n]) * 20_000 for n in range(50)]
    streams = [await add(store, "s", part) for part in parts]

    assert await read_all(store, streams[-1], max_bytes=50_000) == b"".join(parts)
    assert await read_all(store, streams[-1], max_bytes=1) == b"".join(parts)


async def test_small_and_large_appends_are_read_back_from_wherever_one_ended(store: StreamStore) -> None:
    await make(store)
    parts = [b"a" * 10, b"b" * 70_000, b"c" * 100_000, b"d", b"e" * 65_535, b"f", b"g" * 65_536]
    tails = [(await add(store, "s", part)).tail for part in parts]
    stream = written([await look(store, "s")])

    pages = [
        await store.read(stream.id, after, until=stream.tail, max_bytes=1 << 20, framed=False)
        for after in (0, *tails[:-1])
    ]

    assert [page.data for page in pages] == [b"".join(parts[number:]) for number in range(len(parts))]


async def test_readers_beside_writers_never_see_a_gap(store: StreamStore) -> None:
    await make(store)

    async def follow() -> bytes:
        data = b""
        while len(data) < 400:
            stream = await store.load("s")
            assert stream is not None
            page = await store.read(stream.id, len(data), until=stream.tail, max_bytes=64, framed=False)
            data += page.data
            await asyncio.sleep(0)
        return data

    readers = [asyncio.create_task(follow()) for _ in range(5)]
    await asyncio.gather(*(add(store, "s", b"%04d" % n) for n in range(100)))

    assert {await reader for reader in readers} == {await readers[0]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    after=st.integers(0, 500),
    until=st.integers(0, 500),
    max_bytes=st.integers(1, 100),
)
async def test_every_page_is_what_the_appends_say(
    store: StreamStore, sizes: list[int], after: int, until: int, max_bytes: int
) -> None:
    stream = await make(store, "paged")
    content = bytes(n % 251 for n in range(sum(sizes)))
    ends = list(accumulate(sizes))
    for start, end in pairwise([0, *ends]):
        stream = await add(store, "paged", content[start:end])
    after, until = min(after, stream.tail), min(max(after, until), stream.tail)

    page = await store.read(stream.id, after, until=until, max_bytes=max_bytes, framed=False)
    await remove(store, "paged")

    ends_allowed = [min(end, until) for end in ends if end > after] if until > after else [after]
    assert page.data == content[after : page.end]
    assert page.end in ends_allowed
    assert page.end == ends_allowed[0] or page.end <= after + max_bytes


# Listing


async def test_streams_are_listed_by_prefix_in_order_of_path(store: StreamStore) -> None:
    for path in ["b", "a/2", "a%/x", "a/10", "ab", "a_/x", "A/1", "a"]:
        await make(store, path)

    assert [s.path for s in await store.list_streams("a/", None, 10)] == ["a/10", "a/2"]
    assert [s.path for s in await store.list_streams("a%", None, 10)] == ["a%/x"]
    assert [s.path for s in await store.list_streams("a_", None, 10)] == ["a_/x"]
    assert [s.path for s in await store.list_streams("z", None, 10)] == []
    everything = ["A/1", "a", "a%/x", "a/10", "a/2", "a_/x", "ab", "b"]
    assert [s.path for s in await store.list_streams("", None, 10)] == everything


async def test_a_listing_goes_on_from_beyond_a_path(store: StreamStore) -> None:
    for path in ["a", "b", "c", "d"]:
        await make(store, path)

    assert [s.path for s in await store.list_streams("", None, 2)] == ["a", "b"]
    assert [s.path for s in await store.list_streams("", "b", 2)] == ["c", "d"]
    assert [s.path for s in await store.list_streams("", "bb", 2)] == ["c", "d"]
    assert [s.path for s in await store.list_streams("", "d", 2)] == []
    assert [s.path for s in await store.list_streams("c", "a", 2)] == ["c"]


async def test_a_listing_shows_streams_as_they_are(store: StreamStore) -> None:
    await make(store)
    stream = await add(store, "s", b"abc")

    assert await store.list_streams("", None, 10) == [stream]


# Use and expiry


async def test_use_is_visible_at_once_and_never_goes_back(store: StreamStore) -> None:
    made = await make(store, lifetime=TTL_1)

    await store.touch({"s": made.used_us + 500, "missing": 1})
    await store.touch({"s": made.used_us + 100})

    assert await store.load("s") == replace(made, used_us=made.used_us + 500)
    assert await look(store, "s") == Loaded(replace(made, used_us=made.used_us + 500))
    assert await store.load("missing") is None


async def test_use_is_not_lost_to_a_write_that_comes_after_it(store: StreamStore) -> None:
    made = await make(store, lifetime=TTL_1)
    await store.touch({"s": made.used_us + 500})

    (found,) = await store.transact(
        (ReadKey("s"),), lambda found, now_us: Decision([SaveStream(written(found))], tuple(found))
    )

    assert found.stream is not None
    assert found.stream.used_us == made.used_us + 500
    assert await store.load("s") == found.stream


async def test_use_of_a_removed_stream_does_not_keep_its_successor(
    store: StreamStore, clock: ManualClock
) -> None:
    made = await make(store, lifetime=TTL_1)
    await store.touch({"s": made.used_us + 10**9})
    await remove(store, "s")

    successor = await make(store, lifetime=TTL_1)

    assert await store.load("s") == successor


async def test_streams_expire_by_idle_time_or_at_a_moment(store: StreamStore) -> None:
    idle = await make(store, "idle", lifetime=TTL_1)
    dated = await make(
        store, "dated", lifetime=Lifetime(expires_at="x", expires_at_us=idle.used_us + 2_000_000)
    )
    await make(store, "forever")

    assert await store.expired(idle.used_us + 999_999, 10) == []
    assert await store.expired(idle.used_us + 1_000_000, 10) == [idle]
    assert sorted(s.path for s in await store.expired(dated.used_us + 10_000_000, 10)) == ["dated", "idle"]
    assert len(await store.expired(dated.used_us + 10_000_000, 1)) == 1


async def test_a_stream_in_use_does_not_expire(store: StreamStore) -> None:
    made = await make(store, lifetime=TTL_1)

    await store.touch({"s": made.used_us + 1})

    assert await store.expired(made.used_us + 1_000_000, 10) == []
    assert len(await store.expired(made.used_us + 1_000_001, 10)) == 1


async def test_soft_deleted_streams_do_not_hide_expired_ones(store: StreamStore) -> None:
    kept = await make(store, "kept", lifetime=TTL_1)
    await write(store, SaveStream(replace(kept, deleted=True, forks=1)))
    ended = await make(store, "ended", lifetime=TTL_1)

    assert await store.expired(ended.used_us + 10_000_000, 1) == [ended]


# Observers


async def test_observers_are_told_of_changes_before_their_cause_returns(store: StreamStore) -> None:
    seen: list[tuple[str, int, bool, bool]] = []
    store.observe(lambda s: seen.append((s.path, s.tail, s.closed, s.deleted)))

    await make(store)
    assert seen[-1:] == [("s", 0, False, False)]
    stream = await add(store, "s", b"abc")
    assert seen[-1:] == [("s", 3, False, False)]
    await write(store, SaveStream(replace(stream, closed=True)))
    assert seen[-1:] == [("s", 3, True, False)]
    await remove(store, "s")
    assert seen[-1:] == [("s", 3, True, True)]


async def test_observers_can_read_what_they_are_told_of(store: StreamStore) -> None:
    reads: list[asyncio.Task[bytes]] = []
    store.observe(lambda s: reads.append(asyncio.create_task(read_all(store, s))))
    await make(store)

    await asyncio.gather(*(add(store, "s", b"x") for _ in range(20)))

    contents = [await read for read in reads]
    assert contents[-1] == b"x" * 20
    assert contents == sorted(contents)


async def test_observers_are_not_told_of_refusals_and_looks(store: StreamStore) -> None:
    await make(store)
    seen: list[StreamState] = []
    store.observe(seen.append)

    with pytest.raises(Conflict):
        await store.transact((ReadKey("s"),), refusing)
    await look(store, "s", "p")
    await store.load("s")

    assert seen == []


async def test_observers_are_told_that_a_replaced_stream_is_gone(store: StreamStore) -> None:
    first = await make(store)
    seen: list[StreamState] = []
    store.observe(seen.append)

    second = replace(first, id=first.id + 10**6)
    await write(store, RemoveStream(first), SaveStream(second))

    assert [(s.id, s.deleted) for s in seen] == [(first.id, True), (second.id, False)]


# Removal


async def test_a_removed_streams_data_can_be_read_until_it_is_purged(store: StreamStore) -> None:
    await make(store)
    await add(store, "s", b"abc")

    removed = await remove(store, "s")

    assert await store.load("s") is None
    assert await read_all(store, removed) == b"abc"
    while not await store.purge(removed.id, limit=10):
        pass
    assert (await store.read(removed.id, 0, until=3, max_bytes=9, framed=False)).data == b""


async def test_a_purge_in_steps_frees_everything_and_nothing_else(store: StreamStore) -> None:
    await make(store, "kept")
    kept = await add(store, "kept", b"kept", ("p", ProducerState(0, 1)))
    await make(store)
    for _ in range(10):
        await add(store, "s", b"x", ("p", ProducerState(0, 0)))
    removed = await remove(store, "s")

    while not await store.purge(removed.id, limit=3):
        pass

    assert await store.purge(removed.id, limit=3)
    assert (await store.read(removed.id, 0, until=10, max_bytes=99, framed=False)).data == b""
    assert await read_all(store, kept) == b"kept"
    assert (await look(store, "kept", "p")).producer == ProducerState(0, 1)


async def test_a_path_made_anew_gets_a_greater_id_and_nothing_of_the_old_stream(store: StreamStore) -> None:
    first = await make(store)
    await add(store, "s", b"old", ("p", ProducerState(0, 5)))
    await remove(store, "s")

    second = await make(store)

    assert second.id > first.id
    assert await look(store, "s", "p") == Loaded(second, None)
    assert await read_all(store, await add(store, "s", b"new")) == b"new"


async def test_a_stream_can_be_replaced_in_one_step(store: StreamStore) -> None:
    first = await make(store)
    second = replace(first, id=first.id + 10**6, tail=1)

    await write(store, RemoveStream(first), SaveStream(second), AppendData(second.id, 0, Payload(b"x", 1)))

    assert await store.load("s") == second
    assert await read_all(store, second) == b"x"


async def test_made_used_and_removed_at_the_same_time_leaves_nothing(store: StreamStore) -> None:
    steps: list[Any] = []
    for _ in range(20):
        steps += [make(store), add(store, "s", b"x"), store.transact((ReadKey("s"),), removing)]

    await asyncio.gather(*steps)

    assert await store.load("s") is None
    assert await store.list_streams("", None, 10) == []


# Trimming


async def trimmed(store: StreamStore, stream: StreamState, start: int) -> StreamState:
    """The stream that begins at `start`, as readers see it before anything is freed."""
    after = replace(stream, start=start)
    await write(store, SaveStream(after))
    return after


async def tens(store: StreamStore, clock: ManualClock, appends: int = 10) -> StreamState:
    """A stream of appends of ten bytes, one a second."""
    stream = await make(store)
    for _ in range(appends):
        clock.now_us += 1_000_000
        stream = await add(store, "s", b"0123456789")
    return stream


async def free_all(store: StreamStore, stream: StreamState, after: int, before: int, limit: int = 3) -> None:
    while not await store.free(stream.id, after=after, before=before, limit=limit):
        pass


async def test_extents_tell_where_and_when_appends_ended(store: StreamStore, clock: ManualClock) -> None:
    begun_us = clock.now_us
    stream = await tens(store, clock)

    extents = await store.extents(stream.id, 0, until=stream.tail, limit=100)

    assert [(extent.start, extent.end) for extent in extents] == [(n, n + 10) for n in range(0, 100, 10)]
    assert [extent.appended_us for extent in extents] == [begun_us + n * 1_000_000 for n in range(1, 11)]


@pytest.mark.parametrize(
    ("after", "until", "limit", "places"),
    [
        (0, 100, 2, [(0, 10), (10, 20)]),
        (25, 100, 2, [(20, 30), (30, 40)]),
        (85, 93, 9, [(80, 90), (90, 93)]),
        (90, 100, 9, [(90, 100)]),
        (100, 100, 9, []),
        (50, 50, 9, []),
    ],
)
async def test_extents_between_two_positions(
    store: StreamStore,
    clock: ManualClock,
    after: int,
    until: int,
    limit: int,
    places: list[tuple[int, int]],
) -> None:
    stream = await tens(store, clock)

    extents = await store.extents(stream.id, after, until=until, limit=limit)

    assert [(extent.start, extent.end) for extent in extents] == places


async def test_freed_data_is_gone_and_what_follows_is_whole(store: StreamStore, clock: ManualClock) -> None:
    stream = await trimmed(store, await tens(store, clock), 40)

    await free_all(store, stream, 0, 40)

    assert await store.load("s") == stream
    assert (await store.read(stream.id, 0, until=100, max_bytes=99, framed=False)).data == b""
    assert (await store.read(stream.id, 39, until=100, max_bytes=99, framed=False)).data == b""
    assert await store.extents(stream.id, 30, until=100, limit=9) in ([], ())
    assert (await store.read(stream.id, 40, until=100, max_bytes=99, framed=False)).data == b"0123456789" * 6
    extents = await store.extents(stream.id, 40, until=100, limit=2)
    assert [(extent.start, extent.end) for extent in extents] == [(40, 50), (50, 60)]


async def test_freeing_keeps_pieces_that_reach_beyond(store: StreamStore, clock: ManualClock) -> None:
    stream = await tens(store, clock)

    await free_all(store, stream, 15, 30)
    await trimmed(store, stream, 30)

    assert (await store.read(stream.id, 0, until=20, max_bytes=99, framed=False)).data == b"0123456789" * 2
    assert (await store.read(stream.id, 25, until=100, max_bytes=99, framed=False)).data == b""
    assert (await store.read(stream.id, 30, until=40, max_bytes=99, framed=False)).data == b"0123456789"


async def test_freeing_what_was_freed_before_goes_on_from_there(
    store: StreamStore, clock: ManualClock
) -> None:
    stream = await trimmed(store, await tens(store, clock), 80)
    await free_all(store, stream, 20, 50)

    await free_all(store, stream, 20, 60)
    await free_all(store, stream, 0, 80)

    assert (await store.read(stream.id, 10, until=100, max_bytes=99, framed=False)).data == b""
    assert (await store.read(stream.id, 80, until=100, max_bytes=99, framed=False)).data == b"0123456789" * 2


async def test_a_stream_that_was_trimmed_to_its_tail_goes_on(store: StreamStore, clock: ManualClock) -> None:
    stream = await trimmed(store, await tens(store, clock), 100)
    await free_all(store, stream, 0, 100)

    after = await add(store, "s", b"next")

    assert after == replace(stream, tail=104, used_us=after.used_us)
    assert (await store.read(stream.id, 100, until=104, max_bytes=99, framed=False)).data == b"next"
    extents = await store.extents(stream.id, 100, until=104, limit=9)
    assert [(extent.start, extent.end) for extent in extents] == [(100, 104)]


async def test_framed_reads_of_what_is_left_know_their_boundaries(store: StreamStore) -> None:
    await make(store, mode=Mode.JSON)
    await add(store, "s", b"1,22,")
    await add(store, "s", b"1,22,")
    stream = await trimmed(store, await add(store, "s", b"1,22,"), 5)

    await free_all(store, stream, 0, 5)

    assert (await store.read(stream.id, 5, until=15, max_bytes=99, framed=True)).data == b"1,22,1,22,"
    assert (await store.read(stream.id, 7, until=10, max_bytes=99, framed=True)).data == b"22,"
    with pytest.raises(NotABoundary):
        await store.read(stream.id, 8, until=15, max_bytes=99, framed=True)


async def test_a_start_that_moved_is_told(store: StreamStore, clock: ManualClock) -> None:
    stream = await tens(store, clock)
    seen: list[int] = []
    store.observe(lambda s: seen.append(s.start))

    await trimmed(store, stream, 40)

    assert seen == [40]


async def test_nothing_is_freed_of_streams_that_are_not_there(store: StreamStore) -> None:
    assert await store.free(999, after=0, before=10, limit=3)
    assert list(await store.extents(999, 0, until=10, limit=3)) == []


@given(
    sizes=st.lists(st.sampled_from([1, 7, 40_000, 70_000]), min_size=1, max_size=8),
    needed=st.integers(0, 8),
    cuts=st.lists(st.integers(0, 8), max_size=4).map(sorted),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_whatever_is_freed_the_rest_is_there(
    store: StreamStore, sizes: list[int], needed: int, cuts: list[int]
) -> None:
    path = f"s{await store.count_streams()}"
    stream = await make(store, path)
    ends = [0, *accumulate(sizes)]
    data = b"".join(bytes([n]) * size for n, size in enumerate(sizes))
    for begin, end in pairwise(ends):
        stream = await add(store, path, data[begin:end])
    by_forks = ends[min(needed, len(sizes))]
    for cut in cuts:
        stream = await trimmed(store, stream, ends[min(cut, len(sizes))])
        await free_all(store, stream, by_forks, stream.start)

    inherited = await store.read(stream.id, 0, until=by_forks, max_bytes=1 << 30, framed=False)
    own = await store.read(stream.id, stream.start, until=stream.tail, max_bytes=1 << 30, framed=False)
    await free_all(store, stream, 0, stream.start)
    left = await store.read(stream.id, stream.start, until=stream.tail, max_bytes=1 << 30, framed=False)

    assert inherited.data == data[:by_forks]
    assert own.data == left.data == data[stream.start :]


# Records


async def test_records_are_kept_by_name(store: StreamStore) -> None:
    await store.put_record("sub/a", b"\x00\xff")
    await store.put_record("sub/b", b"")
    await store.put_record("suc", b"x")
    await store.put_record("sub/a", b"2")

    assert await store.records("sub/") == {"sub/a": b"2", "sub/b": b""}
    assert await store.records("") == {"sub/a": b"2", "sub/b": b"", "suc": b"x"}
    assert await store.records("s%") == {}


async def test_a_record_can_be_removed(store: StreamStore) -> None:
    await store.put_record("a", b"1")

    await store.put_record("a", None)
    await store.put_record("never there", None)

    assert await store.records("") == {}


# Closing


async def test_a_store_can_be_closed_twice(store: StreamStore) -> None:
    await make(store)

    await store.aclose()
    await store.aclose()


async def test_what_was_begun_before_closing_is_finished(store: StreamStore) -> None:
    await make(store)
    adding = [asyncio.create_task(add(store, "s", b"x")) for _ in range(10)]
    await asyncio.sleep(0)

    await store.aclose()

    assert sorted([stream.tail for stream in await asyncio.gather(*adding)]) == list(range(1, 11))


async def test_a_store_says_where_its_data_is(store: StreamStore) -> None:
    assert ("data in /" in store.location) is store.capabilities.durable
    assert ("lost" in store.location) is not store.capabilities.durable
    assert not store.capabilities.multi_node
