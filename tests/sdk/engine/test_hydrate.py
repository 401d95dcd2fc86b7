"""Loading states for a page, caching them, and going live from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from durafold.cache import MemoryStateCache, SqliteStateCache, ssr_state_cache
from durafold.client import DurableStream
from durafold.errors import ConfigurationError, ConnectFailed
from durafold.hooks import use_server_state
from durafold.hydrate import (
    HydrationBoundary,
    HydrationPayload,
    StreamSpec,
    load_stream_with_reducer,
    load_streams,
)
from durafold.provider import Provider
from durafold.state.reducer import reducer, set_state_reducer
from support.server import ServerProcess
from support.todos import Add, Break, Todos, todo_reducer
from support.waiting import eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio


async def append(server: ServerProcess, key: str, *messages: Any) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.create()
        await stream.append_many(messages)


def adding(*texts: str) -> list[dict[str, str]]:
    return [{"type": "add", "text": text} for text in texts]


# ---- loading ----


async def test_a_stream_is_folded_up_to_its_present_tail(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("a", "b", "a"))

    loaded = await load_stream_with_reducer(server.url, key, todo_reducer, Todos(), use_cache=False)

    assert loaded.state.texts == ["a", "b"]
    assert (loaded.path, loaded.revision, loaded.fetched_count) == (key, 2, 3)


async def test_a_shared_value_is_loaded_with_its_own_reducer(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)
        await count.set(5)
        await count.increment()

    loaded = await load_stream_with_reducer(server.url, key, set_state_reducer, 0, use_cache=False)

    assert loaded.state == 6
    assert loaded.offset == count.offset


async def test_the_second_load_fetches_only_what_is_new(server: ServerProcess, key: str) -> None:
    calls: list[Any] = []

    @reducer(name="counting")
    def counting(state: int, action: Any) -> int:
        calls.append(action)
        return state + 1

    cache = MemoryStateCache()
    await append(server, key, *range(500))
    async with WatchedClient() as client:

        async def load() -> int:
            loaded = await load_stream_with_reducer(
                server.url, key, counting, 0, cache=cache, transport=client.transport
            )
            assert loaded.fetched_count == client.fetched - fetched
            return loaded.state

        fetched = 0
        assert await load() == 500
        assert (len(calls), client.fetched) == (500, 500)

        fetched = client.fetched
        assert await load() == 500
        assert (len(calls), client.fetched) == (500, 500)

        await append(server, key, "new", "newer")
        assert await load() == 502
        assert calls[500:] == ["new", "newer"]
        assert client.fetched == 502


async def test_loads_at_the_same_time_fetch_once(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("a"))
    cache = MemoryStateCache()
    states: list[Todos] = []
    async with WatchedClient() as client:

        async def load() -> None:
            loaded = await load_stream_with_reducer(
                server.url, key, todo_reducer, Todos(), cache=cache, transport=client.transport
            )
            states.append(loaded.state)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(load)

        assert client.fetched == 1
    assert [state.texts for state in states] == [["a"]] * 10


async def test_without_cache_everything_is_fetched_every_time(server: ServerProcess, key: str) -> None:
    await append(server, key, 1, 2, 3)
    async with WatchedClient() as client:
        for _ in range(2):
            await load_stream_with_reducer(
                server.url, key, _count, 0, use_cache=False, transport=client.transport
            )

        assert client.fetched == 6


async def test_a_stream_that_does_not_exist_gives_the_initial_state_and_is_not_created(
    server: ServerProcess, key: str
) -> None:
    loaded = await load_stream_with_reducer(server.url, key, _count, 7, cache=MemoryStateCache())

    assert (loaded.state, loaded.revision, loaded.offset) == (7, 0, "-1")
    assert (await load_stream_with_reducer(server.url, key, _count, 7, use_cache=False)).offset == "-1"


async def test_a_stream_that_was_made_anew_is_loaded_from_its_start(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    await append(server, key, 1, 2, 3)
    await load_stream_with_reducer(server.url, key, _count, 0, cache=cache)
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.delete()
    assert (await load_stream_with_reducer(server.url, key, _count, 0, cache=cache)).state == 0

    await append(server, key, 1)

    assert (await load_stream_with_reducer(server.url, key, _count, 0, cache=cache)).state == 1


async def test_another_version_of_a_reducer_starts_cold(server: ServerProcess, key: str) -> None:
    await append(server, key, 1, 2)
    cache = MemoryStateCache()
    first = reducer(name="sum")(_count)
    second = reducer(name="sum", version="2")(lambda state, _: state + 10)

    assert (await load_stream_with_reducer(server.url, key, first, 0, cache=cache)).state == 2
    assert (await load_stream_with_reducer(server.url, key, second, 0, cache=cache)).state == 20


async def test_one_users_state_is_not_served_to_another(server: ServerProcess, key: str) -> None:
    await append(server, key, 1)
    cache = MemoryStateCache()
    async with WatchedClient() as client:
        for user in ("ann", "bob", "ann"):
            headers = {"Authorization": f"Bearer {user}"}
            await load_stream_with_reducer(
                server.url, key, _count, 0, cache=cache, headers=headers, transport=client.transport
            )

        assert client.fetched == 2


async def test_a_state_that_is_not_whole_is_not_cached(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("a"), {"type": "break"})
    cache = MemoryStateCache()

    loaded = await load_stream_with_reducer(server.url, key, todo_reducer, Todos(), cache=cache)

    assert loaded.state.texts == ["a"]
    assert loaded.confirmed.fault_count == 1
    assert cache.stats().size == 0


async def test_several_streams_are_loaded_together(server: ServerProcess, key: str) -> None:
    await append(server, f"{key}/todos", *adding("a"))
    await append(server, f"{key}/count", {"type": "set", "payload": 5})

    payload = await load_streams(
        server.url,
        [
            StreamSpec(f"{key}/todos", todo_reducer, Todos()),
            StreamSpec(f"{key}/count", set_state_reducer, 0, use_cache=False),
        ],
        cache=MemoryStateCache(),
    )

    assert payload[f"{key}/todos"].texts == ["a"]
    assert payload[f"{key}/count"] == 5
    assert f"{key}/other" not in payload


async def test_the_default_cache_can_be_looked_at_and_emptied(server: ServerProcess, key: str) -> None:
    await append(server, key, 1)
    await load_stream_with_reducer(server.url, key, _count, 0)

    assert key in ssr_state_cache.stats().paths
    ssr_state_cache.delete(key)
    assert key not in ssr_state_cache.stats().paths


async def test_what_goes_wrong_is_raised_bare(key: str) -> None:
    with pytest.raises(ConnectFailed):
        await load_stream_with_reducer("http://127.0.0.1:9", key, _count, 0)


async def test_two_specs_for_one_path_are_refused(server: ServerProcess, key: str) -> None:
    with pytest.raises(ConfigurationError, match="the same path"):
        await load_streams(server.url, [StreamSpec(key, _count, 0), StreamSpec(key, _count, 1)])


# ---- going live ----


async def test_inside_a_boundary_a_provider_starts_at_the_loaded_state_and_offset(
    server: ServerProcess, key: str
) -> None:
    await append(server, key, *adding("a", "b"))
    payload = await load_streams(
        server.url, [StreamSpec(key, todo_reducer, Todos())], cache=MemoryStateCache()
    )

    async with WatchedClient() as client, Provider(server.url, transport=client.transport) as party:
        with HydrationBoundary(payload):
            todos = party.server_reducer(todo_reducer, Todos(), key)
        assert todos.value.texts == ["a", "b"]
        assert todos.offset == payload.loaded[key].offset

        assert (await todos.dispatch(Add(text="c"))).texts == ["a", "b", "c"]
        assert client.fetched == 0


async def test_hooks_start_at_the_loaded_state(server: ServerProcess, key: str) -> None:
    await append(server, key, {"type": "set", "payload": 5})
    payload = await load_streams(
        server.url, [StreamSpec(key, set_state_reducer, 0)], cache=MemoryStateCache()
    )

    async with Provider(server.url):
        with HydrationBoundary(payload):
            assert use_server_state(0, key)[0] == 5


async def test_a_payload_travels_as_text(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("</script><script>"))
    sent = await load_streams(server.url, [StreamSpec(key, todo_reducer, Todos())], cache=MemoryStateCache())

    text = sent.dump()
    received = HydrationPayload.load(text)

    assert "<" not in text
    assert received[key] == {"items": [{"text": "</script><script>", "done": False}]}
    assert received.dump() == text
    async with Provider(server.url) as party:
        with HydrationBoundary(received):
            todos = party.server_reducer(todo_reducer, Todos(), key)
        assert todos.value == sent[key]


async def test_a_state_of_another_reducer_is_not_used(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("a"))
    payload = await load_streams(server.url, [StreamSpec(key, _count, 0)], cache=MemoryStateCache())

    async with Provider(server.url) as party:
        for boundary in (
            HydrationBoundary(payload),
            HydrationBoundary(HydrationPayload.load(payload.dump())),
        ):
            with boundary:
                todos = party.server_reducer(todo_reducer, Todos(), key)
            assert todos.value == Todos()
            todos.close()


async def test_boundaries_nest_and_the_inner_one_wins(server: ServerProcess, key: str) -> None:
    cache = MemoryStateCache()
    await append(server, f"{key}/a", 1)
    await append(server, f"{key}/b", 1)
    outer = await load_streams(
        server.url, [StreamSpec(f"{key}/{name}", _count, 0) for name in "ab"], cache=cache
    )
    await append(server, f"{key}/b", 2)
    inner = await load_streams(server.url, [StreamSpec(f"{key}/b", _count, 0)], cache=cache)

    async with Provider(server.url) as party:
        with HydrationBoundary(outer), HydrationBoundary(inner):
            values = [party.server_reducer(_count, 0, f"{key}/{name}").value for name in "ab"]
        after = party.server_reducer(_count, 0, f"{key}/c").value

    assert values == [1, 2]
    assert after == 0


async def test_a_state_with_faults_hydrates_here_but_does_not_travel(server: ServerProcess, key: str) -> None:
    await append(server, key, *adding("a"), Break().model_dump())
    payload = await load_streams(
        server.url, [StreamSpec(key, todo_reducer, Todos())], cache=MemoryStateCache()
    )

    assert key not in HydrationPayload.load(payload.dump())
    async with Provider(server.url) as party:
        with HydrationBoundary(payload):
            todos = party.server_reducer(todo_reducer, Todos(), key)
        assert todos.value.texts == ["a"]
        await todos.ready()
        assert todos.status == "degraded"


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"v":2,"streams":{}}', '{"v":1,"streams":[]}'])
def test_text_that_is_no_payload_is_an_empty_one(text: str) -> None:
    assert HydrationPayload.load(text).dump() == HydrationPayload({}).dump()


async def test_a_state_that_would_come_back_different_cannot_be_dumped(
    server: ServerProcess, key: str
) -> None:
    await append(server, key, 1)
    payload = await load_streams(server.url, [StreamSpec(key, _by_number, {})], cache=MemoryStateCache())

    with pytest.raises(ConfigurationError, match="state_type="):
        payload.dump()


async def test_a_hydrated_stream_that_is_gone_starts_over(server: ServerProcess, key: str) -> None:
    await append(server, key, 1, 2)
    payload = await load_streams(server.url, [StreamSpec(key, _count, 0)], cache=MemoryStateCache())
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.delete()

    async with Provider(server.url, on_notice=lambda notice: None) as party:
        with HydrationBoundary(payload):
            count = party.server_reducer(_count, 0, key)
        assert count.value == 2
        await eventually(lambda: count.value == 0)
        assert await count.dispatch(1) == 1


def _count(state: int, action: Any) -> int:
    return state + 1


def _by_number(state: dict[int, bool], action: int) -> dict[int, bool]:
    return {**state, action: True}


# ---- signatures ----

SECRET = b"0123456789abcdef"


async def _dumped(server: ServerProcess, key: str) -> str:
    async with Provider(server.url) as party:
        await party.server_state(0, key).set(5)
    payload = await load_streams(
        server.url, [StreamSpec(key, set_state_reducer, 0)], cache=MemoryStateCache()
    )
    return payload.dump(secret=SECRET)


async def test_a_signed_payload_is_taken_with_the_same_secret(server: ServerProcess, key: str) -> None:
    text = await _dumped(server, key)

    assert HydrationPayload.load(text, secret=SECRET)[key] == 5
    assert HydrationPayload.load(text)[key] == 5


@pytest.mark.parametrize("forge", ["state", "mac", "no mac", "secret"])
async def test_a_payload_that_somebody_else_made_up_is_an_empty_one(
    server: ServerProcess, key: str, forge: str
) -> None:
    payload = json.loads(await _dumped(server, key))
    changes = {
        "state": lambda: payload["streams"][key].update(state=6),
        "mac": lambda: payload.update(mac="0" * 64),
        "no mac": lambda: payload.pop("mac"),
        "secret": lambda: None,
    }
    changes[forge]()
    secret = b"another secret of it" if forge == "secret" else SECRET

    assert key not in HydrationPayload.load(json.dumps(payload), secret=secret)


def test_a_secret_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="too short"):
        HydrationPayload({}).dump(secret=b"short")


async def test_a_broken_cache_costs_a_load_time_and_nothing_else(
    server: ServerProcess, key: str, tmp_path: Path
) -> None:
    async with Provider(server.url) as party:
        await party.server_state(0, key).set(5)
    file = tmp_path / "cache.db"
    file.write_text("this is no database, however long one looks at it" * 100)

    loaded = await load_stream_with_reducer(
        server.url, key, set_state_reducer, 0, cache=SqliteStateCache(file)
    )

    assert loaded.state == 5
