"""Derived values: computed when needed, kept while nothing changes, never a mix of two times."""

from __future__ import annotations

import gc
from typing import assert_type

import anyio
import anyio.lowlevel
import pytest

from durafold import Derived, Get, Provider, derived, select
from durafold.atoms import atom
from durafold.computed import DerivedValue
from durafold.errors import ConfigurationError
from durafold.hooks import use_value
from support.server import ServerProcess
from support.waiting import eventually

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"

price = atom("price", 2)
amount = atom("amount", 3)
is_free = atom("free", False)


def nowhere() -> Provider:
    return Provider(NOWHERE, close_timeout_s=0, on_error=lambda error: None)


async def test_it_is_computed_when_it_is_read_and_again_only_after_a_change() -> None:
    runs: list[int] = []

    @derived
    def total(get: Get) -> int:
        runs.append(1)
        return get(price) * get(amount)

    async with nowhere() as party:
        reading = party.open(total)
        assert runs == []
        assert (reading.value, reading.value, len(runs)) == (6, 6, 1)

        party.open(price).set(5)

        assert (reading.value, len(runs)) == (15, 2)


async def test_all_users_of_a_provider_share_one_computation() -> None:
    runs: list[int] = []

    @derived
    def total(get: Get) -> int:
        runs.append(1)
        return get(price)

    async with nowhere() as party:
        values = [party.open(total).value for _ in range(10)]

        assert (values, len(runs), len(party.nodes)) == ([2] * 10, 1, 1)


async def test_subscribers_are_told_of_changes_and_not_of_equal_results() -> None:
    @derived
    def is_dear(get: Get) -> bool:
        return get(price) > 10

    async with nowhere() as party:
        reading, seen = party.open(is_dear), list[bool]()
        reading.subscribe(lambda: seen.append(reading.value))
        cost = party.open(price)

        for value in (3, 11, 12, 4):
            cost.set(value)

        assert seen == [True, False]


async def test_an_equal_result_keeps_the_old_object_and_version() -> None:
    @derived
    def items(get: Get) -> list[int]:
        return [get(price) % 2]

    async with nowhere() as party:
        reading = party.open(items)
        before, version = reading.value, reading.version

        party.open(price).set(4)

        assert reading.value is before
        assert reading.version == version


async def test_equality_may_be_declared() -> None:
    @derived(equal=lambda left, right: abs(left - right) < 10)
    def roughly(get: Get) -> int:
        return get(price)

    async with nowhere() as party:
        reading = party.open(roughly)
        assert reading.value == 2
        party.open(price).set(9)
        assert reading.value == 2
        party.open(price).set(12)
        assert reading.value == 12


async def test_what_is_made_of_two_derived_values_never_mixes_times() -> None:
    @derived
    def plus(get: Get) -> int:
        return get(price) + 1

    @derived
    def minus(get: Get) -> int:
        return get(price) - 1

    @derived
    def both(get: Get) -> tuple[int, int]:
        return get(plus), get(minus)

    async with nowhere() as party:
        reading, seen = party.open(both), list[tuple[int, int]]()
        reading.subscribe(lambda: seen.append(reading.value))

        party.open(price).set(10)
        party.open(price).set(20)

        assert seen == [(11, 9), (21, 19)]


async def test_what_is_no_longer_read_is_let_go() -> None:
    @derived
    def cost(get: Get) -> int:
        return 0 if get(is_free) else get(price)

    async with nowhere() as party:
        reading = party.open(cost)
        reading.subscribe(lambda: None)
        assert (reading.value, set(party._engines.shared)) == (2, {"free", "price"})

        party.open(is_free).set(True)

        assert (reading.value, set(party._engines.shared)) == (0, {"free"})


async def test_what_it_raises_is_raised_to_readers_until_something_changes() -> None:
    @derived
    def ratio(get: Get) -> float:
        return 1 / (get(price) - 2)

    async with nowhere() as party:
        reading = party.open(ratio)
        with pytest.raises(ZeroDivisionError):
            _ = reading.value
        assert (reading.status, type(reading.error)) == ("failed", ZeroDivisionError)

        party.open(price).set(3)

        assert (reading.value, reading.error, reading.status) == (1.0, None, "connecting")


async def test_a_value_that_depends_on_itself_is_told_so() -> None:
    @derived
    def egg(get: Get) -> int:
        return get(hen)

    @derived
    def hen(get: Get) -> int:
        return get(egg)

    async with nowhere() as party:
        with pytest.raises(ConfigurationError, match="depends on itself"):
            _ = party.open(hen).value


async def test_a_selection_is_told_of_its_part_only() -> None:
    settings = atom("settings", {"dark": False, "size": 1})
    dark = select(settings, lambda value: value["dark"])
    async with nowhere() as party:
        reading, told = party.open(dark), list[object]()
        reading.subscribe(lambda: told.append(reading.value))
        handle = party.open(settings)

        handle.put("size", 2)
        handle.put("dark", True)

        assert told == [True]


