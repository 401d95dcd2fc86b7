"""Caches: what they keep, what they forget, and how providers use them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest

from durafold.cache import CacheKey, MemoryStateCache, once_at_a_time, scope_of
from durafold.client import DurableStream
from durafold.errors import ConfigurationError
from durafold.provider import Provider
from durafold.state.snapshot import Snapshot
from support.server import ServerProcess
from support.todos import Add, Break, Todos, todo_reducer
from support.waiting import eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio


def key_of(path: str, *, fingerprint: str = "f", scope: str = "") -> CacheKey:
    return CacheKey("http://host/v1/stream", path, fingerprint, scope)


def snapshot_of(state: Any) -> Snapshot[Any]:
    return Snapshot(state, "5", 2, 3, {}, "f")


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


# ---- memory ----


async def test_what_was_saved_is_loaded() -> None:
    cache = MemoryStateCache()
    snapshot = snapshot_of({"a": 1})

    await cache.save(key_of("a"), snapshot)

    assert await cache.load(key_of("a")) is snapshot


@pytest.mark.parametrize(
    "other", [key_of("b"), key_of("a", fingerprint="g"), key_of("a", scope="somebody else")]
)
async def test_r11_nothing_is_found_for_another_stream_reducer_or_user(other: CacheKey) -> None:
    cache = MemoryStateCache()
    await cache.save(key_of("a"), snapshot_of(1))

    assert await cache.load(other) is None


async def test_an_entry_expires_when_it_was_not_saved_again_for_too_long() -> None:
    clock = Clock()
    cache = MemoryStateCache(ttl_s=10, clock=clock)
    await cache.save(key_of("a"), snapshot_of(1))

    clock.now_s = 9.9
    assert await cache.load(key_of("a")) is not None
    clock.now_s = 10.0
    assert await cache.load(key_of("a")) is None
    assert cache.stats().size_bytes == 0


def test_threads_may_use_one_cache_at_once() -> None:
    cache = MemoryStateCache(max_bytes=50_000)
    failures: list[Exception] = []

    async def use(number: int) -> None:
        for turn in range(1_500):
            await cache.save(key_of(f"{number}/{turn % 40}"), snapshot_of(turn))
            await cache.load(key_of(f"{1 - number}/{turn % 40}"))
            cache.stats()
            cache.delete(f"{1 - number}/{(turn + 20) % 40}")

    def work(number: int) -> None:
        try:
            anyio.run(use, number)
        except Exception as error:
            failures.append(error)

    with frequent_switches(), ThreadPoolExecutor(2) as threads:
        list(threads.map(work, [0, 1]))
    size_bytes = cache.stats().size_bytes
    for path in cache.stats().paths:
        cache.delete(path)

    assert (failures, size_bytes <= 50_000, cache.stats().size_bytes) == ([], True, 0)


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def test_what_was_not_used_for_the_longest_time_makes_room() -> None:
    cache = MemoryStateCache(max_bytes=3500)
    await cache.save(key_of("a"), snapshot_of(1))
    await cache.save(key_of("b"), snapshot_of(1))
    await cache.save(key_of("c"), snapshot_of(1))
    await cache.load(key_of("a"))

    await cache.save(key_of("d"), snapshot_of(1))

    assert cache.stats().paths == ("c", "a", "d")
    assert cache.stats().evictions == 1


async def test_a_state_larger_than_the_cache_is_not_kept() -> None:
    cache = MemoryStateCache(max_bytes=3000)
    await cache.save(key_of("a"), snapshot_of(1))

    await cache.save(key_of("b"), snapshot_of("x" * 3000))

    assert cache.stats().paths == ("a",)


async def test_states_of_any_type_have_a_size() -> None:
    cache = MemoryStateCache()

    await cache.save(key_of("a"), snapshot_of({"odd": {object()}, "nan": float("nan"), 1: b"\xff"}))

    assert cache.stats().size == 1


async def test_a_state_that_cannot_be_measured_is_not_kept() -> None:
    loop: list[Any] = []
    loop.append(loop)
    cache = MemoryStateCache()

    await cache.save(key_of("a"), snapshot_of(loop))

    assert cache.stats().size == 0


async def test_stats_count_hits_and_misses() -> None:
    cache = MemoryStateCache()
    await cache.save(key_of("a"), snapshot_of(1))
    await cache.load(key_of("a"))
    await cache.load(key_of("b"))

    stats = cache.stats()

    assert (stats.size, stats.hits, stats.misses, stats.paths) == (1, 1, 1, ("a",))


async def test_a_stream_can_be_forgotten_for_all_users() -> None:
    cache = MemoryStateCache()
    await cache.save(key_of("a"), snapshot_of(1))
    await cache.save(key_of("a", scope="u"), snapshot_of(1))
    await cache.save(key_of("b"), snapshot_of(1))

    cache.delete("a")

    assert cache.stats().paths == ("b",)
    cache.clear()
    assert (cache.stats().size, cache.stats().size_bytes) == (0, 0)


# ---- whose it is ----


def test_without_credentials_a_state_is_everybodys() -> None:
    assert scope_of(None, None, {}) == ""


def test_fixed_credentials_are_a_scope_that_does_not_show_them() -> None:
    mine, yours = scope_of(None, {"Authorization": "a"}, None), scope_of(None, {"Authorization": "b"}, None)

    assert mine
    assert mine != yours
    assert "a" * 8 not in mine
    assert scope_of(None, None, {"Authorization": "a"}) != mine


@pytest.mark.parametrize("headers", [{"Authorization": lambda: "token"}, lambda: {"Authorization": "token"}])
def test_credentials_made_by_functions_do_not_tell_whose_state_it_is(headers: Any) -> None:
    assert scope_of(None, headers, None) is None
    assert scope_of("ann", headers, None) == "ann"
    with pytest.raises(ConfigurationError, match="cache_scope="):
        Provider("http://127.0.0.1", headers=headers, cache=MemoryStateCache())


# ---- one at a time ----


async def test_simultaneous_calls_share_one_run() -> None:
    runs: list[int] = []

    async def run() -> None:
        runs.append(1)
        await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(once_at_a_time, "key", run)

    assert len(runs) == 1


async def test_a_run_that_is_under_way_is_not_shared_but_the_next_one_is() -> None:
    runs: list[int] = []
    results: list[int] = []
    is_running = anyio.Event()

    async def run() -> int:
        runs.append(len(runs))
        number = runs[-1]
        is_running.set()
        await anyio.sleep(0.001)
        return number

    async def call() -> None:
        results.append(await once_at_a_time("key", run))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await is_running.wait()
        for _ in range(9):
            tasks.start_soon(call)

    assert results == [0] + [1] * 9


async def test_a_run_that_fails_fails_only_for_its_caller() -> None:
    outcomes: list[str] = []

    async def run() -> str:
        await anyio.sleep(0.001)
        if not outcomes:
            raise ValueError("on purpose")
        return "done"

    async def call() -> None:
        try:
            outcomes.append(await once_at_a_time("key", run))
        except ValueError as error:
            outcomes.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)

    assert outcomes == ["on purpose", "done", "done"]


async def test_when_the_one_who_runs_is_cancelled_another_runs() -> None:
    async def run() -> str:
        await anyio.sleep(0.02)
        return "done"

    results: list[str] = []

    async def impatient() -> None:
        with anyio.move_on_after(0.005):
            await once_at_a_time("key", run)

    async def patient() -> None:
        results.append(await once_at_a_time("key", run))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(impatient)
        tasks.start_soon(patient)

    assert results == ["done"]


# ---- providers ----


async def test_a_key_that_is_opened_again_fetches_only_what_is_new(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    async with Provider(server.url, cache=cache) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        for text in "abc":
            await todos.dispatch(Add(text=text))
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.append({"type": "add", "text": "d"})

    async with (
        WatchedClient() as client,
        Provider(server.url, cache=cache, transport=client.transport) as party,
    ):
        todos = party.server_reducer(todo_reducer, Todos(), key)
        await eventually(lambda: todos.value.texts == ["a", "b", "c", "d"])
        await todos.ready()

        assert client.fetched == 1


async def test_a_cached_state_is_shown_while_the_server_is_down(
    durable_server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    cache = MemoryStateCache()
    async with Provider(durable_server.url, cache=cache) as party:
        await party.server_state(0, key).set(5)
    durable_server.kill()

    async with Provider(durable_server.url, cache=cache, close_timeout_s=0, on_error=errors.append) as party:
        count = party.server_state(0, key)
        await eventually(lambda: count.value == 5)
        assert count.status == "connecting"
        count.increment()
        assert count.value == 6


async def test_r5_nothing_optimistic_is_ever_cached(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    async with (
        WatchedClient() as client,
        Provider(
            server.url,
            cache=cache,
            transport=client.transport,
            close_timeout_s=0,
            on_error=lambda error: None,
        ) as party,
    ):
        count = party.server_state(0, key)
        await count.increment()
        client.intercept = _refused
        count.increment(100)
        assert count.value == 101

    async with Provider(server.url, cache=cache) as party:
        assert (await party.server_state(0, key).ready()).value == 1


async def test_r8_no_cache_is_written_past_a_fault(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    async with Provider(server.url, cache=cache, on_error=lambda error: None) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        await todos.dispatch(Add(text="before"))
        todos.dispatch(Break())
        await todos.dispatch(Add(text="after"))

    async with (
        WatchedClient() as client,
        Provider(server.url, cache=cache, transport=client.transport, on_error=lambda error: None) as party,
    ):
        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()
        assert todos.value.texts == ["before", "after"]
        assert client.fetched == 3


class BrokenCache:
    """A cache that always fails."""

    async def load(self, key: CacheKey) -> Snapshot[Any] | None:
        raise OSError("cannot load")

    async def save(self, key: CacheKey, snapshot: Snapshot[Any]) -> None:
        raise OSError("cannot save")

    async def drop(self, key: CacheKey) -> None:
        raise OSError("cannot drop")


async def test_a_broken_cache_costs_time_and_nothing_else(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with Provider(
        server.url, cache=BrokenCache(), on_error=errors.append, on_notice=lambda notice: None
    ) as party:
        count = party.server_state(0, key)
        assert await count.increment() == 1
        async with DurableStream(f"{server.url}/{key}") as stream:
            await stream.delete()
        await eventually(lambda: count.value == 0)
        assert await count.increment() == 1

    assert {str(error) for error in errors} == {"cannot load", "cannot save", "cannot drop"}


async def test_r12_the_cached_state_of_a_deleted_stream_is_dropped(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    async with Provider(server.url, cache=cache) as party:
        await party.server_state(0, key).set(5)
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.delete()

    async with Provider(server.url, cache=cache, on_notice=lambda notice: None) as party:
        count = await party.server_state(0, key).ready()
        await eventually(lambda: count.value == 0)
        assert await count.increment() == 1


def _refused(request: httpx.Request) -> httpx.Response | None:
    return httpx.Response(503) if request.method == "POST" else None
