"""Opening and leaving: nothing is left behind, in whatever way a provider or handle ends."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durafold import Get, MemoryStateCache, atom, derived, use_atom, use_value
from durafold.client import Transport
from durafold.computed import DerivedValue
from durafold.engine import Engine, ServerState
from durafold.errors import ConfigurationError, ProviderClosed
from durafold.presence import Room
from durafold.provider import Provider
from support.server import ServerProcess
from support.waiting import eventually

pytestmark = pytest.mark.anyio

price = atom("lifecycle/price", 2)


@derived
def double(get: Get) -> int:
    return 2 * get(price)


def open_sockets() -> int:
    """How many file descriptors of this process are sockets, where the system tells (Linux)."""
    links = [link for link in Path("/proc/self/fd").glob("*") if link.is_symlink()]
    return sum(str(link.readlink()).startswith("socket:") for link in links)


def left_over() -> dict[str, int]:
    """What a provider could leave behind."""
    gc.collect()
    alive = gc.get_objects()
    kinds = {"engines": Engine, "rooms": Room, "nodes": DerivedValue, "callbacks": Callback}
    counted = {name: sum(isinstance(thing, kind) for thing in alive) for name, kind in kinds.items()}
    descriptors = len(list(Path("/proc/self/fd").glob("*")))
    return {**counted, "descriptors": descriptors, "sockets": open_sockets(), "tasks": tasks_alive()}


def engines_alive() -> int:
    """How many engines were not garbage-collected."""
    gc.collect()
    return sum(isinstance(thing, Engine) for thing in gc.get_objects())


def tasks_alive() -> int:
    """How many tasks run."""
    return len(anyio.get_running_tasks())


class Callback:
    """A callback that can be counted: functions die hard, since tracebacks and frames hold them."""

    def __call__(self) -> None:
        """Nothing to do."""


@derived
async def later(get: Get) -> int:
    return get(price) + 1


async def one_round(url: str, key: str, outbox: Path) -> None:
    """Use all that a provider has, and leave."""
    async with Provider(url, outbox=outbox, cache=MemoryStateCache()) as party:
        room = party.presence(f"{key}/room", str)
        count = await party.server_state(0, key).ready()
        readings = [count, party.open(price), party.open(double), party.open(later), room]
        for reading in readings:
            reading.subscribe(Callback())
        room.set("here")
        await anext(count.changes())
        await party.open(price).set(party.open(price).value + 1)
        await count.increment()
        use_atom(price)
        use_value(double)


async def test_sixty_rounds_of_connecting_subscribing_and_closing_leave_nothing_behind(
    server: ServerProcess, key: str, tmp_path: Path
) -> None:
    await one_round(server.url, key, tmp_path / "outbox")
    before = left_over()

    for _ in range(60):
        await one_round(server.url, key, tmp_path / "outbox")

    assert left_over() == before
    assert before["callbacks"] == before["engines"] == before["rooms"] == before["nodes"] == 0
    async with Provider(server.url) as party:
        assert (await party.server_state(0, key).ready()).value == 61


async def test_thirty_handles_of_one_key_come_and_go_without_leaving_anything(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        kept = await party.server_state(0, key).ready()
        before = (open_sockets(), engines_alive(), tasks_alive(), len(kept._engine.listeners))

        for _ in range(30):
            handle = party.server_state(0, key)
            handle.subscribe(lambda: None)
            handle.close()
            handle.close()

        assert (open_sockets(), engines_alive(), tasks_alive(), len(kept._engine.listeners)) == before


async def test_with_the_last_handle_of_a_key_its_connection_ends(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        await party.server_state(0, f"{key}/other").ready()
        before = tasks_alive()
        first, second = party.server_state(0, key), party.server_state(0, key)
        await first.ready()

        first.close()
        await second.increment()
        second.increment()
        second.close()
        await eventually(lambda: tasks_alive() == before)

        assert second.status == "closed"
        with pytest.raises(ProviderClosed):
            second.increment()
        again = await party.server_state(0, key).ready()
        assert again.value == 2
        assert again.client_id != second.client_id


async def test_a_key_that_nobody_uses_any_more_may_mean_something_else(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        party.server_state(0, key).close()

        assert party.server_state({"a": 1}, key).value == {"a": 1}


async def test_a_provider_must_be_open(server: ServerProcess, key: str) -> None:
    party = Provider(server.url)

    with pytest.raises(ConfigurationError, match=r"Use it inside `async with Provider"):
        party.server_state(0, key)


async def test_a_provider_can_be_opened_once(server: ServerProcess, key: str) -> None:
    party = Provider(server.url)
    async with party:
        with pytest.raises(ConfigurationError, match="only once"):
            await party.__aenter__()

    with pytest.raises(ProviderClosed):
        party.server_state(0, key)


async def test_what_the_body_raises_comes_out_bare(server: ServerProcess, key: str) -> None:
    async def work() -> None:
        async with Provider(server.url) as party:
            party.server_state(0, key)
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await work()


async def test_cancelling_the_body_does_not_wait_for_anything(key: str) -> None:
    with anyio.move_on_after(0.05) as scope:
        async with Provider("http://127.0.0.1:9/v1/stream", on_error=lambda error: None) as party:
            party.server_state(0, key).increment()
            await anyio.sleep_forever()

    assert scope.cancelled_caught


async def test_any_task_may_close_a_provider_that_runs_in_its_own(server: ServerProcess, key: str) -> None:
    party = Provider(server.url)
    async with anyio.create_task_group() as tasks:
        await tasks.start(party.run)
        count = party.server_state(0, key)
        count.increment(3)

        async with anyio.create_task_group() as others:
            others.start_soon(party.aclose)
            others.start_soon(party.aclose)

        assert count.status == "closed"
    async with Provider(server.url) as after:
        assert (await after.server_state(0, key).ready()).value == 3


async def test_a_provider_may_be_closed_inside_its_block(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)
        count.increment()

        await party.aclose()

        assert count.status == "closed"
        with pytest.raises(ProviderClosed):
            party.server_state(0, key)


async def test_a_lifespan_function_can_hold_a_provider(server: ServerProcess, key: str) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServerState[int]]:
        async with Provider(server.url) as party:
            yield party.server_state(0, key)

    async with lifespan() as count, anyio.create_task_group() as requests:
        for _ in range(3):
            requests.start_soon(_increment, count)
        await eventually(lambda: count.confirmed == 3)


async def test_a_shared_transport_is_left_open(server: ServerProcess, key: str) -> None:
    async with Transport() as transport:
        async with Provider(server.url, transport=transport) as party:
            await party.server_state(0, key).increment()
        async with Provider(server.url, transport=transport) as party:
            assert await party.server_state(0, key).increment() == 2


async def test_a_fault_of_our_own_fails_one_stream_and_not_the_provider(
    server: ServerProcess, key: str, errors: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Provider(server.url, on_error=errors.append) as party:
        broken, sound = party.server_state(0, key), party.server_state(0, f"{key}/sound")
        monkeypatch.setattr(broken._engine, "take", None)

        assert await sound.increment() == 1
        await eventually(lambda: broken.status == "failed")
        assert [type(error) for error in errors] == [TypeError]


@pytest.mark.parametrize("client_id", ["", "a:b", "naïve", "line\nbreak", " before", "behind "])
def test_a_client_id_that_cannot_travel_is_refused(client_id: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a client id"):
        Provider("http://127.0.0.1", client_id=client_id)


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer s3cret\n"}, {"a b": "s3cret"}, {"a": b"s3cret"}, {1: "s3cret"}]
)
def test_headers_that_can_never_be_sent_are_refused_before_anything_waits_for_them(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="header") as caught:
        Provider("http://127.0.0.1:4437", headers=headers)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("live", ["off", "longpoll", True])
def test_a_provider_that_would_not_follow_its_streams_is_refused(live: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"live=.* 'auto', 'sse', 'long-poll'"):
        Provider("http://127.0.0.1", live=live)


async def _increment(count: ServerState[int]) -> None:
    await count.increment()