async def test_it_ends_with_its_last_user_and_lets_everything_go() -> None:
    @derived
    def total(get: Get) -> int:
        return get(price) * get(amount)

    async with nowhere() as party:
        readings = [party.open(total) for _ in range(3)]
        assert [reading.value for reading in readings] == [6, 6, 6]

        for reading in readings:
            reading.close()
            reading.close()

        assert (len(party.nodes), len(party._engines.shared), len(party._attached)) == (0, 0, 0)
        assert readings[0].status == "closed"


async def test_it_follows_the_streams_of_other_clients(server: ServerProcess, key: str) -> None:
    left, right = atom(f"{key}/left", 0), atom(f"{key}/right", 0)

    @derived
    def total(get: Get) -> int:
        return get(left) + get(right)

    async with Provider(server.url) as mine, Provider(server.url) as yours:
        reading = await mine.open(total).ready()
        assert (reading.status, reading.offset) == ("live", None)

        await yours.open(left).set(1)
        await yours.open(right).set(2)

        await eventually(lambda: reading.value == 3)


async def test_of_one_stream_it_has_the_offset(server: ServerProcess, key: str) -> None:
    count = atom(key, 0)
    async with Provider(server.url) as party:
        handle = await party.open(count).ready()

        assert party.open(select(count, str)).offset == handle.offset


async def test_its_changes_end_when_the_provider_closes() -> None:
    @derived
    def doubled(get: Get) -> int:
        return 2 * get(price)

    seen: list[int] = []

    async def watch(reading: DerivedValue[int]) -> None:
        async for value in reading:
            seen.append(value)

    async with anyio.create_task_group() as tasks, nowhere() as party:
        tasks.start_soon(watch, party.open(doubled))
        await anyio.lowlevel.checkpoint()
        party.open(price).set(4)
        await eventually(lambda: seen == [8] or seen == [4, 8])

    assert seen[-1] == 8


# ---- asynchronous ones ----


async def test_an_asynchronous_one_has_its_initial_value_until_it_is_computed() -> None:
    @derived(initial=-1)
    async def doubled(get: Get) -> int:
        await anyio.lowlevel.checkpoint()
        return get(price) * 2

    async with nowhere() as party:
        reading = party.open(doubled)
        assert (reading.value, reading.status) == (-1, "connecting")

        await eventually(lambda: reading.value == 4)
        party.open(price).set(5)
        assert reading.value == 4
        await eventually(lambda: reading.value == 10)


async def test_a_run_whose_inputs_change_is_begun_anew() -> None:
    started, finished = list[int](), list[int]()
    gate = anyio.Event()

    @derived(initial=0)
    async def slow(get: Get) -> int:
        value = get(price)
        started.append(value)
        if value == 2:
            await gate.wait()
        finished.append(value)
        return value

    async with nowhere() as party:
        reading = party.open(slow)
        await eventually(lambda: started == [2])
        party.open(price).set(7)

        await eventually(lambda: reading.value == 7)
        gate.set()
        await anyio.wait_all_tasks_blocked()

        assert (started, finished, reading.is_stale) == ([2, 7], [7], False)


async def test_ready_waits_for_its_first_result(server: ServerProcess, key: str) -> None:
    count = atom(key, 0)

    @derived
    async def doubled(get: Get) -> int:
        await anyio.lowlevel.checkpoint()
        return get(count) * 2

    async with Provider(server.url) as party:
        await party.open(count).set(4)

        assert (await party.open(doubled).ready()).value == 8


async def test_what_an_asynchronous_one_raises_is_raised_to_readers() -> None:
    @derived(initial=0)
    async def failing(get: Get) -> int:
        raise OSError(str(get(price)))

    async with nowhere() as party:
        reading = party.open(failing)
        await eventually(lambda: reading.error is not None)

        with pytest.raises(OSError, match="2"):
            _ = reading.value


# ---- hooks ----


async def test_a_hook_keeps_a_derived_value_as_long_as_its_declaration_exists() -> None:
    async with nowhere() as party:
        doubled = select(price, lambda value: value * 2)
        assert (use_value(doubled), use_value(doubled), len(party.nodes)) == (4, 4, 1)

        del doubled
        gc.collect()
        use_value(select(price, str))

        assert len(party._attached) <= 2
        assert len(party.hook_readings) <= 1


async def test_types_are_those_of_the_functions() -> None:
    @derived
    def text(get: Get) -> str:
        assert_type(get(price), int)
        return str(get(price))

    @derived
    async def later(get: Get) -> int:
        return len(get(text))

    @derived(initial=0)
    async def number(get: Get) -> int:
        return len(get(text))

    async with nowhere() as party:
        assert_type(text, Derived[str])
        assert_type(later, Derived[int | None])
        assert_type(number, Derived[int])
        assert_type(select(price, str), Derived[str])
        assert_type(party.open(text), DerivedValue[str])
        assert_type(party.open(text).value, str)
        assert_type(use_value(text), str)
