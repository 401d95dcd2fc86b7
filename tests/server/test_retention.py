"""Streams stay within their limits, on every store: what readers, forks and disks see of it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from durafold_server import service as service_module
from durafold_server.config import ServiceSettings
from durafold_server.protocol import responses
from durafold_server.protocol.errors import InvalidRequest, NotRetained, StreamExists
from durafold_server.protocol.model import Mode, Retention, StreamState
from durafold_server.protocol.responses import PageView
from durafold_server.service import StreamService
from durafold_server.store.memory import MemoryStore
from support.server_requests import (
    JSON,
    TEXT,
    append_request,
    create_request,
    next_offset,
    read_request,
)
from support.server_stores import KINDS, ManualClock, open_store

pytestmark = pytest.mark.anyio

S = 1_000_000


class Opener:
    """Services on one kind of store, one after another, with a clock that tests move."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.clock = ManualClock()
        self.service: StreamService | None = None

    async def open(self, **settings: Any) -> StreamService:
        """A service; of a store on disk, with what the last one left."""
        await self.aclose()
        store = await open_store(self.kind, self.directory, self.clock)
        self.service = StreamService(store, ServiceSettings(**settings), clock=self.clock)
        return self.service

    async def aclose(self) -> None:
        if self.service is not None:
            await self.service.aclose()


@pytest.fixture(autouse=True)
def only_reaped_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(service_module, "_REAP_INTERVAL_S", 3600.0)


@pytest.fixture(params=KINDS)
async def opener(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Opener]:
    opener = Opener(request.param, tmp_path / "data")
    yield opener
    await opener.aclose()


@pytest.fixture
async def service(opener: Opener) -> StreamService:
    return await opener.open(long_poll_timeout_s=0.05)


async def put(service: StreamService, path: str = "s", body: bytes = b"", /, **headers: str) -> None:
    await service.create(create_request(path, body, **{"content_type": TEXT, **headers}))


async def post(service: StreamService, body: bytes, path: str = "s", content_type: str = TEXT) -> str:
    """Append; answers the new tail's offset."""
    appended = await service.append(append_request(path, body, content_type=content_type))
    return next_offset(responses.appended(appended))


async def post_tens(service: StreamService, count: int, path: str = "s") -> list[str]:
    """Appends of ten bytes: `0.........`, `1.........`; answers the offset after each."""
    return [await post(service, b"%d........." % n, path) for n in range(count)]


async def read(service: StreamService, path: str = "s", offset: str = "-1") -> bytes:
    return (await service.read(read_request(path, offset))).data


async def start_of(service: StreamService, path: str = "s") -> int:
    return (await service.head(path)).start


async def stored(service: StreamService, path: str, until: int) -> bool:
    """Whether the first bytes of a stream are still in storage."""
    stream = await service.head(path)
    page = await service.store.read(stream.id, 0, until=until, max_bytes=99, framed=False)
    return bool(page.data)


# Bytes


async def test_the_newest_bytes_are_kept_in_whole_appends(service: StreamService) -> None:
    await put(service, stream_retention_bytes="25")
    await post_tens(service, 10)

    await service.reap()

    assert await read(service) == b"7.........8.........9........."


async def test_nothing_is_trimmed_within_the_limit(service: StreamService) -> None:
    await put(service, stream_retention_bytes="25")
    await post_tens(service, 3)

    await service.reap()

    assert await start_of(service) == 0


async def test_a_stream_without_limits_is_kept_whole(service: StreamService, opener: Opener) -> None:
    await put(service)
    await post_tens(service, 5)
    opener.clock.now_us += 10**6 * S

    await service.reap()

    assert await start_of(service) == 0


