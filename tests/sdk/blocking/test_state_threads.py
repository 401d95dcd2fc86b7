"""Shared state from many threads: callbacks, hooks, Ctrl-C, forks, and threads that run event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

import anyio
import pytest

from durafold import DispatchContext, Forward, atom, engine, reducer
from durafold.blocking import Dispatch, Provider, shared_portal, use_atom, use_provider, use_server_state
from durafold.computed import derived
from durafold.errors import ConfigurationError, ProviderClosed
from durafold.testing import LocalServer, ServerProcess

THREADS = 8
ROUNDS = 10


def in_threads(*works: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def together(*works: Callable[[], object]) -> None:
    for thread in in_threads(*works):
        thread.join()


def test_many_threads_of_two_clients_increment_and_nothing_is_lost(
    party: Provider, other: Provider, key: str
) -> None:
    counters = [provider.server_state(0, key) for provider in (party, other)]

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            counters[number % 2].set(lambda n: n + 1).wait()

    together(*(lambda number=number: work(number) for number in range(THREADS)))
    last = counters[0].increment(0).wait()

    assert last == THREADS * ROUNDS


def test_threads_may_open_read_subscribe_and_close_the_same_keys_at_once(party: Provider, key: str) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(ROUNDS):
                counter = party.server_state(0, f"{key}/{number % 3}")
                unsubscribe = counter.subscribe(lambda: None)
                counter.increment()
                assert counter.value >= counter.confirmed >= 0
                unsubscribe()
                counter.close()
        except BaseException as error:
            failures.append(error)

    together(*[work] * THREADS)
    party.flush(timeout_s=60)

    totals = [party.server_state(0, f"{key}/{n}").increment(0).wait() for n in range(3)]
    assert (failures, sum(totals)) == ([], THREADS * ROUNDS)


def test_each_thread_undoes_its_own_group(party: Provider, key: str) -> None:
    items = party.server_state([], key, state_type=list[str])
    opened, may_end = threading.Event(), threading.Event()

    def group() -> None:
        with items.undo_group():
            items.append("a")
            opened.set()
            may_end.wait()
            items.append("c")

    (thread,) = in_threads(group)
    opened.wait()
    items.append("b")
    items.undo()
    may_end.set()
    thread.join()
    items.undo()

    assert items.value == []


def test_users_are_told_apart_by_the_thread_that_acts_for_them(party: Provider, key: str) -> None:
    people = party.server_state({}, key, state_type=dict[str, bool])

    def act(user: str) -> None:
        with people.acting_for(user):
            people.put(user, True).wait()

    together(lambda: act("ann"), lambda: act("bob"))
    with people.acting_for("ann"):
        people.undo()

    assert people.value == {"bob": True}


# ---- callbacks ----


def test_a_callback_runs_in_a_thread_of_its_own_and_may_wait_for_anything(party: Provider, key: str) -> None:
    counter, log = party.server_state(0, key), party.server_state([], f"{key}/log", state_type=list[int])
    seen: Queue[tuple[str, list[int]]] = Queue()

    def told() -> None:
        state = log.append(counter.value).wait()
        party.flush()
        seen.put((threading.current_thread().name, state))

    counter.subscribe(told)
    counter.set(5).wait()

    assert seen.get(timeout=60) == ("durafold-callbacks", [5])


def test_a_callback_may_subscribe_change_and_unsubscribe_itself(party: Provider, key: str) -> None:
    counter = party.server_state(0, key)
    second: Queue[int] = Queue()
    unsubscribe: Queue[Callable[[], None]] = Queue()

    def first() -> None:
        unsubscribe.get()()
        counter.subscribe(lambda: second.put(counter.value))
        counter.increment(10)

    unsubscribe.put(counter.subscribe(first))
    counter.set(1)

    assert second.get(timeout=60) == 11


def test_a_slow_callback_holds_nobody_up_and_is_called_once_for_many_changes(
    party: Provider, key: str
) -> None:
    counter = party.server_state(0, key)
    has_begun, may_go_on = threading.Event(), threading.Event()
    seen: Queue[int] = Queue()

    def slow() -> None:
        has_begun.set()
        may_go_on.wait()
        seen.put(counter.value)

    counter.subscribe(slow)
    counter.set(1)
    has_begun.wait()
    last = [counter.increment().wait() for _ in range(5)][-1]
    may_go_on.set()
    party.close()

    assert (last, seen.get(timeout=60), seen.qsize()) == (6, 6, 1)


def test_no_callback_is_called_after_its_handle_was_closed(party: Provider, key: str) -> None:
    kept, given_up = party.server_state(0, key), party.server_state(0, key)
    has_begun, may_go_on = threading.Event(), threading.Event()
    told: list[str] = []
    kept.subscribe(lambda: (has_begun.set(), may_go_on.wait(), told.append("kept"))[-1])
    given_up.subscribe(lambda: told.append("given up"))

    kept.set(1)
    has_begun.wait()
    given_up.close()
    may_go_on.set()
    party.close()

    assert set(told) == {"kept"}


def test_what_a_callback_raises_goes_to_on_error_and_the_others_are_told(
    server: ServerProcess, key: str
) -> None:
    errors: Queue[tuple[str, Exception]] = Queue()
    told = threading.Event()

    def bad() -> None:
        raise LookupError("bad callback")

    with Provider(
        server.url, on_error=lambda error: errors.put((threading.current_thread().name, error))
    ) as party:
        counter = party.server_state(0, key)
        counter.subscribe(bad)
        counter.subscribe(told.set)
        counter.set(1)
        is_told = told.wait(60)

    thread, error = errors.get(timeout=60)
    assert (is_told, thread, str(error)) == (True, "durafold-callbacks", "bad callback")


def test_sys_exit_in_a_callback_is_logged_and_the_others_are_told(
    party: Provider, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()
    counter = party.server_state(0, key)
    counter.subscribe(sys.exit)
    counter.subscribe(told.set)

    counter.set(1)

    assert told.wait(60)
    assert [record.message for record in caplog.records] == ["A callback raised"]


def test_an_on_error_that_raises_is_logged(
    server: ServerProcess, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(error: Exception) -> None:
        raise RuntimeError("on_error is bad too")

    with caplog.at_level(logging.ERROR), Provider(server.url, on_error=bad) as party:
        counter = party.server_state(0, key)
        counter.subscribe(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        counter.set(1).wait()

    assert "on_error is bad too" in caplog.text


def test_an_asynchronous_callback_is_refused(party: Provider, key: str) -> None:
    async def told() -> None: ...

    with pytest.raises(ConfigurationError, match="plain function") as refusal:
        party.server_state(0, key).subscribe(told)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert "async" not in str(refusal.value)


def test_a_callback_may_close_its_provider(server: ServerProcess, key: str) -> None:
    party = Provider(server.url).start()
    closed = threading.Event()

    def close() -> None:
        party.close()
        closed.set()

    counter = party.server_state(0, key)
    counter.subscribe(close)
    counter.set(1)

    assert closed.wait(60)
    assert counter.status == "closed"


def test_a_callback_that_hangs_does_not_keep_a_provider_from_closing(server: ServerProcess, key: str) -> None:
    forever, has_begun = threading.Event(), threading.Event()
    with Provider(server.url, close_timeout_s=0.01) as party:
        counter = party.server_state(0, key)
        counter.subscribe(lambda: (has_begun.set(), forever.wait())[0])
        counter.set(1)
        has_begun.wait()

    assert counter.status == "closed"
    forever.set()


# ---- where a call would wait for itself ----


def test_a_wait_in_a_reducer_is_refused_instead_of_stopping_the_event_loop(
    server: ServerProcess, key: str
) -> None:
    errors: list[Exception] = []
    with Provider(server.url, on_error=errors.append) as party:
        number = party.server_state(0, key)

        @derived
        def waiting(get: Any) -> int:
            return number.increment().wait()

        with pytest.raises(ConfigurationError, match="wait for itself"):
            _ = party.open(waiting).value


def test_closing_in_the_event_loop_is_refused_and_leaves_the_provider_open(
    server: ServerProcess, key: str
) -> None:
    def closing(context: DispatchContext, action: Any, forward: Forward) -> engine.Dispatch[Any]:
        party.close()
        return forward(action)

    with Provider(server.url) as party:
        closes = party.server_state(0, f"{key}/closes", middleware=[closing])
        with pytest.raises(ConfigurationError, match="wait for itself"):
            closes.set(1)

        assert (party.is_open, party.server_state(0, key).set(1).wait()) == (True, 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_wait_in_a_coroutine_is_refused_and_so_is_opening_a_provider(
    party: Provider, key: str, backend: str
) -> None:
    counter = party.server_state(0, key)

    async def wait() -> None:
        with pytest.raises(ConfigurationError, match="would hold all of it up"):
            counter.set(1).wait()
        with pytest.raises(ConfigurationError, match="to_thread"):
            Provider(party.url).start()

    anyio.run(wait, backend=backend)

    assert counter.increment(0).wait() == 1


def test_a_thread_that_a_coroutine_started_may_wait(party: Provider, key: str) -> None:
    counter = party.server_state(0, key)

    assert anyio.run(asyncio.to_thread, counter.set(1).wait) == 1


def test_a_cell_of_a_notebook_may_wait_though_it_runs_in_an_event_loop(
    party: Provider, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cell() -> int:
        return party.server_state(0, key).set(1).wait()

    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)

    assert asyncio.run(cell()) == 1


def test_ctrl_c_in_a_wait_ends_the_wait_and_nothing_else(local_server: LocalServer, key: str) -> None:
    local_server.cut_off("ann")
    with Provider(local_server.url, transport=local_server.transport("ann")) as party:
        counter = party.server_state(0, key)
        dispatch = counter.set(1)

        def wait() -> None:
            shared_portal().post(lambda: os.kill(os.getpid(), signal.SIGINT))
            dispatch.wait()

        with pytest.raises(KeyboardInterrupt):
            wait()
        shown, stage = counter.value, dispatch.stage
        local_server.reconnect("ann")

        assert (shown, stage, dispatch.wait(timeout_s=60)) == (1, "shown", 1)


def test_ctrl_c_while_a_provider_is_left_closes_it_without_waiting_longer(
    local_server: LocalServer, key: str
) -> None:
    local_server.cut_off("ann")
    party = Provider(local_server.url, transport=local_server.transport("ann"), close_timeout_s=3600)
    counter = party.start().server_state(0, key)
    lost = counter.set(1)

    def is_closing() -> bool:
        try:
            party.server_state(0, key).close()
        except ProviderClosed:
            return True
        return False

    def interrupt() -> None:
        while not is_closing():
            pass
        os.kill(os.getpid(), signal.SIGINT)

    in_threads(interrupt)
    with pytest.raises(KeyboardInterrupt):
        party.close()

    assert (counter.status, lost.stage, party.is_open) == ("closed", "failed", False)


def test_an_exception_ends_the_block_without_waiting_for_the_server(
    local_server: LocalServer, key: str
) -> None:
    local_server.cut_off("ann")
    party = Provider(local_server.url, transport=local_server.transport("ann"), close_timeout_s=3600)
    lost: list[Dispatch[int]] = []

    def fail() -> None:
        with party:
            lost.append(party.server_state(0, key).set(1))
            raise LookupError("as it was")

    with pytest.raises(LookupError, match="as it was"):
        fail()

    assert [dispatch.stage for dispatch in lost] == ["failed"]


def test_a_closed_provider_leaves_no_thread_behind(server: ServerProcess, key: str) -> None:
    shared_portal().call(lambda: None)
    before = set(threading.enumerate())
    with Provider(server.url) as party:
        party.server_state(0, key).set(1).wait()

    assert set(threading.enumerate()) <= before


def test_a_process_that_was_forked_off_is_told_to_open_a_provider_of_its_own(
    server: ServerProcess, key: str
) -> None:
    program = (
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "from durafold.blocking import Dispatch, Provider, use_server_state\n"
        "from durafold.errors import ConfigurationError\n"
        "party = Provider(sys.argv[1]).start()\n"
        "counter = party.server_state(0, sys.argv[2])\n"
        "counter.set(1).wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    refused = 0\n"
        "    for use in (lambda: counter.value, lambda: counter.set(2), counter.ready, party.flush):\n"
        "        try: use()\n"
        "        except ConfigurationError as error: refused += 'After a fork' in str(error)\n"
        "    party.close()\n"
        "    with Provider(sys.argv[1]) as own:\n"
        "        total = own.server_state(0, sys.argv[2]).increment(refused).wait()\n"
        "    os._exit(total)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(status, counter.increment(0).wait(), counter.value)\n"
        "party.close()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program, server.url, key],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (ended.stdout, ended.stderr) == ("5 5 5\n", "")


# ---- hooks ----


def test_hooks_use_the_provider_around_them(party: Provider, other: Provider, key: str) -> None:
    count = atom(key, 0)
    with use_provider(other):
        value, set_value = use_server_state(0, key)
        set_value(lambda n: n + 1).wait()

    assert (value, other.client_id in other.open(count).client_id) == (0, True)
    assert next(entry.id or "" for entry in party.open(count).history()).startswith(other.client_id)


def test_in_a_thread_started_elsewhere_hooks_use_the_only_provider(server: ServerProcess, key: str) -> None:
    count = atom(key, 0)
    with Provider(server.url):
        together(*[lambda: use_atom(count)[1](lambda n: n + 1).wait()] * 3)

        assert use_atom(count)[0] == 3


def test_hooks_ask_which_provider_is_meant_where_nothing_tells(party: Provider, other: Provider) -> None:
    refusals: list[ConfigurationError] = []

    def use() -> None:
        with pytest.raises(ConfigurationError, match="2 are open") as refusal:
            use_server_state(0, "any")
        refusals.append(refusal.value)

    together(use)

    assert "use_provider" in str(refusals[0])


def test_a_reducer_is_the_same_in_both_faces(party: Provider, key: str) -> None:
    @reducer(version="2")
    def total(state: int, action: int) -> int:
        return state + action

    assert party.server_reducer(total, 0, key).declaration.reducer is total
