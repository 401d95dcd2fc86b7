"""Threads for the operator's code: each call in one that does nothing else meanwhile."""

from __future__ import annotations

import asyncio
import threading

import pytest

from durafold_server.reducers.workers import MAX_WORKERS, Workers
from support.waiting import eventually

pytestmark = pytest.mark.anyio


async def test_a_call_gives_its_result() -> None:
    workers = Workers()

    assert await workers.run(lambda: 5) == 5

    workers.close()


async def test_a_call_raises_what_it_raises() -> None:
    workers = Workers()

    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)

    assert await workers.run(lambda: 5) == 5
    workers.close()


async def test_a_thread_is_used_again() -> None:
    workers = Workers()

    first = await workers.run(threading.get_ident)
    second = await workers.run(threading.get_ident)

    assert first == second
    workers.close()


async def test_a_call_that_hangs_holds_up_no_other() -> None:
    workers, hanging = Workers(), threading.Event()
    stuck = asyncio.ensure_future(workers.run(hanging.wait))

    assert await workers.run(lambda: 5) == 5

    hanging.set()
    await stuck
    workers.close()


async def test_there_are_only_so_many_threads() -> None:
    workers, hanging = Workers(), threading.Event()
    stuck = [asyncio.ensure_future(workers.run(hanging.wait)) for _ in range(MAX_WORKERS)]
    late = asyncio.ensure_future(workers.run(lambda: 5))
    await asyncio.sleep(0)

    assert not late.done()

    hanging.set()
    assert await late == 5
    await asyncio.gather(*stuck)
    workers.close()


async def test_a_caller_who_leaves_does_not_take_the_thread_along() -> None:
    workers, hanging = Workers(), threading.Event()
    caller = asyncio.ensure_future(workers.run(hanging.wait))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    hanging.set()

    assert await workers.run(lambda: 5) == 5
    workers.close()


async def test_threads_end_when_they_are_no_longer_needed() -> None:
    workers = Workers()
    thread = await workers.run(threading.current_thread)

    workers.close()

    await eventually(lambda: not thread.is_alive())


async def test_threads_that_were_busy_end_when_they_come_back() -> None:
    workers, hanging, threads = Workers(), threading.Event(), list[threading.Thread]()

    def hang() -> None:
        threads.append(threading.current_thread())
        hanging.wait()

    stuck = asyncio.ensure_future(workers.run(hang))
    await eventually(lambda: bool(threads))
    workers.close()
    hanging.set()
    await stuck

    await eventually(lambda: not threads[0].is_alive())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
async def test_what_would_end_the_event_loop_does_not(error: type[BaseException]) -> None:
    workers = Workers()

    def call() -> None:
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        await workers.run(call)

    assert await workers.run(lambda: 5) == 5
    workers.close()
