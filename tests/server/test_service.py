"""The service: what happens between looking and writing, and what a fork may inherit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from durafold_server.config import ServiceSettings
from durafold_server.protocol import responses
from durafold_server.protocol.errors import (
    Gone,
    InvalidOffset,
    InvalidRequest,
    NotFound,
    ProtocolError,
    StreamExists,
)
from durafold_server.protocol.model import Decide, R, ReadKey
from durafold_server.service import StreamService
from durafold_server.store.memory import MemoryStore
from support.server_requests import JSON, TEXT, append_request, create_request, next_offset, read_request
from support.server_stores import KINDS, ManualClock, open_store
from support.waiting import eventually

pytestmark = pytest.mark.anyio


class MeddledStore(MemoryStore):
    """A store in which something else happens just before the next transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle: Callable[[], Awaitable[object]] | None = None

    async def transact(self, keys: Sequence[ReadKey], decide: Decide[R]) -> R:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            await meddle()
        return await super().transact(keys, decide)


@pytest.fixture(params=KINDS)
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[StreamService]:
    """A service on each kind of store, with pages small enough to need several."""
    store = await open_store(request.param, tmp_path / "data")
    service = StreamService(store, ServiceSettings(max_page_bytes=16, long_poll_timeout_s=0.05))
    yield service
    await service.aclose()


@pytest.fixture
def store() -> MeddledStore:
    return MeddledStore()


@pytest.fixture
async def meddled(store: MeddledStore, anyio_backend: str) -> AsyncIterator[StreamService]:
    service = StreamService(store)
    yield service
    await service.aclose()


async def put(service: StreamService, path: str, body: bytes = b"", content_type: str = TEXT, /) -> str:
    """Create a stream; answers the offset of its tail."""
    created = await service.create(create_request(path, body, content_type=content_type))
    return next_offset(responses.created(created, path))


async def fork(service: StreamService, path: str, source: str, /, **headers: str) -> None:
    await service.create(create_request(path, stream_forked_from=f"/v1/stream/{source}", **headers))


async def post(service: StreamService, path: str, body: bytes, content_type: str = TEXT, /) -> str:
    """Append; answers the offset of the new tail."""
    appended = await service.append(append_request(path, body, content_type=content_type))
    return next_offset(responses.appended(appended))


async def content(service: StreamService, path: str) -> bytes:
    """All bytes as stored."""
    parts: list[bytes] = []
    offset = "-1"
    while True:
        view = await service.read(read_request(path, offset))
        parts.append(view.data)
        offset = next_offset(responses.page(view))
        if view.at_tail:
            return b"".join(parts)


# Forks across pages, chains and reads


async def test_a_chain_of_forks_reads_as_one_stream(service: StreamService) -> None:
    await put(service, "a", b"a" * 20)
    middle = await post(service, "a", b"A" * 20)
    await post(service, "a", b"-" * 20)
    await fork(service, "b", "a", stream_fork_offset=middle)
    await post(service, "b", b"b" * 20)
    await fork(service, "c", "b")
    await post(service, "b", b"-")
    await post(service, "c", b"c" * 20)

    assert await content(service, "c") == b"a" * 20 + b"A" * 20 + b"b" * 20 + b"c" * 20
    assert await content(service, "b") == b"a" * 20 + b"A" * 20 + b"b" * 20 + b"-"


async def test_a_page_that_ends_within_the_source_does_not_jump_to_the_fork(service: StreamService) -> None:
    await put(service, "a", b"a" * 10)
    await post(service, "a", b"A" * 10)
    await fork(service, "b", "a")
    await post(service, "b", b"b" * 5)

    first = await service.read(read_request("b"))

    assert (first.data, first.end) == (b"a" * 10, 10)
    assert await content(service, "b") == b"a" * 10 + b"A" * 10 + b"b" * 5


async def test_a_fork_inside_an_append_ends_inheriting_there(service: StreamService) -> None:
    await put(service, "a", b"abcdefgh")

    await fork(service, "b", "a", stream_fork_offset="-1", stream_fork_sub_offset="3")
    await post(service, "b", b"XYZ")

    assert await content(service, "b") == b"abcXYZ"
    assert await content(service, "a") == b"abcdefgh"


@pytest.mark.parametrize(("messages", "stored"), [(0, b""), (1, b"1,"), (2, b"1,2,"), (4, b"1,2,[3],4,")])
async def test_a_json_fork_counts_messages_across_appends(
    service: StreamService, messages: int, stored: bytes
) -> None:
    await put(service, "a", b"[1,2]", JSON)
    await post(service, "a", b"[[3],4,5]", JSON)
    await post(service, "a", b'["a message that is longer than a page"]', JSON)

    await fork(service, "b", "a", stream_fork_offset="-1", stream_fork_sub_offset=str(messages))

    assert await content(service, "b") == stored


