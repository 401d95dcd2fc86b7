"""`batch()`: many changes, one notice of them, and one append."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durafold import Get, Provider, ServerState, batch, derived, select
from durafold.atoms import atom
from durafold.engine.listeners import EndlessNotices
from support.server import ServerProcess
from support.waiting import PATIENCE_S, eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"

price = atom("price", 2)
amount = atom("amount", 3)


def nowhere(errors: list[Exception] | None = None) -> Provider:
    return Provider(NOWHERE, close_timeout_s=0, on_error=[].append if errors is None else errors.append)


def posts(watched: WatchedClient) -> list[tuple[str, str]]:
    return sorted(request for request in watched.requests if request[0] == "POST")


async def test_listeners_of_each_value_are_told_once_behind_the_block() -> None:
    async with nowhere() as party:
        first, second = party.open(price), party.open(amount)
        told: list[tuple[int, int]] = []
        first.subscribe(lambda: told.append((first.value, second.value)))
        second.subscribe(lambda: told.append((first.value, second.value)))

        with batch():
            first.increment()
            second.increment()
            first.increment()
            in_the_block = list(told)

        assert in_the_block == []
        assert told == [(4, 4), (4, 4)]


async def test_in_the_block_every_change_is_in_its_value_at_once() -> None:
    async with nowhere() as party:
        value = party.open(price)

        with batch():
            value.increment()
            seen = [value.value]
            value.increment()
            seen.append(value.value)

        assert seen == [3, 4]


async def test_two_handles_of_one_key_are_one_value() -> None:
    async with nowhere() as party:
        first, second = party.open(price), party.open(price)
        told: list[int] = []
        first.subscribe(lambda: told.append(first.value))

        with batch():
            first.increment()
            second.increment()

        assert told == [4]


async def test_who_follows_a_value_gets_it_once() -> None:
    async with nowhere() as party:
        value = party.open(price)
        changes = value.changes()
        await anext(changes)
        got: list[int] = []

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_follow, changes, got)
            await anyio.wait_all_tasks_blocked()
            with batch():
                value.increment()
                value.increment()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert got == [4]


async def _follow(changes: Any, got: list[int]) -> None:
    async for value in changes:
        got.append(value)


async def test_a_derived_value_is_computed_and_announced_once() -> None:
    runs: list[int] = []

    @derived
    def total(get: Get) -> int:
        runs.append(1)
        return get(price) * get(amount)

    async with nowhere() as party:
        reading = party.open(total)
        told: list[int] = []
        reading.subscribe(lambda: told.append(reading.value), progress=True)
        runs.clear()

        with batch():
            party.open(price).set(5)
            party.open(amount).set(7)

        assert (told, len(runs)) == ([35], 1)


async def test_what_is_derived_on_two_ways_from_one_value_is_announced_once() -> None:
    half, double = select(price, lambda value: value / 2), select(price, lambda value: value * 2)

    @derived
    def both(get: Get) -> tuple[float, float]:
        return get(half), get(double)

    async with nowhere() as party:
        reading = party.open(both)
        told: list[tuple[float, float]] = []
        reading.subscribe(lambda: told.append(reading.value), progress=True)

        with batch():
            party.open(price).set(8)

        assert told == [(4, 16)]


async def test_each_stream_gets_one_append(server: ServerProcess, key: str) -> None:
    async with WatchedClient() as watched, Provider(server.url, transport=watched.transport) as party:
        first = await party.server_state(0, f"{key}/a").ready()
        second = await party.server_state(list[int](), f"{key}/b").ready()

        with batch():
            dispatches = [first.increment(), second.append(1), first.increment(), second.append(2)]
        [await dispatch for dispatch in dispatches]

        assert [path.rpartition("/")[2] for _, path in posts(watched)] == ["a", "b"]
        assert (first.confirmed, second.confirmed) == (2, [1, 2])


async def test_other_clients_see_it_all_at_once(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        ours, theirs = mine.server_state(0, key), await yours.server_state(0, key).ready()
        await ours.ready()
        seen: list[int] = []
        theirs.subscribe(lambda: seen.append(theirs.value))

        with batch():
            [ours.increment() for _ in range(50)]
        await eventually(lambda: theirs.value == 50)

        assert seen == [50]


async def test_a_block_that_raises_leaves_what_it_has_dispatched(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = await party.server_state(0, key).ready()
        told: list[int] = []
        count.subscribe(lambda: told.append(count.value))

        with pytest.raises(ValueError, match="on purpose"):
            _two_and_then_an_error(count)

        assert told == [2]
        await count.increment()
        assert count.confirmed == 3


def _two_and_then_an_error(count: ServerState[int]) -> None:
    with batch():
        count.increment()
        count.increment()
        raise ValueError("on purpose")


async def test_of_nested_blocks_the_outermost_counts() -> None:
    async with nowhere() as party:
        value = party.open(price)
        told: list[int] = []
        value.subscribe(lambda: told.append(value.value))

        with batch():
            with batch():
                value.increment()
            between = list(told)
            value.increment()

        assert (between, told) == ([], [4])


async def test_a_block_in_a_listener_is_announced_behind_it() -> None:
    async with nowhere() as party:
        value, other = party.open(price), party.open(amount)
        told: list[int] = []
        value.subscribe(lambda: _in_a_block(other.increment, other.increment))
        other.subscribe(lambda: told.append(other.value))

        value.increment()
        with batch():
            value.increment()

        assert told == [5, 7]


def _in_a_block(*changes: Callable[[], Any]) -> None:
    with batch():
        [change() for change in changes]


async def test_what_a_task_does_that_was_started_in_a_block_is_announced_at_once_afterwards() -> None:
    async with nowhere() as party, anyio.create_task_group() as tasks:
        value, told, go_on = party.open(price), list[int](), anyio.Event()
        value.subscribe(lambda: told.append(value.value))

        async def later() -> None:
            await go_on.wait()
            value.increment()
            told.append(-1)

        with batch():
            tasks.start_soon(later)
        go_on.set()
        await anyio.wait_all_tasks_blocked()

        assert told == [3, -1]


async def test_other_tasks_are_not_held_up_by_a_block() -> None:
    async with nowhere() as party, anyio.create_task_group() as tasks:
        value, told, go_on = party.open(price), list[int](), anyio.Event()
        value.subscribe(lambda: told.append(value.value))

        async def other() -> None:
            await go_on.wait()
            value.increment()

        tasks.start_soon(other)
        with batch():
            go_on.set()
            await anyio.wait_all_tasks_blocked()
            in_the_block = list(told)

        assert in_the_block == [3]


async def test_what_others_bring_meanwhile_shows_nobody_half_of_a_block() -> None:
    @derived
    def total(get: Get) -> int:
        return get(price) + get(amount)

    async with nowhere() as party, anyio.create_task_group() as tasks:
        first, second, both = party.open(price), party.open(amount), party.open(total)
        told, go_on = list[int](), anyio.Event()
        first.subscribe(lambda: told.append(first.value))
        both.subscribe(lambda: told.append(both.value))

        async def other() -> None:
            await go_on.wait()
            first.increment()
            second.increment()

        tasks.start_soon(other)
        with batch():
            first.increment()
            go_on.set()
            await anyio.wait_all_tasks_blocked()
            first.increment()
            in_the_block = list(told)

        assert (in_the_block, sorted(told)) == ([], [5, 9])


async def test_what_is_opened_in_a_block_can_be_waited_for_there(server: ServerProcess, key: str) -> None:
    source = atom(key, 1)

    @derived
    async def doubled(get: Get) -> int:
        return 2 * get(source)

    async with Provider(server.url) as party:
        with anyio.fail_after(PATIENCE_S), batch():
            stream = await party.open(source).ready()
            computed = await party.open(doubled).ready()
            room = await party.presence(key, str).ready()

        assert (stream.value, computed.value, dict(room.others)) == (1, 2, {})


async def test_listeners_that_answer_a_batch_without_end_are_reported() -> None:
    errors: list[Exception] = []
    async with nowhere(errors) as party:
        value = party.open(price)
        value.subscribe(value.increment)  # type: ignore[arg-type]

        with batch():
            value.increment()

        assert [type(error) for error in errors] == [EndlessNotices]
