"""The cache in a file: what outlives a process, and what does not."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from durafold.cache import CacheKey, SqliteStateCache
from durafold.errors import ConfigurationError
from durafold.hydrate import load_stream_with_reducer
from durafold.provider import Provider
from durafold.state.models import model_of
from durafold.state.snapshot import Snapshot
from support.server import ServerProcess
from support.todos import Add, Todos, todo_reducer
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "states.db"


def key_of(path: str, *, fingerprint: str = "f", scope: str = "", states: Any = None) -> CacheKey:
    model = model_of(states if states is not None else {})
    return CacheKey("http://host/v1/stream", path, fingerprint, scope, model)


def snapshot_of(state: Any) -> Snapshot[Any]:
    return Snapshot(state, "5", 2, 3, {"me": 7, "you": 1}, "f")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_another_process_finds_what_was_saved(file: Path) -> None:
    snapshot = snapshot_of(Todos())
    await SqliteStateCache(file).save(key_of("a", states=Todos()), snapshot)

    assert await SqliteStateCache(file).load(key_of("a", states=Todos())) == snapshot


@pytest.mark.parametrize(
    "other", [key_of("b"), key_of("a", fingerprint="g"), key_of("a", scope="somebody else")]
)
async def test_r11_nothing_is_found_for_another_stream_reducer_or_user(file: Path, other: CacheKey) -> None:
    cache = SqliteStateCache(file)
    await cache.save(key_of("a"), snapshot_of({}))

    assert await cache.load(other) is None
    assert (cache.stats().hits, cache.stats().misses) == (0, 1)


async def test_a_state_of_another_type_is_not_found(file: Path) -> None:
    cache = SqliteStateCache(file)
    await cache.save(key_of("a"), snapshot_of({"items": "none"}))

    assert await cache.load(key_of("a", states=Todos())) is None


async def test_a_state_without_faithful_json_form_is_not_kept(file: Path) -> None:
    cache = SqliteStateCache(file)

    await cache.save(key_of("a"), snapshot_of({1: "a"}))

    assert cache.stats().size == 0


async def test_entries_expire_and_are_removed_by_the_next_save(file: Path) -> None:
    clock = Clock()
    cache = SqliteStateCache(file, ttl_s=10.0, clock=clock)
    await cache.save(key_of("a"), snapshot_of({}))
    clock.now_s += 10.0

    assert await cache.load(key_of("a")) is None
    await cache.save(key_of("b"), snapshot_of({}))

    assert cache.stats().paths == ("b",)


async def test_what_was_not_used_for_the_longest_time_makes_room(file: Path) -> None:
    clock = Clock()
    cache = SqliteStateCache(file, max_bytes=1200, clock=clock)
    for path in "ab":
        await cache.save(key_of(path), snapshot_of({"text": "x" * 400}))
        clock.now_s += 100.0
    await cache.load(key_of("a"))
    clock.now_s += 100.0

    await cache.save(key_of("c"), snapshot_of({"text": "x" * 400}))
    await cache.save(key_of("d"), snapshot_of({"text": "x" * 2000}))

    stats = cache.stats()
    assert (stats.paths, stats.evictions, stats.size_bytes < 1200) == (("a", "c"), 1, True)


async def test_it_can_be_emptied_as_a_whole_or_by_stream(file: Path) -> None:
    cache = SqliteStateCache(file)
    for path, scope in [("a", ""), ("a", "me"), ("b", ""), ("c", "")]:
        await cache.save(key_of(path, scope=scope), snapshot_of({}))

    cache.delete("a")
    await cache.drop(key_of("b"))
    left = cache.stats().paths
    cache.clear()

    assert (left, cache.stats().size) == (("c",), 0)


async def test_only_its_owner_may_read_it(file: Path) -> None:
    await SqliteStateCache(file).save(key_of("a"), snapshot_of({}))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_the_database_of_something_else_is_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as other:
        other.execute("create table precious (thing)")

    with pytest.raises(ConfigurationError, match="it is a database of something else"):
        await SqliteStateCache(file).load(key_of("a"))

    with sqlite3.connect(file) as other:
        assert [row[0] for row in other.execute("select name from sqlite_master")] == ["precious"]


async def test_two_caches_may_write_one_file_at_a_time(file: Path) -> None:
    caches = [SqliteStateCache(file) for _ in range(4)]

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(caches[number % 4].save, key_of(str(number)), snapshot_of({}))

    assert caches[0].stats().size == 40


async def test_a_provider_of_the_next_process_fetches_only_what_is_new(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with Provider(server.url, cache=SqliteStateCache(file)) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        for text in ("a", "b", "c"):
            await todos.dispatch(Add(text=text))
    async with Provider(server.url) as other:
        await other.server_reducer(todo_reducer, Todos(), key).dispatch(Add(text="d"))

    async with (
        WatchedClient() as client,
        Provider(server.url, cache=SqliteStateCache(file), transport=client.transport) as party,
    ):
        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()

        assert (todos.value.texts, client.fetched) == (["a", "b", "c", "d"], 1)


async def test_loads_of_several_processes_share_it(server: ServerProcess, key: str, file: Path) -> None:
    async with Provider(server.url) as party:
        await party.server_reducer(todo_reducer, Todos(), key).dispatch(Add(text="a"))

    counts = []
    for _ in range(2):
        loaded = await load_stream_with_reducer(
            server.url, key, todo_reducer, Todos(), cache=SqliteStateCache(file)
        )
        counts.append(loaded.fetched_count)

    assert (counts[0], sum(counts)) == (1, 1)