@pytest.mark.parametrize(
    ("content_type", "body", "sub_offset"), [(TEXT, b"abc", "4"), (JSON, b"[1,2]", "3"), (TEXT, b"", "1")]
)
async def test_a_sub_offset_beyond_the_tail_is_refused_and_holds_nothing(
    service: StreamService, content_type: str, body: bytes, sub_offset: str
) -> None:
    await put(service, "a", body, content_type)

    with pytest.raises(InvalidRequest, match="beyond"):
        await fork(service, "b", "a", stream_fork_offset="-1", stream_fork_sub_offset=sub_offset)

    await service.delete("a")
    with pytest.raises(NotFound):
        await service.head("a")


async def test_a_json_fork_inside_a_message_is_refused(service: StreamService) -> None:
    tail = await put(service, "a", b'[{"a":1},2]', JSON)
    inside = tail[:-2] + "03"

    with pytest.raises(InvalidRequest):
        await fork(service, "b", "a", stream_fork_offset=inside)


async def test_a_read_inside_a_json_message_is_refused(service: StreamService) -> None:
    tail = await put(service, "a", b'[{"a":1},2]', JSON)

    with pytest.raises(InvalidOffset):
        await service.read(read_request("a", tail[:-2] + "03"))


async def test_every_offset_on_the_way_can_be_resumed_from(service: StreamService) -> None:
    offsets = [await put(service, "a", b"0", JSON)]
    offsets += [await post(service, "a", b"%d" % n, JSON) for n in range(1, 30)]

    views = [await service.read(read_request("a", offset)) for offset in offsets[:-1]]

    assert [view.data.partition(b",")[0] for view in views] == [b"%d" % n for n in range(1, 30)]


# Incarnations


async def test_an_old_offset_of_a_stream_made_anew_is_gone(service: StreamService) -> None:
    old = await put(service, "a", b"abc")
    await service.delete("a")
    await put(service, "a", b"abcdef")

    with pytest.raises(Gone):
        await service.read(read_request("a", old))


async def test_an_old_offset_of_a_fork_made_anew_is_gone(service: StreamService) -> None:
    await put(service, "a", b"abc")
    await fork(service, "b", "a")
    old = await post(service, "b", b"first")
    await service.delete("b")
    await fork(service, "b", "a")
    await post(service, "b", b"second")

    with pytest.raises(Gone):
        await service.read(read_request("b", old))


async def test_an_offset_of_the_source_beyond_the_fork_point_is_none_of_the_fork(
    service: StreamService,
) -> None:
    await put(service, "a", b"abc")
    await fork(service, "b", "a")
    of_source = await post(service, "a", b"source")
    await post(service, "b", b"the fork's own")

    with pytest.raises(ProtocolError):
        await service.read(read_request("b", of_source))


async def test_offsets_up_to_the_fork_point_are_those_of_the_source(service: StreamService) -> None:
    shared = await put(service, "a", b"abc")
    await post(service, "a", b"def")
    await fork(service, "b", "a")

    assert (await service.read(read_request("b", shared))).data == b"def"


# Lifetimes, by a clock that the test moves


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=KINDS)
async def timed(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, anyio_backend: str
) -> AsyncIterator[StreamService]:
    """A service on each kind of store whose time stands still, with stream `a` of a TTL of 10 s."""
    store = await open_store(request.param, tmp_path / "data", clock)
    service = StreamService(store, ServiceSettings(long_poll_timeout_s=0.01), clock=clock)
    await service.create(create_request("a", b"abc", content_type=TEXT, stream_ttl="10"))
    yield service
    await service.aclose()


def never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda service: post(service, "a", b"d"), id="append"),
        pytest.param(lambda service: service.append(append_request("a", stream_closed="true")), id="close"),
        pytest.param(lambda service: service.read(read_request("a")), id="read"),
        pytest.param(lambda service: service.read(read_request("a", "now")), id="read from now"),
        pytest.param(
            lambda service: service.poll(read_request("a", "-1", "long-poll"), never()), id="long-poll"
        ),
        pytest.param(lambda service: service.begin_following(read_request("a", "now", "sse")), id="sse"),
        pytest.param(lambda service: fork(service, "b", "a"), id="fork"),
    ],
)
async def test_use_renews_a_ttl(
    timed: StreamService, clock: ManualClock, use: Callable[[StreamService], Awaitable[object]]
) -> None:
    clock.now_us += 9_000_000
    await use(timed)
    clock.now_us += 9_000_000

    assert (await timed.head("a")).path == "a"


