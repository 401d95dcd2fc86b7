"""Undo, redo, history and forks, against a real server."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from durafold import Dispatch, DispatchContext, Forward, Middleware
from durafold.engine import ServerReducer
from durafold.errors import ActionRejected, ConfigurationError
from durafold.provider import Provider
from durafold.state.reducer import Reject, reducer
from support.server import ServerProcess
from support.todos import Add, Break, Finish, TodoAction, Todos, todo_reducer
from support.waiting import eventually

pytestmark = pytest.mark.anyio


def put_back(before: list[str], action: dict[str, str]) -> dict[str, str] | None:
    other = {"add": "remove", "remove": "add"}.get(action["type"])
    return {"type": other, "text": action["text"]} if other else None


@reducer(inverse=put_back)
def texts(state: list[str], action: dict[str, str]) -> list[str]:
    if action["type"] == "add":
        return [*state, action["text"]]
    return [text for text in state if text != action["text"]]


def shopping(party: Provider, key: str) -> ServerReducer[list[str], dict[str, str]]:
    return party.server_reducer(texts, [], key)


def add(text: str) -> dict[str, str]:
    return {"type": "add", "text": text}


async def done(last: Dispatch[list[str]] | None) -> list[str]:
    """The state after an undo or a redo."""
    assert last is not None
    return await last


async def test_undo_dispatches_what_the_reducer_says_and_redo_the_action_again(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url, strict=True) as party:
        items = shopping(party, key)
        items.dispatch(add("a"))
        items.dispatch(add("b"))

        items.undo()
        shown = items.value
        items.undo()
        items.redo()
        last = items.redo()

        assert last is not None
        assert (shown, await last) == (["a"], ["a", "b"])
        assert (items.can_undo, items.can_redo, items.redo()) == (True, False, None)


async def test_what_others_did_meanwhile_stays(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        await shopping(mine, key).dispatch(add("mine"))
        await shopping(yours, key).dispatch(add("yours"))

        undone = shopping(mine, key).undo()

        assert undone is not None
        assert await undone == ["yours"]
        assert shopping(mine, key).undo() is None


async def test_a_group_is_undone_in_one_step(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        items = shopping(party, key)
        items.dispatch(add("first"))
        with items.undo_group(), items.undo_group():
            for text in "abc":
                items.dispatch(add(text))
            with pytest.raises(ConfigurationError, match="inside undo_group"):
                items.undo()
        with items.undo_group():
            pass

        items.undo()
        assert items.value == ["first"]
        items.redo()
        assert items.value == ["first", "a", "b", "c"]
        items.undo()
        assert items.value == ["first"]


async def test_a_new_action_ends_what_could_be_redone(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        items = shopping(party, key)
        items.dispatch(add("a"))
        items.undo()
        items.dispatch(add("b"))

        assert (items.can_redo, items.redo(), items.value) == (False, None, ["b"])


async def test_changes_of_a_shared_value_need_no_declaration(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        votes = await mine.server_state({"yes": 1}, key).ready()
        await votes.increment(5, path="yes")
        await yours.server_state({"yes": 1}, key).increment(10, path="yes")
        await votes.set(lambda value: {**value, "no": 1})

        votes.undo()
        last = votes.undo()

        assert last is not None
        assert await last == {"yes": 11}


async def test_a_refused_action_is_not_undone(server: ServerProcess, key: str) -> None:
    @reducer(inverse=lambda before, action: Finish(text=action.text))
    def declared(state: Todos, action: TodoAction) -> Todos:
        return todo_reducer(state, action)

    async with Provider(server.url, on_error=lambda error: None) as party:
        todos = party.server_reducer(declared, Todos(), key)
        await todos.dispatch(Add(text="milk"))
        with pytest.raises(ActionRejected):
            await todos.dispatch(Add(text="milk"))
        with pytest.raises(ActionRejected):
            await todos.dispatch(Break())

        undone = todos.undo()

        assert undone is not None
        assert [item.done for item in (await undone).items] == [True]
        assert not todos.can_undo


async def test_what_could_not_be_undone_is_not_done_again(server: ServerProcess, key: str) -> None:
    @reducer(inverse=lambda before, action: -action)
    def growing(state: int, action: int) -> int:
        if action < 0 and state > 9:
            raise Reject("too large by now")
        return state + action

    async with Provider(server.url) as party, Provider(server.url) as other:
        total = party.server_reducer(growing, 0, key)
        with total.undo_group():
            total.dispatch(1)
            await total.dispatch(2)
        await other.server_reducer(growing, 0, key).dispatch(10)
        await eventually(lambda: total.confirmed == 13)

        refused = total.undo()
        assert refused is not None
        with pytest.raises(ActionRejected, match="too large"):
            await refused
        await eventually(lambda: not total.can_redo)

        assert (total.redo(), total.value, total.can_undo) == (None, 13, True)


def wary(state: list[str], action: str) -> list[str]:
    if action == "undo b" and "ready" not in state:
        raise Reject("not ready")
    return [*state, action]


wary_reducer = reducer(inverse=lambda before, action: ["undo a", "undo b", "undo c"])(wary)


async def test_only_what_was_refused_of_an_undo_is_dispatched_again(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party, Provider(server.url) as other:
        texts = party.server_reducer(wary_reducer, [], key)
        await texts.dispatch("do")
        await done(texts.undo())
        await eventually(lambda: texts.can_undo)
        await other.server_reducer(wary_reducer, [], key).dispatch("ready")
        await eventually(lambda: "ready" in texts.value)

        assert await done(texts.undo()) == ["do", "undo a", "undo c", "ready", "undo b"]
        assert (texts.can_undo, texts.can_redo) == (False, True)
        assert (await done(texts.redo()))[-1] == "do"


async def test_a_refused_undo_can_be_tried_again_after_other_actions(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        texts = party.server_reducer(wary_reducer, [], key)
        await texts.dispatch("do")
        texts.undo()
        await texts.dispatch("ready")
        await eventually(lambda: texts.pending == 0)

        assert (await done(texts.undo()))[-1] == "undo b"


async def test_an_undo_of_one_action_that_middleware_stops_goes_on_where_it_stopped(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url, middleware=[refusing(4)]) as party:
        texts = party.server_reducer(wary_reducer, [], key)
        texts.dispatch("ready")
        texts.dispatch("do")
        with pytest.raises(ActionRejected):
            texts.undo()

        assert await done(texts.undo()) == ["ready", "do", "undo a", "undo b", "undo c"]


async def test_blocks_hold_for_whom_they_are_entered_by_and_not_for_whom_they_were_made_by(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        items = shopping(party, key)
        with items.acting_for("ann"):
            group = items.undo_group()
        with items.acting_for("bob"), group:
            items.dispatch(add("a"))
            items.dispatch(add("b"))

        with items.acting_for("bob"):
            items.undo()

        assert (items.value, items.can_undo) == ([], False)


async def test_a_user_made_known_inside_a_group_does_not_carry_the_group_out(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        items = shopping(party, key)
        with items.undo_group():
            as_ann = items.acting_for("ann")
        with as_ann:
            items.dispatch(add("a"))
            items.undo()

        assert items.value == []


async def test_a_reducer_that_does_not_say_how_is_told_so(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        todos.dispatch(Add(text="milk"))

        with pytest.raises(ConfigurationError, match="inverse"):
            todos.undo()

        assert todos.can_undo


async def test_the_state_at_an_earlier_offset(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)
        offsets = []
        for _ in range(5):
            await count.increment()
            offsets.append(count.offset)

        history = await count.history()

        assert [entry.after for entry in history] == [1, 2, 3, 4, 5]
        assert [await count.at(offset) for offset in offsets] == [1, 2, 3, 4, 5]


async def test_a_fork_goes_on_from_an_earlier_state_without_touching_the_original(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)
        await count.set(5)
        five = count.offset
        await count.set(6)

        what_if = await party.fork(count, f"{key}/what-if", at=five)

        assert (await what_if.ready()).value == 5
        assert await what_if.increment(100) == 105
        assert count.value == 6
        values: Any = (await what_if.history()).at(1)
        assert values == 5


async def test_each_user_of_a_process_undoes_their_own_actions(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, strict=True) as party:
        items = shopping(party, key)
        with items.acting_for("ann"):
            items.dispatch(add("hers"))
        with items.acting_for("bob"):
            items.dispatch(add("his"))

        with items.acting_for("ann"):
            undone = items.undo()
            could_undo_more = items.can_undo

        assert undone is not None
        assert await undone == ["his"]
        assert (could_undo_more, items.can_undo) == (False, False)


async def test_an_undo_group_is_that_of_its_task_and_not_of_others_beside_it(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party, anyio.create_task_group() as tasks:
        items = shopping(party, key)
        is_beside, may_leave, has_left = anyio.Event(), anyio.Event(), anyio.Event()

        async def group() -> None:
            with items.undo_group():
                items.dispatch(add("a"))
                is_beside.set()
                await may_leave.wait()
                items.dispatch(add("c"))
            has_left.set()

        tasks.start_soon(group)
        await is_beside.wait()
        items.dispatch(add("b"))
        items.undo()
        seen = items.value
        may_leave.set()
        await has_left.wait()
        items.undo()

        assert (seen, items.value) == (["a"], [])


async def test_one_may_wait_while_acting_for_a_user(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        items = shopping(party, key)
        with items.acting_for("ann"):
            await items.dispatch(add("hers"))
            undone = items.undo()
            assert undone is not None
            await undone

        assert (items.value, items.can_undo) == ([], False)


async def test_a_refused_action_of_a_user_is_not_undone(server: ServerProcess, key: str) -> None:
    @reducer(inverse=lambda _before, action: action)
    def picky(state: list[str], action: str) -> list[str]:
        raise Reject("no")

    async with Provider(server.url) as party:
        handle: ServerReducer[list[str], str] = party.server_reducer(picky, [], key)
        with handle.acting_for("ann"):
            refused = handle.dispatch("anything")
        with pytest.raises(ActionRejected):
            await refused

        with handle.acting_for("ann"):
            assert not handle.can_undo


def refusing(*numbers: int) -> Middleware:
    """Rejects the actions of these numbers, counted from 1."""
    counter = itertools.count(1)

    def middleware(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        if next(counter) in numbers:
            raise Reject("not now")
        return forward(action)

    return middleware


async def test_an_undo_that_middleware_stops_half_way_goes_on_where_it_stopped(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url, middleware=[refusing(4, 7)]) as party:
        total = party.server_state(0, key)
        with total.undo_group():
            total.increment(1)
            total.increment(10)

        with pytest.raises(ActionRejected):
            total.undo()
        half_way = total.value
        total.undo()
        undone, can_undo = total.value, total.can_undo
        total.redo()
        with pytest.raises(ActionRejected):
            total.redo()
        total.redo()

        assert (half_way, undone, can_undo) == (1, 0, False)
        assert (total.value, total.can_redo) == (11, False)
        await party.flush()
