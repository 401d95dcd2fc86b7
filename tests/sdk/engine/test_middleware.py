"""Middleware: what every dispatch passes once, on its way out and never on its way back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from durafold import (
    ActionRejected,
    ConfigurationError,
    Dispatch,
    DispatchContext,
    Forward,
    InvalidAction,
    Provider,
    Reject,
    StreamClosed,
    atom,
    atom_family,
    reducer,
    reducer_atom,
)
from durafold.client import DurableStream
from durafold.hooks import use_atom, use_server_reducer, use_server_state
from support.proxy import FaultProxy, LoseReply
from support.server import ServerProcess
from support.waiting import eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


class Add(BaseModel):
    """Adds some."""

    n: int
    by: str = ""


@reducer(inverse=lambda before, action: Add(n=-action.n))
def adding(state: list[Any], action: Add) -> list[Any]:
    return [*state, [action.n, action.by]]


@dataclass
class Log:
    """Middleware that notes what passes."""

    seen: list[Any]

    def __call__(self, context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        self.seen.append((context.kind, action))
        return forward(action)


def signed(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
    return forward(action.model_copy(update={"by": context.user or "me"}))


def at_most_9(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
    if action.n > 9:
        raise Reject(f"{action.n} are too many")
    return forward(action)


def nowhere(*middleware: Any) -> Provider:
    return Provider(NOWHERE, middleware=middleware, close_timeout_s=0, on_error=lambda error: None)


async def test_it_may_pass_on_another_action(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, middleware=[signed]) as party, Provider(server.url) as others:
        mine, theirs = party.server_reducer(adding, [], key), others.server_reducer(adding, [], key)

        await mine.dispatch(Add(n=1))

        assert mine.value == [[1, "me"]]
        await eventually(lambda: theirs.value == [[1, "me"]])


async def test_the_first_is_the_outermost_and_those_of_a_key_come_after_the_providers() -> None:
    def named(name: str) -> Any:
        return lambda context, action, forward: forward(action.model_copy(update={"by": action.by + name}))

    async with nowhere(named("a"), named("b")) as party:
        handle = party.server_reducer(adding, [], "k", middleware=[named("c"), named("d")])

        handle.dispatch(Add(n=1))

        assert handle.value == [[1, "abcd"]]


async def test_a_dict_arrives_as_the_reducers_type() -> None:
    log = Log([])
    async with nowhere(log) as party:
        party.server_reducer(adding, [], "k").dispatch({"n": "3"})  # type: ignore[arg-type]

    assert log.seen == [("action", Add(n=3))]


async def test_what_it_passes_on_is_checked() -> None:
    async with nowhere(lambda context, action, forward: forward({"n": "no number"})) as party:
        handle = party.server_reducer(adding, [], "k")

        with pytest.raises(InvalidAction, match="n"):
            handle.dispatch(Add(n=1))

        assert (handle.value, handle.pending) == ([], 0)


async def test_what_does_not_match_never_reaches_it() -> None:
    log = Log([])
    async with nowhere(log) as party:
        with pytest.raises(InvalidAction):
            party.server_reducer(adding, [], "k").dispatch({"n": "no number"})  # type: ignore[arg-type]

    assert log.seen == []


async def test_it_sees_every_kind_of_change_of_a_shared_value() -> None:
    def more(value: int) -> int:
        return value + 1

    log = Log([])
    async with nowhere(log) as party:
        count = party.server_state(0, "k")
        count.set(5)
        count.increment(2)
        count.set(more)

        assert count.value == 8
    assert log.seen == [("set", 5), ("op", ["increment", 2]), ("set", more)]


async def test_it_is_told_of_the_key_the_shown_value_and_the_user() -> None:
    told: list[DispatchContext] = []
    async with nowhere(lambda context, action, forward: [told.append(context), forward(action)][1]) as party:
        count = party.server_state(0, "k")
        count.increment()
        with count.acting_for("ann"):
            count.increment()

        id_ = count.client_id
    assert told == [DispatchContext("k", "op", 0, id_, None), DispatchContext("k", "op", 1, id_, "ann")]


async def test_a_rejected_dispatch_is_neither_shown_nor_sent(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, middleware=[at_most_9]) as party:
        handle = await party.server_reducer(adding, [], key).ready()
        told: list[Any] = []
        handle.subscribe(lambda: told.append(handle.value), progress=True)

        with pytest.raises(ActionRejected, match="10 are too many") as caught:
            handle.dispatch(Add(n=10))

        assert (handle.value, handle.pending, handle.can_undo, told) == ([], 0, False, [])
        assert caught.value.stream == key
        await handle.dispatch(Add(n=9))
        assert (await handle.history())[0].action == {"n": 9, "by": ""}


async def test_what_it_raises_is_raised_by_the_dispatching_call() -> None:
    async with nowhere(lambda context, action, forward: 1 // 0) as party:
        with pytest.raises(ZeroDivisionError):
            party.server_state(0, "k").increment()


async def test_it_may_look_at_what_follows(server: ServerProcess, key: str) -> None:
    failed: list[str] = []

    def watch(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        try:
            return forward(action)
        except StreamClosed:
            failed.append(context.key)
            raise

    async with Provider(server.url, middleware=[watch]) as party:
        count = await party.server_state(0, key).ready()
        await DurableStream(f"{server.url}/{key}").close()
        await eventually(lambda: count.status == "closed")

        with pytest.raises(StreamClosed):
            count.increment()

    assert failed == [key]


async def test_who_passes_nothing_on_is_told_so() -> None:
    def forgetful(context: DispatchContext, action: Any, forward: Forward) -> Any:
        forward(action)

    async with nowhere(forgetful) as party:
        with pytest.raises(ConfigurationError, match=r"forgetful returned None.*Return what forward"):
            party.server_state(0, "k").increment()


async def test_an_asynchronous_one_is_refused_at_once() -> None:
    async def waits(context: DispatchContext, action: Any, forward: Forward) -> Any:
        return forward(action)

    with pytest.raises(ConfigurationError, match="waits is asynchronous"):
        Provider(NOWHERE, middleware=[waits])  # type: ignore[list-item]


def test_what_is_no_function_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="not 7"):
        atom("k", 0, middleware=[7])  # type: ignore[list-item]


async def test_r2_a_repetition_and_an_echo_do_not_pass_it_again(server: ServerProcess, key: str) -> None:
    log = Log([])
    async with FaultProxy(server.url) as proxy, Provider(proxy.url, middleware=[log]) as party:
        count = await party.server_state(0, key).ready()
        proxy.script(LoseReply())

        await count.increment()

        assert (proxy.fault_count, count.confirmed) == (1, 1)
    assert len(log.seen) == 1


async def test_r7_an_update_that_has_lost_its_round_does_not_pass_it_again(
    server: ServerProcess, key: str
) -> None:
    log = Log([])
    async with (
        WatchedClient() as watched,
        Provider(server.url, middleware=[log], transport=watched.transport) as party,
        Provider(server.url) as others,
    ):
        mine, theirs = await party.server_state(0, key).ready(), others.server_state(0, key)
        overtaking = [theirs]

        async def overtake(request: httpx.Request) -> None:
            if request.method == "POST" and overtaking:
                await overtaking.pop().set(10)

        watched.before = overtake

        await mine.set(lambda value: value + 1)

        assert mine.confirmed == 11
    assert [kind for kind, _ in log.seen] == ["set"]


async def test_what_others_have_dispatched_does_not_pass_it(server: ServerProcess, key: str) -> None:
    log = Log([])
    async with Provider(server.url, middleware=[log]) as party, Provider(server.url) as others:
        mine = party.server_state(0, key)
        await others.server_state(0, key).increment(3)
        await eventually(lambda: mine.value == 3)

    assert log.seen == []


async def test_what_an_outbox_has_kept_does_not_pass_it_again(
    server: ServerProcess, key: str, tmp_path: Path
) -> None:
    log, file = Log([]), tmp_path / "outbox"
    async with Provider(
        NOWHERE, outbox=file, close_timeout_s=0, middleware=[log], on_error=lambda error: None
    ) as party:
        party.server_state(0, key).increment()
    async with Provider(
        NOWHERE, outbox=file, close_timeout_s=0, middleware=[log], on_error=lambda error: None
    ) as party:
        assert party.server_state(0, key).value == 1

    assert len(log.seen) == 1


async def test_undo_and_redo_pass_it_as_new_actions() -> None:
    log = Log([])
    async with nowhere(log, signed) as party:
        handle = party.server_reducer(adding, [], "k")
        handle.dispatch(Add(n=4))
        handle.undo()
        handle.redo()

        assert handle.value == [[4, "me"], [-4, "me"], [4, "me"]]
    assert log.seen == [("action", Add(n=4)), ("action", Add(n=-4)), ("action", Add(n=4, by="me"))]


async def test_an_undo_that_is_rejected_can_be_tried_again() -> None:
    is_locked = [False]

    def lock(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        if is_locked[0]:
            raise Reject("locked")
        return forward(action)

    async with nowhere(lock) as party:
        handle = party.server_reducer(adding, [], "k")
        handle.dispatch(Add(n=4))
        is_locked[0] = True
        with pytest.raises(ActionRejected, match="locked"):
            handle.undo()
        is_locked[0] = False

        handle.undo()

        assert ([n for n, _ in handle.value], handle.can_undo, handle.can_redo) == ([4, -4], False, True)


async def test_a_redo_that_is_rejected_can_be_tried_again() -> None:
    is_locked = [False]

    def lock(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        if is_locked[0]:
            raise Reject("locked")
        return forward(action)

    async with nowhere(lock) as party:
        count = party.server_state(0, "k")
        count.set(4)
        count.undo()
        is_locked[0] = True
        with pytest.raises(ActionRejected, match="locked"):
            count.redo()
        assert (count.can_undo, count.can_redo) == (False, True)
        is_locked[0] = False

        count.redo()

        assert (count.value, count.can_undo, count.can_redo) == (4, True, False)


counted = Log([])
counter = atom("counter", 0, middleware=[counted])
members = atom_family("members/{}", 0, middleware=[counted])
added = reducer_atom("added", adding, [], middleware=[signed])


async def test_atoms_bring_their_own() -> None:
    counted.seen.clear()
    async with nowhere() as party:
        party.open(counter).increment()
        party.open(members(7)).increment(2)
        use_atom(counter)[1](9)
        use_atom(added)[1](Add(n=1))

        assert party.open(added).value == [[1, "me"]]
    assert counted.seen == [("op", ["increment", 1]), ("op", ["increment", 2]), ("set", 9)]


async def test_hooks_take_it_too() -> None:
    log = Log([])
    async with nowhere():
        use_server_state(0, "state", middleware=[log])[1](1)
        use_server_reducer(adding, [], "reducer", middleware=[log])[1](Add(n=1))

    assert log.seen == [("set", 1), ("action", Add(n=1))]


async def test_a_key_with_another_middleware_is_an_error() -> None:
    async with nowhere() as party:
        party.server_state(0, "k", middleware=[signed])

        with pytest.raises(ConfigurationError, match="in use with another middleware"):
            party.server_state(0, "k", middleware=[at_most_9])