async def test_head_and_refused_requests_do_not_renew_a_ttl(timed: StreamService, clock: ManualClock) -> None:
    clock.now_us += 9_000_000
    await timed.head("a")
    with pytest.raises(ProtocolError):
        await post(timed, "a", b"1", JSON)
    clock.now_us += 1_001_000

    with pytest.raises(NotFound):
        await timed.head("a")


async def test_an_expired_stream_is_gone_for_everything_and_can_be_made_anew(
    timed: StreamService, clock: ManualClock
) -> None:
    clock.now_us += 10_001_000

    with pytest.raises(NotFound):
        await timed.read(read_request("a"))
    with pytest.raises(NotFound):
        await post(timed, "a", b"d")
    with pytest.raises(NotFound):
        await timed.delete("a")
    with pytest.raises(NotFound):
        await fork(timed, "b", "a")
    created = await timed.create(create_request("a", b"new", content_type="a/b"))
    assert created.new
    assert await content(timed, "a") == b"new"


async def test_use_does_not_move_an_expiry(timed: StreamService, clock: ManualClock) -> None:
    clock.now_us = 1_893_455_999_000_000  # one second before 2030
    await timed.create(create_request("b", content_type=TEXT, stream_expires_at="2030-01-01T00:00:00Z"))
    clock.now_us += 999_999
    await post(timed, "b", b"x")
    clock.now_us += 1

    with pytest.raises(NotFound):
        await timed.read(read_request("b"))


async def test_a_fork_keeps_its_expired_source_readable(timed: StreamService, clock: ManualClock) -> None:
    await timed.create(create_request("b", stream_forked_from="/v1/stream/a", stream_ttl="1000"))
    clock.now_us += 10_001_000

    with pytest.raises(NotFound):
        await timed.read(read_request("a"))
    with pytest.raises(StreamExists):
        await put(timed, "a")
    assert await content(timed, "b") == b"abc"


async def test_a_ttl_of_zero_is_over_at_once(timed: StreamService, clock: ManualClock) -> None:
    await timed.create(create_request("b", content_type=TEXT, stream_ttl="0"))
    clock.now_us += 1_000

    with pytest.raises(NotFound):
        await timed.head("b")


# Between looking and writing


async def test_a_fork_whose_source_is_made_anew_meanwhile_never_reads_beyond_it(
    meddled: StreamService, store: MeddledStore
) -> None:
    await put(meddled, "a", b"a long body")

    async def make_anew() -> None:
        await meddled.delete("a")
        await put(meddled, "a", b"x")

    store.meddle = make_anew
    try:
        await fork(meddled, "b", "a")
    except ProtocolError:
        return

    assert await content(meddled, "b") == b"x"


async def test_a_fork_that_exists_until_it_is_deleted_meanwhile_is_made_or_refused(
    meddled: StreamService, store: MeddledStore
) -> None:
    await put(meddled, "a", b"abc")
    await fork(meddled, "b", "a")
    store.meddle = lambda: meddled.delete("b")

    try:
        await fork(meddled, "b", "a")
    except ProtocolError:
        return

    assert await content(meddled, "b") == b"abc"


async def test_a_delete_of_what_became_a_fork_meanwhile_releases_its_source(
    meddled: StreamService, store: MeddledStore
) -> None:
    await put(meddled, "a", b"abc")
    store.meddle = lambda: fork(meddled, "b", "a")

    await meddled.delete("b")

    await meddled.delete("a")
    with pytest.raises(NotFound):
        await meddled.head("a")


async def test_a_delete_of_a_fork_made_anew_from_elsewhere_meanwhile_releases_its_source(
    meddled: StreamService, store: MeddledStore
) -> None:
    await put(meddled, "a", b"abc")
    await put(meddled, "other", b"abc")
    await fork(meddled, "b", "other")

    async def make_anew() -> None:
        await meddled.delete("b")
        await fork(meddled, "b", "a")

    store.meddle = make_anew
    await meddled.delete("b")

    await meddled.delete("a")
    with pytest.raises(NotFound):
        await meddled.head("a")


# Housekeeping


async def test_a_deleted_streams_data_is_freed(service: StreamService) -> None:
    created = await service.create(create_request("a", b"abc", content_type=TEXT))
    await service.delete("a")

    async def is_freed() -> bool:
        page = await service.store.read(created.stream.id, 0, until=3, max_bytes=9, framed=False)
        return page.data == b""

    await eventually(is_freed)


async def test_long_polls_that_are_over_leave_nothing_behind(service: StreamService) -> None:
    await put(service, "a", b"abc")
    before = asyncio.all_tasks()
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    await asyncio.gather(*(service.poll(read_request("a", "now", "long-poll"), gone) for _ in range(20)))

    assert asyncio.all_tasks() == before
    assert not getattr(gone, "_callbacks", None)
