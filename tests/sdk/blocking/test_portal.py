"""`Portal`: an event loop in a thread that any thread may use, and that lets Ctrl-C through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from types import ModuleType

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from durafold.blocking import Portal
from durafold.blocking.portal import _Job, _Loop
from durafold.errors import ConfigurationError


@pytest.fixture(params=["asyncio", "trio"])
def portal(request: pytest.FixtureRequest) -> Iterator[Portal]:
    portal = Portal(request.param)
    yield portal
    portal.close()


async def double(number: int) -> int:
    await anyio.sleep(0)
    return number * 2


def test_a_result_comes_back_and_an_exception_is_raised(portal: Portal) -> None:
    async def fail() -> None:
        raise LookupError("as it was")

    assert portal.run(double, 21) == 42
    with pytest.raises(LookupError, match="as it was"):
        portal.run(fail)


def test_nothing_starts_before_the_first_call(portal: Portal) -> None:
    before = threading.active_count()

    portal.run(double, 1)
    portal.run(double, 1)

    assert threading.active_count() == before + 1


def test_a_loop_that_cannot_start_is_an_error_of_every_call() -> None:
    portal = Portal("no such library")

    with pytest.raises(LookupError, match="no such library"):
        portal.run(double, 1)
    with pytest.raises(LookupError, match="no such library"):
        portal.run(double, 1)


def test_many_threads_may_call_at_once(portal: Portal) -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(portal.run(double, n))) for n in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [2 * n for n in range(20)]


def test_a_blocking_call_in_the_loops_own_thread_is_refused_instead_of_waiting_for_itself(
    portal: Portal,
) -> None:
    with pytest.raises(ConfigurationError, match="wait for itself"):
        portal.call(lambda: portal.run(double, 1))


def test_a_call_while_another_thread_still_imports_the_async_libraries_is_made(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.run(double, 1)
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))
    monkeypatch.setitem(sys.modules, "trio.lowlevel", ModuleType("trio.lowlevel"))
    monkeypatch.setitem(sys.modules, "sniffio", ModuleType("sniffio"))

    assert portal.run(double, 21) == 42


def test_an_ordinary_call_in_the_loops_own_thread_is_just_made(portal: Portal) -> None:
    assert portal.call(lambda: portal.call(lambda: 5)) == 5


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_ordinary_call_from_a_coroutine_of_any_loop_is_made(portal: Portal, backend: str) -> None:
    async def call() -> int:
        return portal.call(lambda: 5)

    assert anyio.run(call, backend=backend) == 5


def test_sys_exit_reaches_the_thread_that_waits_and_does_not_end_the_loop(portal: Portal) -> None:
    loop = portal.lease()

    with pytest.raises(SystemExit):
        loop.call(sys.exit)

    assert loop.run(double, 2) == 4


def test_a_context_manager_is_entered_and_left_in_one_task(portal: Portal) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def manager() -> AsyncIterator[str]:
        async with anyio.create_task_group():
            yield "value"
        seen.append("left")

    with portal.held(manager()) as value:
        seen.append(value)

    assert seen == ["value", "left"]


def test_a_closed_portal_starts_again(portal: Portal) -> None:
    portal.run(double, 1)
    portal.close()

    assert portal.run(double, 2) == 4


def test_closing_cancels_what_still_waits(portal: Portal) -> None:
    started = threading.Event()
    ended = threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    def wait_in_vain() -> None:
        with pytest.raises(CancelledError):
            portal.run(wait)

    waiting = threading.Thread(target=wait_in_vain)
    waiting.start()
    started.wait()
    portal.close()
    waiting.join()

    assert ended.is_set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_that_come_while_a_loop_ends_fail_instead_of_waiting_for_ever(backend: str) -> None:
    early, late, last = (_Job(double, (number,)) for number in range(3))

    async def serve_until_cancelled() -> None:
        async with BlockingPortal() as portal:
            loop = _Loop(portal)
            early.future.add_done_callback(lambda _: loop.start(last))

            async def ends_slowly() -> None:
                try:
                    scope.cancel()
                    await anyio.sleep_forever()
                finally:
                    loop.start(early)
                    loop.start(late)

            loop.start(_Job(ends_slowly, ()))
            with anyio.CancelScope() as scope:
                await loop.serve()

    anyio.run(serve_until_cancelled, backend=backend)

    assert [type(job.future.exception(timeout=0)) for job in (early, late, last)] == [CancelledError] * 3


def test_ctrl_c_cancels_what_is_waited_for_and_leaves_the_portal_usable(portal: Portal) -> None:
    cancelled: list[str] = []

    async def wait() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            cancelled.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        portal.run(wait)

    assert cancelled == ["cleaned up"]
    assert portal.run(double, 2) == 4


def test_a_forked_process_has_a_portal_of_its_own() -> None:
    said = run_program(
        "import os\n"
        "from durafold.blocking import shared_portal\n"
        "async def five(): return 5\n"
        "assert shared_portal().run(five) == 5\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(shared_portal().run(five))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shared_portal().run(five))\n"
    )

    assert said == "5 5"


def test_a_portal_in_use_does_not_keep_the_process_from_ending() -> None:
    said = run_program(
        "import anyio\n"
        "from durafold.blocking import shared_portal\n"
        "import threading\n"
        "waits = threading.Event()\n"
        "async def wait():\n"
        "    waits.set()\n"
        "    try: await anyio.sleep_forever()\n"
        "    finally: print('cancelled', flush=True)\n"
        "threading.Thread(target=lambda: shared_portal().run(wait), daemon=True).start()\n"
        "waits.wait()\n"
    )

    assert said == "cancelled"


def run_program(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()