async def test_offsets_before_the_trim_are_gone_and_name_the_earliest(service: StreamService) -> None:
    await put(service, stream_retention_bytes="25")
    offsets = await post_tens(service, 10)
    await service.reap()

    with pytest.raises(NotRetained, match=f"earliest retained offset is {offsets[6]}") as refusal:
        await read(service, offset=offsets[5])

    assert refusal.value.headers == (("Stream-Earliest-Offset", offsets[6]),)
    assert await read(service, offset=offsets[6]) == await read(service)
    assert await read(service, offset=offsets[8]) == b"9........."
    assert (await service.head("s")).offset(await start_of(service)) == offsets[6]


async def test_json_pages_stay_whole(service: StreamService) -> None:
    await put(service, content_type=JSON, stream_retention_bytes="20")
    for n in range(9):
        await post(service, b'[{"n":%d},%d]' % (n, n), content_type=JSON)

    await service.reap()

    view = await service.read(read_request("s", "-1"))
    assert responses.page(view).body == b'[{"n":7},7,{"n":8},8]'


async def test_trimming_goes_on_as_the_stream_grows(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    await service.reap()
    await post_tens(service, 3)

    await service.reap()

    assert await read(service) == b"2........."


async def test_a_tag_from_before_the_trim_matches_nothing_after_it(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    tag = dict(responses.page(await service.read(read_request())).headers)[b"etag"].decode()
    await service.reap()

    reply = responses.page(await service.read(read_request()), if_none_match=tag)

    assert reply.status == 200
    assert reply.body == b"2........."


# Age


async def test_what_is_too_old_goes_and_what_is_young_stays(service: StreamService, opener: Opener) -> None:
    await put(service, stream_retention_age="60")
    await post(service, b"old")
    opener.clock.now_us += 50 * S
    await post(service, b"young")
    opener.clock.now_us += 20 * S

    await service.reap()

    assert await read(service) == b"young"


async def test_an_idle_stream_ages_too(service: StreamService, opener: Opener) -> None:
    await put(service, "s", b"a", stream_retention_age="60")
    await service.reap()
    assert await read(service) == b"a"
    opener.clock.now_us += 61 * S

    await service.reap()

    stream = await service.head("s")
    assert stream.start == stream.tail == 1
    assert await read(service) == b""


async def test_a_stream_that_was_trimmed_to_its_tail_takes_appends(
    service: StreamService, opener: Opener
) -> None:
    await put(service, "s", b"abc", stream_retention_age="60")
    opener.clock.now_us += 61 * S
    await service.reap()

    await post(service, b"def")

    assert await read(service) == b"def"
    assert (await service.head("s")).tail == 6


# Configuration


async def test_the_servers_limits_hold_for_streams_without_their_own(opener: Opener) -> None:
    service = await opener.open(retention_bytes=10)
    await put(service, "s")
    await put(service, "all", stream_retention_bytes="0")
    await put(service, "more", stream_retention_bytes="20")
    for path in ("s", "all", "more"):
        await post_tens(service, 3, path)

    await service.reap()

    assert [await start_of(service, path) for path in ("s", "all", "more")] == [20, 0, 10]
    assert service.retention_of(await service.head("s")) == Retention(10, None)


async def test_retention_is_part_of_the_configuration(service: StreamService) -> None:
    await put(service, stream_retention_bytes="25")

    await put(service, stream_retention_bytes="25")

    with pytest.raises(StreamExists, match="another retention"):
        await put(service, stream_retention_bytes="26")
    with pytest.raises(StreamExists, match="another retention"):
        await put(service)


async def test_the_registry_is_not_trimmed_by_the_servers_limits(opener: Opener) -> None:
    service = await opener.open(retention_bytes=1, retention_age_s=1)
    await put(service)
    opener.clock.now_us += 10 * S

    await service.reap()

    assert await start_of(service, "__registry__") == 0


# Forks


async def test_a_fork_keeps_what_it_inherited(service: StreamService, opener: Opener) -> None:
    await put(service, stream_retention_bytes="10")
    offsets = await post_tens(service, 5)
    fork = {"stream_forked_from": "/v1/stream/s", "stream_fork_offset": offsets[2]}
    await service.create(create_request("f", stream_retention_bytes="0", **fork))
    await post_tens(service, 3)

    await service.reap()

    assert await read(service) == b"2........."
    assert await read(service, "f") == b"0.........1.........2........."
    assert await read(service, "f", offsets[0]) == b"1.........2........."
    with pytest.raises(NotRetained):
        await read(service, "s", offsets[0])


async def test_what_only_forks_needed_is_freed_after_the_last_one(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    await service.create(create_request("f", stream_forked_from="/v1/stream/s", stream_retention_bytes="0"))
    await post_tens(service, 3)
    await service.reap()
    assert await stored(service, "s", 30)
    assert not (await service.store.extents((await service.head("s")).id, 30, until=50, limit=9))

    await service.delete("f")
    await service.reap()

    assert not await stored(service, "s", 30)
    assert await read(service) == b"2........."


async def test_each_of_several_forks_keeps_what_it_inherited(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    offsets = await post_tens(service, 4)
    fork = {"stream_forked_from": "/v1/stream/s", "stream_retention_bytes": "0"}
    await service.create(create_request("long", stream_fork_offset=offsets[2], **fork))
    await service.create(create_request("short", stream_fork_offset=offsets[0], **fork))

    await service.reap()

    assert await read(service, "long") == b"0.........1.........2........."
    assert await read(service, "short") == b"0........."


async def test_a_fork_is_trimmed_by_the_limits_it_inherits(service: StreamService) -> None:
    await put(service, stream_retention_bytes="25")
    await post_tens(service, 2)
    await service.create(create_request("f", stream_forked_from="/v1/stream/s"))
    await post_tens(service, 1, "f")
    await service.reap()
    assert await start_of(service, "f") == 0
    await post_tens(service, 2, "f")

    await service.reap()

    assert await start_of(service, "f") == 20
    assert await read(service, "f") == b"0.........0.........1........."
    assert await read(service, "s") == b"0.........1........."


async def test_a_fork_begins_where_its_source_does(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    offsets = await post_tens(service, 3)
    await service.reap()

    await service.create(create_request("f", stream_forked_from="/v1/stream/s"))

    assert await read(service, "f") == b"2........."
    with pytest.raises(InvalidRequest, match=f"earliest retained offset, {offsets[1]}"):
        await service.create(
            create_request("g", stream_forked_from="/v1/stream/s", stream_fork_offset=offsets[0])
        )


# Readers


class LaggingReader:
    """A live reader whose client takes nothing."""

    is_ready = False
    greeted = True

    def __init__(self, position: int) -> None:
        self.position = position
        self.has_ended = asyncio.Event()

    def push(self, view: PageView) -> None:
        raise AssertionError(f"was sent {view}")

    def tick(self, now_s: float) -> bool:
        return True

    def end(self) -> None:
        self.has_ended.set()


async def test_a_live_reader_that_was_overtaken_is_ended(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    stream = await service.head("s")
    lagging, waiting = LaggingReader(10), LaggingReader(20)
    service.readers.attach(stream, lagging)
    service.readers.attach(stream, waiting)

    await service.reap()

    await asyncio.wait_for(lagging.has_ended.wait(), 20)
    assert not waiting.has_ended.is_set()


async def test_a_long_poll_is_refused_before_the_earliest_offset(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    offsets = await post_tens(service, 3)
    await service.reap()

    with pytest.raises(NotRetained):
        await service.poll(
            read_request("s", offsets[0], "long-poll"), asyncio.get_running_loop().create_future()
        )
    with pytest.raises(NotRetained):
        await service.begin_following(read_request("s", offsets[0], "sse"))


async def test_reading_beside_trimming_gives_data_or_a_refusal_but_never_a_gap(
    service: StreamService,
) -> None:
    await put(service, stream_retention_bytes="50")
    lines = [b"%09d\n" % n for n in range(400)]

    async def write() -> None:
        for line in lines:
            await post(service, line)

    async def reap() -> None:
        while not writing.done():
            await service.reap()
            await asyncio.sleep(0)

    async def catch_up() -> list[bytes]:
        seen: list[bytes] = []
        offset = "-1"
        while not writing.done() or seen[-1:] != lines[-1:]:
            try:
                view = await service.read(read_request("s", offset))
            except NotRetained as refusal:
                seen.clear()
                offset = refusal.headers[0][1]
            else:
                seen += view.data.splitlines(keepends=True)
                offset = next_offset(responses.page(view))
            await asyncio.sleep(0)
        return seen

    writing = asyncio.create_task(write())
    reading = [asyncio.create_task(catch_up()) for _ in range(4)]
    await asyncio.gather(reap(), writing, *reading)

    logs = [task.result() for task in reading]
    assert logs == [lines[-len(log) :] for log in logs]


async def test_a_page_whose_data_was_freed_meanwhile_is_refused(
    service: StreamService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    really_read: Callable[..., Any] = service.store.read

    async def read_late(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        await service.reap()
        return await really_read(*args, **options)

    monkeypatch.setattr(service.store, "read", read_late)

    with pytest.raises(NotRetained):
        await read(service)


# Storage


async def test_trimmed_data_is_freed(service: StreamService) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 50)
    await service.reap()

    assert not await stored(service, "s", 490)
    assert await read(service) == b"49........."


async def test_memory_is_given_back(anyio_backend: str) -> None:
    service = StreamService(MemoryStore())
    await put(service, stream_retention_bytes="1000")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            await post(service, bytes(50_000))
        grown, _ = tracemalloc.get_traced_memory()

        await service.reap()
        gc.collect()

        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await service.aclose()
    assert grown - before > 10_000_000
    assert left - before < 300_000


@pytest.mark.parametrize("opener", ["sqlite"], indirect=True)
async def test_after_a_restart_trimming_goes_on(opener: Opener) -> None:
    service = await opener.open()
    await put(service, stream_retention_bytes="10")
    await put(service, "old", b"abc", stream_retention_age="60")
    await post_tens(service, 3)
    opener.clock.now_us += 61 * S
    service = await opener.open()

    await service.reap()

    assert await start_of(service) == 20
    assert await start_of(service, "old") == 3


@pytest.mark.parametrize("opener", ["sqlite"], indirect=True)
async def test_what_a_crash_left_between_trimming_and_freeing_is_freed(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await opener.open()
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)

    async def crash(*_: Any, **__: Any) -> bool:
        raise ConnectionAbortedError

    monkeypatch.setattr(service.store, "free", crash)
    with pytest.raises(ConnectionAbortedError):
        await service.reap()
    assert await start_of(service) == 20
    service = await opener.open()
    assert await stored(service, "s", 20)

    await service.reap()

    assert not await stored(service, "s", 20)
    assert await read(service) == b"2........."


async def test_a_stream_made_anew_is_not_trimmed_for_the_old_one(
    service: StreamService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(service, stream_retention_bytes="10")
    await post_tens(service, 3)
    really_transact: Callable[..., Any] = service.store.transact

    async def replace_first(*args: Any) -> Any:
        monkeypatch.undo()
        await service.delete("s")
        await put(service, "s", b"x" * 100)
        return await really_transact(*args)

    monkeypatch.setattr(service.store, "transact", replace_first)

    await service.reap()

    assert await read(service) == b"x" * 100


def test_a_state_with_everything_default_stays_small() -> None:
    """Every append writes it."""
    state = StreamState(1, "s", "text/plain", mode=Mode.TEXT, tail=5, used_us=6)

    assert len(msgspec.json.encode(state)) < 100
    assert msgspec.json.decode(msgspec.json.encode(state), type=StreamState) == state
    assert replace(state, start=0) == state
