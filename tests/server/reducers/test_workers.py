"""Threads for the operator's code: each call in one that does nothing else meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from durafold_server.protocol.errors import ReducerStuck
from durafold_server.reducers.workers import MAX_OVERDUE, MAX_OVERDUE_OF_STREAM, MAX_WORKERS, Overdue, Workers
from support.waiting import eventually

pytestmark = pytest.mark.anyio

T = TypeVar("T")


def new_workers(timeout_s: float = 60) -> Workers:
    return Workers(timeout_s)


async def run(workers: Workers, call: Callable[[], T], path: str = "stock/a", reducer: str = "stock") -> T:
    return await workers.run(call, reducer, path)


async def test_a_call_gives_its_result() -> None:
    workers = new_workers()

    assert await run(workers, lambda: 5) == 5

    workers.close()


async def test_a_call_raises_what_it_raises() -> None:
    workers = new_workers()

    with pytest.raises(ZeroDivisionError):
        await run(workers, lambda: 1 // 0)

    assert await run(workers, lambda: 5) == 5
    workers.close()


async def test_a_thread_is_used_again() -> None:
    workers = new_workers()

    first = await run(workers, threading.get_ident)
    second = await run(workers, threading.get_ident)

    assert first == second
    workers.close()


async def test_a_call_that_hangs_holds_up_no_other() -> None:
    workers, hanging = new_workers(), threading.Event()
    stuck = asyncio.ensure_future(run(workers, hanging.wait))

    assert await run(workers, lambda: 5) == 5

    hanging.set()
    await stuck
    workers.close()


async def test_there_are_only_so_many_threads() -> None:
    workers, hanging = new_workers(), threading.Event()
    stuck = [asyncio.ensure_future(run(workers, hanging.wait)) for _ in range(MAX_WORKERS)]
    late = asyncio.ensure_future(run(workers, lambda: 5))
    await asyncio.sleep(0)

    assert not late.done()

    hanging.set()
    assert await late == 5
    await asyncio.gather(*stuck)
    workers.close()


async def test_a_caller_who_leaves_does_not_take_the_thread_along() -> None:
    workers, hanging = new_workers(), threading.Event()
    caller = asyncio.ensure_future(run(workers, hanging.wait))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    hanging.set()

    assert await run(workers, lambda: 5) == 5
    workers.close()


async def test_threads_end_when_they_are_no_longer_needed() -> None:
    workers = new_workers()
    thread = await run(workers, threading.current_thread)

    workers.close()

    await eventually(lambda: not thread.is_alive())


async def test_threads_that_were_busy_end_when_they_come_back() -> None:
    workers, hanging, threads = new_workers(), threading.Event(), list[threading.Thread]()

    def hang() -> None:
        threads.append(threading.current_thread())
        hanging.wait()

    stuck = asyncio.ensure_future(run(workers, hang))
    await eventually(lambda: bool(threads))
    workers.close()
    hanging.set()
    await stuck

    await eventually(lambda: not threads[0].is_alive())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
async def test_what_would_end_the_event_loop_does_not(error: type[BaseException]) -> None:
    workers = new_workers()

    def call() -> None:
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        await run(workers, call)

    assert await run(workers, lambda: 5) == 5
    workers.close()


async def test_a_call_that_takes_too_long_is_waited_for_no_longer_if_that_is_wanted() -> None:
    workers, hanging = new_workers(0.01), threading.Event()

    with pytest.raises(Overdue) as caught:
        await workers.run(hanging.wait, "stock", "stock/a", in_time=True)

    assert workers.overdue == {"stock": 1}
    hanging.set()
    await caught.value.back
    assert workers.overdue == {}
    workers.close()


async def test_a_call_that_takes_too_long_gives_its_result_to_who_waits_all_the_same() -> None:
    workers, hanging = new_workers(0.01), threading.Event()
    stuck = asyncio.ensure_future(run(workers, hanging.wait))
    await eventually(lambda: bool(workers.overdue))

    hanging.set()

    assert await stuck is True
    workers.close()


async def test_calls_that_hang_take_nobodys_place() -> None:
    workers, hanging = new_workers(0.01), threading.Event()
    reducers = [str(number // 8) for number in range(3 * MAX_WORKERS)]
    stuck = [
        asyncio.ensure_future(run(workers, hanging.wait, str(number), reducer))
        for number, reducer in enumerate(reducers)
    ]
    await eventually(lambda: workers.overdue.total() == len(stuck))

    assert await run(workers, lambda: 5) == 5

    hanging.set()
    await asyncio.gather(*stuck)
    workers.close()


@pytest.mark.parametrize(
    ("limit", "of_one_stream", "said"),
    [
        (MAX_OVERDUE_OF_STREAM, True, f"{MAX_OVERDUE_OF_STREAM} calls of this stream"),
        (MAX_OVERDUE, False, f"{MAX_OVERDUE} calls of the reducer stock"),
    ],
)
async def test_what_hangs_again_and_again_is_not_called_until_it_has_come_back(
    limit: int, of_one_stream: bool, said: str
) -> None:
    workers, hanging = new_workers(0.01), threading.Event()
    paths = ["stock/a" if of_one_stream else f"stock/{number}" for number in range(limit)]
    stuck = [asyncio.ensure_future(run(workers, hanging.wait, path)) for path in paths]
    await eventually(lambda: workers.overdue.total() == limit)

    with pytest.raises(ReducerStuck, match=said):
        await run(workers, lambda: 5)
    assert await run(workers, lambda: 5, "orders/a", "orders") == 5

    hanging.set()
    await asyncio.gather(*stuck)
    assert await run(workers, lambda: 5) == 5
    workers.close()


async def test_the_log_tells_which_reducer_hangs_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers, hanging = new_workers(0.01), threading.Event()
    stuck = asyncio.ensure_future(run(workers, hanging.wait))
    await eventually(lambda: bool(workers.overdue))
    hanging.set()
    await stuck
    workers.close()

    late, back = (record.getMessage() for record in caplog.records)
    assert late.startswith("the reducer stock has not come back for 0.01 s, judging or folding stock/a")
    assert back.startswith("the reducer stock has come back from stock/a after")


async def test_those_who_wait_for_a_thread_add_none_to_too_many_that_hang() -> None:
    workers, hanging = Workers(0.01), threading.Event()
    at_most = MAX_OVERDUE + MAX_WORKERS
    calls = [workers.run(hanging.wait, "stock", f"{n}", in_time=True) for n in range(3 * at_most)]

    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(end) for end in ended} == {Overdue, ReducerStuck}
    assert sum(isinstance(end, Overdue) for end in ended) <= at_most
    hanging.set()
    await eventually(lambda: not workers.overdue)
    workers.close()
