"""Shared state while servers die, streams vanish, networks fail, and others misuse our name."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.engine import StreamReset
from durafold.errors import (
    ConflictError,
    Forbidden,
    PayloadTooLarge,
    ProviderClosed,
    StreamGone,
    StreamNotFound,
    Unauthorized,
)
from durafold.provider import Provider
from support.fake_server import Answer, FakeServer, page
from support.proxy import Cut, Delay, FaultProxy, Ghost, LoseReply, Refuse, some_of
from support.server import ServerProcess
from support.todos import Add, Todos, todo_reducer
from support.waiting import PATIENCE_S, eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))


# ---- the server comes and goes ----


async def test_a_provider_works_before_its_server_runs(durable_server: ServerProcess, key: str) -> None:
    durable_server.kill()
    async with Provider(durable_server.url, settings=IMPATIENT) as party:
        count = party.server_state(0, key)
        dispatches = [count.increment(), count.set(lambda value: value * 5), count.increment()]

        assert (count.status, count.value, count.pending) == ("connecting", 6, 3)
        await anyio.to_thread.run_sync(durable_server.restart)

        assert [await dispatch for dispatch in dispatches] == [1, 5, 6]
        assert count.status == "live"


@pytest.mark.crash
async def test_the_status_tells_that_the_connection_is_lost_and_restored(
    durable_server: ServerProcess, key: str
) -> None:
    async with Provider(durable_server.url, settings=IMPATIENT) as party:
        count = await party.server_state(0, key).ready()
        seen: list[str] = []
        count.subscribe(lambda: seen.append(count.status), progress=True)

        durable_server.kill()
        await eventually(lambda: count.status == "reconnecting")
        dispatch = count.increment()
        assert count.value == 1
        await anyio.to_thread.run_sync(durable_server.restart)

        assert await dispatch == 1
        await eventually(lambda: count.status == "live")
        assert "reconnecting" in seen


@pytest.mark.crash
async def test_a_hundred_updates_are_a_hundred_though_the_server_is_killed_in_the_middle(
    durable_server: ServerProcess, key: str
) -> None:
    async with Provider(durable_server.url, settings=IMPATIENT) as observer:
        total = await observer.server_state(0, key).ready()

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(_count_to_five, durable_server.url, key)
            await eventually(lambda: total.value >= 20)
            durable_server.kill()
            await anyio.to_thread.run_sync(durable_server.restart)

        await eventually(lambda: total.value == 100)


@pytest.mark.crash
async def test_actions_survive_a_killed_server_exactly_once(durable_server: ServerProcess, key: str) -> None:
    async with Provider(durable_server.url, settings=IMPATIENT) as party:
        numbers = party.server_reducer(_collect, [], key)
        dispatches: list[Any] = []

        async def write() -> None:
            for number in range(300):
                dispatches.append(numbers.dispatch(number))
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await eventually(lambda: len(numbers.confirmed) > 50)
            durable_server.kill()
            await anyio.to_thread.run_sync(durable_server.restart)
        for dispatch in dispatches:
            await dispatch

        assert numbers.value == list(range(300))


# ---- the network ----


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_action_is_lost_doubled_or_hidden_on_a_bad_network(
    server: ServerProcess, key: str, seed: int
) -> None:
    faults = (Refuse(), LoseReply(), Delay(0.02), Ghost(0.05), Cut(20), Cut(300))
    plan = some_of(random.Random(seed), faults, 0.3)
    async with (
        FaultProxy(server.url, plan=plan) as proxy,
        Provider(proxy.url, settings=IMPATIENT, live="long-poll") as mine,
        Provider(proxy.url, settings=IMPATIENT) as yours,
    ):
        ours, theirs = mine.server_reducer(_collect, [], key), yours.server_reducer(_collect, [], key)
        own = set(range(0, 40, 2))
        hidden: list[int] = []

        def look() -> None:
            hidden.extend(number for number in own if number in dispatched and ours.value.count(number) != 1)

        dispatched: set[int] = set()
        ours.subscribe(look, progress=True)
        dispatches = []
        for number in range(40):
            dispatches.append((ours if number in own else theirs).dispatch(number))
            dispatched.add(number)
            await anyio.sleep(0.002)
        for dispatch in dispatches:
            await dispatch

        assert hidden == []
        await eventually(lambda: len(theirs.value) == len(ours.value) == 40)
        assert ours.value == theirs.value
        assert [number for number in ours.value if number in own] == sorted(own)


# ---- streams that vanish ----


async def test_r12_a_stream_that_was_deleted_and_made_anew_is_read_from_its_start(
    server: ServerProcess, key: str
) -> None:
    notices: list[object] = []
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        Provider(server.url, on_notice=notices.append, settings=IMPATIENT) as party,
    ):
        todos = party.server_reducer(todo_reducer, Todos(), key)
        await todos.dispatch(Add(text="old"))

        await stream.delete()
        await stream.create()
        await stream.append({"type": "add", "text": "new"})

        await eventually(lambda: todos.value.texts == ["new"])
        assert (await todos.dispatch(Add(text="mine"))).texts == ["new", "mine"]
        assert notices == [StreamReset(key, revision=1)]


async def test_a_stream_that_was_deleted_is_made_anew(server: ServerProcess, key: str) -> None:
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        Provider(server.url, on_notice=lambda notice: None, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        await count.set(5)

        await stream.delete()

        await eventually(lambda: count.value == 0)
        assert await count.increment() == 1
        assert (await stream.head()).content_type == "application/json"


async def test_what_was_pending_when_a_stream_vanished_is_sent_to_the_new_one(
    server: ServerProcess, key: str
) -> None:
    notices: list[object] = []
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        FaultProxy(server.url) as proxy,
        Provider(proxy.url, on_notice=notices.append, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        await count.set(10)
        proxy.is_down = True
        await proxy.cut_all()
        plain, functional = count.increment(), count.set(lambda value: value + 5)
        await stream.delete()
        proxy.is_down = False

        assert (await plain, await functional) == (1, 6)
        assert notices == [StreamReset(key, revision=1)]


async def test_a_functional_update_is_not_sent_to_another_stream_than_it_was_computed_for(
    server: ServerProcess, key: str
) -> None:
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        FaultProxy(server.url) as proxy,
        Provider(proxy.url, on_notice=lambda notice: None, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        await count.set(10)
        proxy.is_down = True
        await proxy.cut_all()
        # On its way with 15 for revision 1, which the new stream will have as well.
        dispatch = count.set(lambda value: value + 5)
        await stream.delete()
        await stream.create()
        await stream.append({"type": "set", "payload": 100})

        proxy.is_down = False

        assert await dispatch == 105


async def test_actions_that_only_the_old_stream_had_are_sent_to_the_new_one(
    server: ServerProcess, key: str
) -> None:
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        WatchedClient() as client,
        Provider(
            server.url, transport=client.transport, on_notice=lambda notice: None, settings=IMPATIENT
        ) as party,
    ):
        client.intercept = lambda request: httpx.Response(503) if "live" in request.url.params else None
        count = await party.server_state(0, key).ready()
        client.intercept = _refusing(503, "GET")
        dispatch = count.increment()
        await dispatch.sent
        assert await stream.read_json() != []

        await stream.delete()
        await stream.create()
        client.intercept = lambda request: None

        assert await dispatch == 1
        assert [message["payload"] for message in await stream.read_json()] == [["increment", 1]]


async def test_without_create_a_missing_stream_is_an_error_until_it_exists(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        Provider(server.url, create=False, on_error=errors.append, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        dispatch = count.increment()
        with pytest.raises(StreamNotFound):
            await count.ready()
        assert (count.status, count.value) == ("failed", 1)

        await stream.create()

        assert await dispatch == 1
        assert count.status == "live"
        assert [type(error) for error in errors] == [StreamNotFound]


async def test_a_stream_that_is_gone_is_told_once_to_begin_again(errors: list[Exception], key: str) -> None:
    def total(state: int, action: int) -> int:
        return state + action

    notices: list[StreamReset] = []
    first = page(b"[1]", next_offset="0001")
    async with (
        FakeServer(first, otherwise=Answer(410, {}, (b"gone",), length=4)) as server,
        Provider(
            server.url,
            settings=IMPATIENT,
            on_error=errors.append,
            on_notice=notices.append,
            close_timeout_s=0,
        ) as party,
    ):
        party.server_reducer(total, 0, key)

        await eventually(lambda: len(server.seen) >= 6)

        assert notices == [StreamReset(key, revision=1)]
        assert [type(error) for error in errors] == [StreamGone]


# ---- refusals ----


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden)])
async def test_r6_an_action_that_the_server_refuses_is_taken_back_and_later_ones_go_on(
    server: ServerProcess, key: str, status: int, error: type[Exception]
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()
        client.intercept = _refusing(status, "POST", "forbidden fruit")
        refused = todos.dispatch(Add(text="forbidden fruit"))
        assert todos.value.texts == ["forbidden fruit"]

        with pytest.raises(error):
            await refused

        assert todos.value.texts == []
        assert (await todos.dispatch(Add(text="milk"))).texts == ["milk"]


async def test_refusals_that_nobody_awaits_are_reported_at_once(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, on_error=errors.append, settings=IMPATIENT) as party,
    ):
        count = await party.server_state(0, key).ready()
        client.intercept = _refusing(401, "POST")

        for _ in range(1000):
            count.increment()
        assert count.value == 1000

        await eventually(lambda: not count.pending)
        assert count.value == 0
        assert len(errors) == 1000


async def test_an_action_whose_content_is_refused_takes_none_of_its_batch_with_it(
    server: ServerProcess, key: str
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()
        client.intercept = _refusing(413, "POST", "too large")
        names = ["a", "b", "too large", "c"]

        dispatches = {name: todos.dispatch(Add(text=name)) for name in names}

        with pytest.raises(PayloadTooLarge):
            await dispatches["too large"]
        assert (await dispatches["c"]).texts == ["a", "b", "c"]


async def test_a_stream_that_may_not_be_read_is_an_error_until_it_may(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, on_error=errors.append, settings=IMPATIENT) as party,
    ):
        client.intercept = _refusing(401, "GET")
        count = party.server_state(0, key)
        with pytest.raises(Unauthorized):
            await count.ready()
        assert count.status == "failed"
        assert isinstance(count.error, Unauthorized)

        client.intercept = lambda request: None

        await eventually(lambda: count.status == "live")
        assert count.error is None
        assert [type(error) for error in errors] == [Unauthorized]


async def test_r2_a_producer_whose_numbers_the_server_forgot_begins_anew_without_doubling(
    server: ServerProcess, key: str
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        await count.increment()
        client_id = count.client_id
        client.intercept = _once(
            lambda request: request.method == "POST",
            httpx.Response(409, headers={"Producer-Expected-Seq": "0", "Producer-Received-Seq": "1"}),
        )

        assert await count.increment() == 2
        assert await count.increment() == 3
        assert count.client_id == client_id


async def test_r2_whoever_lost_its_id_to_another_process_takes_a_new_one(
    server: ServerProcess, key: str
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        count = party.server_state(0, key)
        await count.increment()
        old_id = count.client_id
        client.intercept = _once(
            lambda request: request.method == "POST", httpx.Response(403, headers={"Producer-Epoch": "9"})
        )

        assert await count.increment() == 2
        assert count.client_id != old_id
        assert await count.increment() == 3


async def test_what_the_server_has_already_is_not_sent_again_under_a_new_id(
    server: ServerProcess, key: str
) -> None:
    async with (
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        client.intercept = lambda request: httpx.Response(503) if "live" in request.url.params else None
        count = await party.server_state(0, key).ready()
        old_id = count.client_id
        client.intercept = _refusing(503, "GET")
        first = count.increment()
        await first.sent
        fenced = httpx.Response(403, headers={"Producer-Epoch": "9"})
        client.intercept = lambda request: httpx.Response(503) if request.method == "GET" else fenced
        second = count.increment()
        await eventually(lambda: ("HEAD", f"/v1/stream/{key}") in client.requests)

        client.intercept = lambda request: None

        assert (await first, await second) == (1, 2)
        assert count.client_id != old_id
        assert await count.increment() == 3


async def test_r1_whoever_finds_its_name_misused_takes_a_new_one_and_loses_nothing(
    server: ServerProcess, key: str
) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream, Provider(server.url) as party:
        count = party.server_state(0, key)
        await count.increment()
        old_id = count.client_id

        forged = {"type": "op", "payload": ["increment", 100], "meta": {"id": f"{old_id}:999", "v": 1}}
        await stream.append(forged)
        dispatches = [count.increment(), count.increment()]

        assert [await dispatch for dispatch in dispatches] == [102, 103]
        assert count.client_id != old_id
        assert count.value == 103


async def test_a_functional_update_that_always_loses_gives_up(
    server: ServerProcess, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durafold.engine.writer.MAX_CONFLICTS", 3)
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        WatchedClient() as client,
        Provider(server.url, transport=client.transport, settings=IMPATIENT) as party,
    ):
        count = await party.server_state(0, key).ready()

        async def interfere(request: httpx.Request) -> None:
            if b"if_revision" in request.content:
                await stream.append({"type": "op", "payload": ["increment", 100]})

        client.before = interfere

        with pytest.raises(ConflictError, match="3 times in a row"):
            await count.set(lambda value: value + 1)

        assert (count.pending, count.value) == (0, 300)
        assert await count.increment() == 301


# ---- leaving ----


async def test_what_was_dispatched_is_on_the_server_when_the_provider_is_left(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        party.server_state(0, key).increment(7)

    async with Provider(server.url) as party:
        assert (await party.server_state(0, key).ready()).value == 7


async def test_what_could_not_be_sent_in_time_fails(
    durable_server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    durable_server.kill()
    async with Provider(durable_server.url, close_timeout_s=0.05, on_error=errors.append) as party:
        count = party.server_state(0, key)
        awaited, unawaited = count.increment(), count.increment()
        del unawaited

    with pytest.raises(ProviderClosed, match="before the action was sent"):
        await awaited
    assert [type(error) for error in errors] == [ProviderClosed]
    assert (count.value, count.pending) == (0, 0)
    with pytest.raises(ProviderClosed), anyio.fail_after(PATIENCE_S):
        await count.ready()


def _collect(state: list[int], number: int) -> list[int]:
    return [*state, number]


async def _count_to_five(url: str, key: str) -> None:
    async with Provider(url, settings=IMPATIENT, close_timeout_s=60) as party:
        count = party.server_state(0, key)
        dispatches = [count.set(lambda value: value + 1) for _ in range(5)]
        for dispatch in dispatches:
            await dispatch


def _refusing(status: int, method: str, text: str = "") -> Callable[[httpx.Request], httpx.Response | None]:
    def intercept(request: httpx.Request) -> httpx.Response | None:
        is_meant = request.method == method and text.encode() in request.content
        return httpx.Response(status) if is_meant else None

    return intercept


def _once(
    condition: Callable[[httpx.Request], bool], answer: httpx.Response
) -> Callable[[httpx.Request], httpx.Response | None]:
    answers = [answer]
    return lambda request: answers.pop() if answers and condition(request) else None
