"""A reducer that takes its time, or never comes back: it costs its own stream, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durafold_server.attempts import Outdated
from durafold_server.gates import Check
from durafold_server.protocol.decide import Appended
from durafold_server.protocol.errors import ReducerBusy, ReducerStuck, StorageUnavailable
from durafold_server.protocol.requests import AppendRequest
from durafold_server.reducers.hydration import Hydration, StateRequest
from durafold_server.reducers.workers import MAX_OVERDUE_OF_STREAM
from support.bound import Shop, receive, take
from support.stock import HANGING, Stock
from support.unruly import SLOW_CALLS
from support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("hanging")]

WAIT = {"type": "wait"}
TIMEOUT_S = 0.5
"""As long as a thread may take to come to its turn on a busy machine, and more."""


@pytest.fixture
async def shop(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    """A shop whose reducer hangs when it is told to, until the test lets it go on."""
    HANGING.clear()
    shop = Shop("memory", tmp_path)
    await shop.open(reducer_timeout_s=TIMEOUT_S)
    yield shop
    HANGING.set()
    await shop.aclose()


async def test_an_append_that_waits_too_long_is_answered_and_not_stored(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))

    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    HANGING.set()
    await eventually(lambda: shop.gate.is_idle)
    assert await shop.log("stock/a") == [receive(1)]
    assert shop.gate.counts.timeouts == 1


async def test_those_who_wait_behind_it_are_answered_too(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    stuck = asyncio.ensure_future(shop.append("stock/a", WAIT))
    await asyncio.sleep(0)

    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", take(1))
    with pytest.raises(ReducerBusy):
        await stuck


async def test_what_was_judged_before_it_in_the_same_turn_counts(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    first = asyncio.ensure_future(shop.append("stock/a", take(1)))
    stuck = asyncio.ensure_future(shop.append("stock/a", WAIT))

    assert (await first).added_data
    with pytest.raises(ReducerBusy):
        await stuck
    assert await shop.log("stock/a") == [receive(1), take(1)]
    assert await shop.state("stock/a") == Stock(count=0, taken=1)


async def test_the_stream_goes_on_while_it_hangs(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    assert await shop.is_accepted("stock/a", take(1))

    assert not HANGING.is_set()
    assert await shop.log("stock/a") == [receive(1), take(1)]


async def test_a_repetition_of_what_hangs_is_not_judged_until_it_has_come_back(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    with pytest.raises(ReducerStuck, match="this very append"):
        await shop.append("stock/a", WAIT)
    assert shop.gate.overdue == {"support.stock:stock": 1}

    HANGING.set()
    await eventually(lambda: shop.gate.is_idle)
    assert await shop.is_accepted("stock/a", WAIT)
    assert shop.gate.overdue == {}


async def test_a_stream_whose_reducer_hangs_too_often_answers_at_once_and_can_be_read(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", receive(1))
    for number in range(MAX_OVERDUE_OF_STREAM):
        with pytest.raises(ReducerBusy):
            await shop.append("stock/a", WAIT, receive(number))

    with pytest.raises(ReducerStuck, match="calls of this stream's reducer have not come back"):
        await shop.append("stock/a", take(1))
    assert await shop.state("stock/a") == Stock(count=1)

    HANGING.set()
    await eventually(lambda: shop.gate.is_idle)
    assert await shop.is_accepted("stock/a", take(1))


async def test_other_streams_go_on(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    await shop.create("stock/b", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    assert await shop.is_accepted("stock/b", take(1))


async def test_the_state_before_it_can_be_had_meanwhile(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    assert await shop.state("stock/a") == Stock(count=1)


async def test_a_first_message_that_waits_too_long_creates_nothing(shop: Shop) -> None:
    with pytest.raises(ReducerBusy):
        await shop.create("stock/a", WAIT)

    assert await shop.service.store.load("stock/a") is None


async def test_closing_does_not_wait_for_a_reducer_that_hangs(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/a", WAIT)

    await shop.aclose()

    assert not HANGING.is_set()


async def test_who_waits_when_the_server_closes_is_told(shop: Shop) -> None:
    await shop.open(reducer_timeout_s=60)
    await shop.create("stock/a", receive(1))
    stuck = asyncio.ensure_future(shop.append("stock/a", WAIT))
    await eventually(lambda: not shop.gate.is_idle)

    await shop.aclose()

    with pytest.raises(StorageUnavailable):
        await stuck


async def test_when_too_many_come_no_work_is_done_in_vain(tmp_path: Path, anyio_backend: str) -> None:
    shop = Shop("memory", tmp_path)
    await shop.open("odd/*=support.unruly:unruly", reducer_timeout_s=1)
    await shop.create("odd/a")
    SLOW_CALLS.clear()

    async def insist() -> None:
        for _ in range(2):
            with contextlib.suppress(ReducerBusy):
                await shop.append("odd/a", {"type": "be slow", "duration_s": 0.01})

    await asyncio.gather(*(insist() for _ in range(150)))

    assert shop.gate.counts.timeouts > 0
    assert shop.gate.counts.accepted == len(SLOW_CALLS)
    await shop.aclose()


async def test_an_append_that_is_judged_anew_does_not_wait_for_ever(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    service, is_first = shop.service, True
    append_if = service.append_if

    async def late_and_outdated(request: AppendRequest, check: Check) -> Appended:
        nonlocal is_first
        if is_first:
            is_first = False
            await asyncio.sleep(2 * TIMEOUT_S)  # twice as long as an append waits to be judged
            raise Outdated
        return await append_if(request, check)

    service.append_if = late_and_outdated  # type: ignore[method-assign]
    outdated = asyncio.ensure_future(shop.append("stock/a", take(1)))
    await eventually(lambda: not is_first)
    stuck = asyncio.ensure_future(shop.append("stock/a", WAIT))

    with pytest.raises(ReducerBusy):
        await asyncio.wait_for(outdated, 30)
    with pytest.raises(ReducerBusy):
        await stuck


async def test_a_stream_that_hangs_keeps_no_others_in_memory(tmp_path: Path, anyio_backend: str) -> None:
    HANGING.clear()
    shop = Shop("memory", tmp_path)
    await shop.open(reducer_timeout_s=TIMEOUT_S, folded_states_bytes=20_000)
    await shop.create("stock/stuck", receive(1))
    with pytest.raises(ReducerBusy):
        await shop.append("stock/stuck", WAIT)

    for number in range(100):
        await shop.create(f"stock/{number}", receive(1))
        await shop.is_accepted(f"stock/{number}", take(1))

    assert len(shop.gate) < 70
    HANGING.set()
    await shop.aclose()


async def test_a_fork_does_not_wait_for_ever_for_what_it_begins_with(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock", reducer_timeout_s=TIMEOUT_S)
    await shop.create("stock/a", WAIT)
    await shop.open(reducer_timeout_s=TIMEOUT_S)

    with pytest.raises(ReducerBusy):
        await asyncio.wait_for(shop.create("stock/b", take(1), stream_forked_from="/v1/stream/stock/a"), 30)


async def test_a_state_that_cannot_be_written_in_time_is_answered(shop: Shop) -> None:
    await shop.open("odd/*=support.unruly:named", reducer_timeout_s=TIMEOUT_S)
    await shop.create("odd/a", {"name": "hang"})

    with pytest.raises(ReducerBusy):
        await asyncio.wait_for(Hydration(shop.service, shop.gate).answer(StateRequest("odd/a")), 30)
