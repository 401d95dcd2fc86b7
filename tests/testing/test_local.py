"""The server inside a test, its bad network, and the checks."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st

from durafold.client import NOW, DurableStream
from durafold.errors import ConfigurationError
from durafold.provider import Provider
from durafold.state.reducer import reducer
from durafold.testing import FakeClock, LocalServer, assert_converged, check_reducer, settle
from durafold.testing.fixtures import fake_clock, local_provider, local_server
from durafold.testing.local import Fault
from support.todos import Add, Todos, todo_reducer
from support.waiting import eventually

__all__ = ["fake_clock", "local_provider", "local_server"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio."""
    return "asyncio"


async def test_clients_of_a_local_server_agree(local_server: LocalServer) -> None:
    async with local_server.provider("ann") as ann, local_server.provider("ben") as ben:
        counts = [party.server_state(0, "count") for party in (ann, ben)]

        for count in counts:
            count.increment()
        await settle(*counts)

        assert [count.value for count in counts] == [2, 2]
        await assert_converged(*counts)


@pytest.mark.parametrize("fault", ["refused", "reply lost", "doubled", "late", "cut off"])
async def test_an_action_counts_once_whatever_happens_to_its_request(
    local_server: LocalServer, local_provider: Provider, fault: Fault
) -> None:
    count = await local_provider.server_state(0, "count").ready()
    local_server.script.append(fault)

    assert await count.increment() == 1
    assert await count.increment() == 2
    await assert_converged(count)


async def test_who_is_cut_off_catches_up(local_server: LocalServer) -> None:
    async with local_server.provider("ann") as ann, local_server.provider("ben") as ben:
        anns, bens = ann.server_state(0, "count"), ben.server_state(0, "count")
        await settle(anns, bens)

        local_server.cut_off("ben")
        bens.increment(10)
        await anns.increment()
        assert (anns.value, bens.value) == (1, 10)
        local_server.reconnect("ben")
        await settle(anns, bens)

        assert (anns.value, bens.value) == (11, 11)


async def test_time_in_actions_is_that_of_the_fake_clock(
    local_provider: Provider, fake_clock: FakeClock
) -> None:
    count = local_provider.server_state(0, "count")
    fake_clock.advance(1.5)
    await count.increment()

    assert [entry.ts_ms for entry in await count.history()] == [1500]


async def test_what_does_not_settle_says_how_far_everybody_is(local_server: LocalServer) -> None:
    async with local_server.provider("ann", close_timeout_s=0, on_error=lambda error: None) as ann:
        count = await ann.server_state(0, "count").ready()
        local_server.cut_off("ann")
        count.increment()

        with pytest.raises(AssertionError, match="1 pending"):
            await settle(count, timeout_s=0.05)


async def test_clients_that_do_not_agree_are_shown(local_server: LocalServer) -> None:
    @reducer()
    def by_luck(state: list[Any], action: str) -> list[Any]:
        return [*state, object()]

    async with local_server.provider("ann") as ann:
        items = ann.server_reducer(by_luck, [], "items")
        await items.dispatch("a")

        with pytest.raises(AssertionError, match="its log of 1 messages gives"):
            await assert_converged(items)


async def test_a_request_that_nobody_waits_for_any_more_leaves_nothing_behind(
    local_server: LocalServer,
) -> None:
    stream = DurableStream(f"{local_server.url}/v1/stream/a", transport=local_server.transport("ann"))
    await stream.create()

    async def wait_for_news() -> None:
        async for page in stream.follow(NOW, live="long-poll"):
            assert page.up_to_date

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_news)
        await eventually(lambda: local_server.requests == 3)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    gc.collect()  # what was left open would warn here


# ---- reducers ----

FEW = 25
"""Examples for a reducer whose mistakes show in nearly every log; making them up is what takes the time."""


def plain(state: int, action: dict[str, Any]) -> int:
    return state + 1


def test_a_good_reducer_passes() -> None:
    check_reducer(plain, 0, strategy=st.dictionaries(st.text(), st.integers()), max_examples=FEW)


def test_actions_are_made_from_the_declared_type() -> None:
    with pytest.raises(AssertionError, match="it raises ZeroDivisionError"):
        check_reducer(todo_reducer, Todos(), max_examples=FEW)


def _in_place(state: list[str], action: Add) -> list[str]:
    state.append(action.text)
    return state


def _counting(state: int, action: Add, *, calls: list[int] = []) -> int:  # noqa: B006 - the mistake to find
    calls.append(1)
    return len(calls)


@reducer(upcasters={"add": lambda old: {**old, "text": old["text"] + "!"}})
def _upcasting_again(state: int, action: Add) -> int:
    return state


@reducer(inverse=lambda before, action: {"type": "unheard of"})
def _without_inverse(state: int, action: Add) -> int:
    return state + 1


def _to_tuples(state: list[Any], action: Add) -> list[Any]:
    return [*state, (1, 2)]


@pytest.mark.parametrize(
    ("bad", "initial", "complaint"),
    [
        (_in_place, [], "changed the state it was given"),
        (_counting, 0, "two results for one input"),
        (_upcasting_again, 0, "an upcaster changes the present form"),
        (_without_inverse, 0, "the inverse is no action"),
        (_to_tuples, [], "the state is another one as JSON"),
    ],
)
def test_a_bad_reducer_is_found_out(bad: Any, initial: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_reducer(bad, initial, max_examples=FEW)


def test_without_a_type_a_strategy_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="no type to make actions from"):
        check_reducer(lambda state, action: state, 0)
