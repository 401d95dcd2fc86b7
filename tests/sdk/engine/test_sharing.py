"""Shared state against a real server: what two clients see of each other, and of themselves."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from durafold.client import DurableStream
from durafold.errors import ActionRejected, ConfigurationError, InvalidAction, StateError, StreamClosed
from durafold.provider import Provider
from durafold.state.context import Context
from durafold.state.outcomes import ImpureReducer
from durafold.state.reducer import reducer
from support.server import ServerProcess
from support.todos import Add, Break, Finish, Todos, todo_reducer
from support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio


# ---- shared values ----


async def test_what_one_client_sets_another_sees(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        ours, theirs = mine.server_state("", key), yours.server_state("", key)

        await ours.set("hello")

        await eventually(lambda: theirs.value == "hello")
        assert theirs.confirmed == "hello"
        assert theirs.offset == ours.offset


async def test_a_change_is_shown_before_anything_is_sent(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, strict=True) as party:
        count = party.server_state(0, key)

        dispatch = count.increment(5)

        assert (count.value, count.confirmed, count.pending) == (5, 0, 1)
        assert dispatch.stage == "shown"
        assert await dispatch == 5
        assert (count.value, count.confirmed, count.pending) == (5, 5, 0)
        assert dispatch.stage == "confirmed"


async def test_sent_means_durable_on_the_server(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)

        await count.increment().sent

        messages = await _messages(server, key)
    assert [message["payload"] for message in messages] == [["increment", 1]]


async def test_a_dispatch_may_be_awaited_by_many_and_often(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        dispatch = party.server_state(0, key).set(7)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_awaited, dispatch)
            tasks.start_soon(_awaited, dispatch)

        assert await dispatch == 7
        await dispatch.sent


async def test_who_increments_learns_a_number_that_nobody_else_got(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        counters = [mine.server_state(0, key), yours.server_state(0, key)] * 5

        dispatches = [counter.increment() for counter in counters]
        tickets = [await dispatch for dispatch in dispatches]

    assert sorted(tickets) == list(range(1, 11))


async def test_messages_have_the_documented_form(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, client_id="tester", by="Ann", clock=lambda: 1.5) as party:
        count = party.server_state(0, key)
        await count.set(3)
        await count.set(lambda value: value + 1)
        await count.increment(2, path=())

        messages = await _messages(server, key)

    client = count.client_id
    assert client.startswith("tester-")
    assert messages == [
        {"type": "set", "payload": 3, "meta": {"id": f"{client}:1", "v": 1, "ts": 1500, "by": "Ann"}},
        {
            "type": "set",
            "payload": 4,
            "meta": {"id": f"{client}:2", "v": 1, "if_revision": 1, "ts": 1500, "by": "Ann"},
        },
        {
            "type": "op",
            "payload": ["increment", 2],
            "meta": {"id": f"{client}:3", "v": 1, "ts": 1500, "by": "Ann"},
        },
    ]


async def test_every_operation_arrives_as_it_is_shown(server: ServerProcess, key: str) -> None:
    initial: dict[str, Any] = {"n": 1, "tags": [], "on": False, "meta": {"a": 1}}
    async with Provider(server.url, strict=True) as party:
        state = party.server_state(initial, key)
        state.increment(2, path="n")
        state.append("x", path="tags")
        state.extend(("y", "z"), path=["tags"])
        state.remove("y", path="tags")
        state.merge({"b": 2}, path="meta")
        state.put(("meta", "c", "d"), 3)
        state.toggle(path="on")
        state.max(10, path="best")
        state.put(["tags", 0], "first")
        last = state.min(4, path="best")

        shown = state.value
        confirmed = await last

    assert confirmed == shown
    assert confirmed == {
        "n": 3,
        "tags": ["first", "z"],
        "on": True,
        "meta": {"a": 1, "b": 2, "c": {"d": 3}},
        "best": 4,
    }


async def test_an_operation_that_does_not_fit_is_rejected_at_its_place(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)

        with pytest.raises(ActionRejected, match="nothing can be appended to a number"):
            await count.append("x")

        assert await count.increment() == 1


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, object(), "\ud800", {"a": b""}])
async def test_a_value_without_json_form_is_refused_at_once(
    server: ServerProcess, key: str, value: Any
) -> None:
    async with Provider(server.url) as party:
        state = party.server_state(None, key)

        with pytest.raises(InvalidAction, match="Nothing was sent"):
            state.set(value)

        assert state.pending == 0


async def test_operations_with_wrong_arguments_are_refused_at_once(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        state = party.server_state(0, key)

        with pytest.raises(InvalidAction, match="'increment' takes a number"):
            state.increment("1")  # type: ignore[arg-type]


class Point(BaseModel):
    x: int = 0
    y: int = 0


async def test_a_shared_value_may_be_a_model(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        ours, theirs = mine.server_state(Point(), key), yours.server_state(Point(), key)

        await ours.set(Point(x=1, y=2))
        await ours.increment(3, path="y")
        await ours.set(lambda point: point.model_copy(update={"x": 9}))

        await eventually(lambda: theirs.value == Point(x=9, y=5))
        with pytest.raises(InvalidAction):
            ours.set({"x": "no number"})  # type: ignore[arg-type]


async def test_a_typed_list_takes_models_as_items(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        points = party.server_state([], key, state_type=list[Point])

        assert await points.append(Point(x=1)) == [Point(x=1)]


# ---- functional updates ----


async def test_a_function_is_run_on_the_value_of_the_moment(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(1, key)

        dispatches = [
            count.set(lambda value: value * 3),
            count.increment(),
            count.set(lambda value: value * 2),
        ]

        assert count.value == 8
        assert [await dispatch for dispatch in dispatches] == [3, 4, 8]


async def test_a_function_that_changes_its_argument_harms_nobody(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        items = party.server_state(["a"], key)
        before = items.value

        after = await items.set(lambda value: value.append("b") or value)

        assert before == ["a"]
        assert after == ["a", "b"]


async def test_what_a_function_raises_goes_to_its_caller(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)

        failing = count.set(lambda value: 1 // value)
        following = count.increment()

        with pytest.raises(ZeroDivisionError):
            await failing
        assert await following == 1


async def test_what_a_function_returns_must_have_a_json_form(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        with pytest.raises(InvalidAction, match="has no JSON form"):
            await party.server_state(0, key).set(lambda value: {value})  # type: ignore[arg-type, return-value]


async def test_r7_a_hundred_functional_updates_by_twenty_clients_are_a_hundred(
    server: ServerProcess, key: str
) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(_count_to_five, server.url, key)

    async with Provider(server.url) as party:
        count = await party.server_state(0, key).ready()
        assert count.value == 100


# ---- reducers ----


async def test_actions_of_all_clients_are_folded_in_one_order(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, strict=True) as mine, Provider(server.url, strict=True) as yours:
        ours = mine.server_reducer(todo_reducer, Todos(), key)
        theirs = yours.server_reducer(todo_reducer, Todos(), key)

        dispatches = [
            handle.dispatch(Add(text=text)) for handle, text in zip([ours, theirs] * 3, "abcdef", strict=True)
        ]
        for dispatch in dispatches:
            await dispatch
        await ours.dispatch(Finish(text="e"))

        await eventually(lambda: theirs.offset == ours.offset)
        assert theirs.value == ours.value
        assert sorted(ours.value.texts) == list("abcdef")
        assert [item.text for item in ours.value.items if item.done] == ["e"]


async def test_a_dict_that_matches_the_model_is_an_action(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)

        after = await todos.dispatch({"type": "add", "text": "milk"})  # type: ignore[arg-type]

        assert after.texts == ["milk"]


async def test_an_action_that_is_none_is_refused_at_once(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)

        with pytest.raises(InvalidAction):
            todos.dispatch({"type": "archive"})  # type: ignore[arg-type]

        assert todos.value == Todos()


async def test_only_the_first_of_two_equal_actions_counts(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        dispatches = [
            party.server_reducer(todo_reducer, Todos(), key).dispatch(Add(text="seat 1"))
            for party in (mine, yours)
        ]

        outcomes = [await _outcome(dispatch) for dispatch in dispatches]

    assert sorted(outcomes) == ["ActionRejected: seat 1 is on the list already", "applied"]


async def test_r6_a_rejected_action_disappears_and_others_go_on(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        todos.dispatch(Add(text="milk"))
        rejected = todos.dispatch(Add(text="milk"))
        accepted = todos.dispatch(Add(text="eggs"))

        assert todos.value.texts == ["milk", "eggs"]
        with pytest.raises(ActionRejected):
            await rejected
        assert (await accepted).texts == ["milk", "eggs"]


# ---- messages of other programs ----


async def test_bare_messages_are_actions(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream, Provider(server.url) as party:
        await stream.create()
        await stream.append({"type": "add", "text": "from curl"})

        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()

        assert todos.value.texts == ["from curl"]


async def test_a_hook_unwraps_messages_of_another_form(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream, Provider(server.url) as party:
        await stream.create()
        await stream.append({"event": {"type": "add", "text": "wrapped"}})

        todos = party.server_reducer(todo_reducer, Todos(), key, unwrap=lambda message: message["event"])
        await todos.ready()

        assert todos.value.texts == ["wrapped"]
        assert (await todos.dispatch(Add(text="own"))).texts == ["wrapped", "own"]


async def test_a_shell_script_can_set_a_shared_value(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream, Provider(server.url) as party:
        count = await party.server_state(0, key).ready()

        await stream.append({"type": "set", "payload": 5})
        await stream.append({"type": "op", "payload": ["increment", 1]})

        await eventually(lambda: count.value == 6)


# ---- faults ----


async def test_r8_an_action_that_breaks_the_reducer_is_skipped_and_recorded(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with Provider(server.url, on_error=errors.append) as party:
        todos = party.server_reducer(todo_reducer, Todos(), key)
        await todos.dispatch(Add(text="before"))

        with pytest.raises(ActionRejected, match="could not be folded: ZeroDivisionError"):
            await todos.dispatch(Break())

        assert (await todos.dispatch(Add(text="after"))).texts == ["before", "after"]
        assert todos.status == "degraded"
        (fault,) = todos.faults
        assert (fault.position, fault.id, fault.verdict) == (1, f"{todos.client_id}:2", "poison")
        assert fault.reason == "ZeroDivisionError: a bug in the reducer"
        assert not todos.partial
        assert todos.snapshot() is None
        assert [type(error) for error in errors] == [ZeroDivisionError]


async def test_r9_an_action_of_a_newer_version_is_skipped_and_makes_the_state_partial(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with (
        DurableStream(f"{server.url}/{key}") as stream,
        Provider(server.url, on_error=errors.append) as party,
    ):
        await stream.create()
        await stream.append({"type": "archive", "text": "milk"})

        todos = await party.server_reducer(todo_reducer, Todos(), key).ready()

        assert (todos.status, todos.partial, todos.value) == ("degraded", True, Todos())
        assert todos.faults[0].reason == "there is no action of type 'archive'"


async def test_r8_a_client_may_rather_halt_than_skip(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with (
        Provider(server.url, on_fault="halt", on_error=errors.append) as careful,
        Provider(server.url, on_error=lambda error: None) as careless,
    ):
        todos = careful.server_reducer(todo_reducer, Todos(), key)
        await todos.dispatch(Add(text="before"))
        others = careless.server_reducer(todo_reducer, Todos(), key)

        await others.dispatch(Add(text="between"))
        await eventually(lambda: todos.value.texts == ["before", "between"])
        with pytest.raises(ActionRejected):
            await others.dispatch(Break())
        await others.dispatch(Add(text="after"))

        await eventually(lambda: todos.status == "failed")
        assert todos.value.texts == ["before", "between"]
        with pytest.raises(StateError, match="not followed any more: Message 2 cannot be folded"):
            todos.dispatch(Add(text="mine"))
        assert [str(error.__cause__) for error in errors] == ["a bug in the reducer"]


async def test_a_reducer_that_changes_its_state_in_place_is_reported_once(
    server: ServerProcess, key: str
) -> None:
    errors: list[Exception] = []

    def push(state: list[int], action: int) -> list[int]:
        state.append(action)
        return state

    async with Provider(server.url, on_error=errors.append) as party:
        stack = await party.server_reducer(push, [], key).ready()
        for number in range(4):
            await stack.dispatch(number)

    assert [type(error) for error in errors] == [ImpureReducer]
    assert "@reducer(draft=True)" in str(errors[0])


async def test_strict_mode_finds_a_value_that_was_changed_in_place(server: ServerProcess, key: str) -> None:
    async with Provider(server.url, strict=True) as party:
        items = party.server_state(["a"], key)

        items.value.append("b")

        with pytest.raises(ConfigurationError, match="was changed in place"):
            _ = items.value


# ---- telling ----


async def test_listeners_are_told_of_changes_by_anybody(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        ours, theirs = mine.server_state(0, key), yours.server_state(0, key)
        await theirs.ready()
        seen: list[int] = []
        theirs.subscribe(lambda: seen.append(theirs.value))

        await ours.set(1)
        await eventually(lambda: seen == [1])
        await theirs.set(2)

        assert seen == [1, 2]


async def test_r4_the_echo_of_an_own_action_is_no_change(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        items = await party.server_state(["a"], key).ready()
        told: list[Any] = []
        items.subscribe(lambda: told.append(items.value))

        dispatch = items.append("b")
        shown = items.value
        await dispatch

        assert items.value is shown
        assert len(told) == 1


async def test_progress_can_be_followed_too(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        count = await party.server_state(0, key).ready()
        seen: list[tuple[int, int]] = []
        count.subscribe(lambda: seen.append((count.value, count.pending)), progress=True)

        await count.increment()

        assert seen[0] == (1, 1)
        assert seen[-1] == (1, 0)


async def test_a_listener_may_dispatch_unsubscribe_and_raise(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with Provider(server.url, on_error=errors.append) as party:
        count = await party.server_state(0, key).ready()
        seen: list[int] = []

        def once_more() -> None:
            unsubscribe()
            count.increment(10)
            raise ValueError("on purpose")

        unsubscribe = count.subscribe(once_more)
        count.subscribe(lambda: seen.append(count.value))

        await count.increment()
        await eventually(lambda: count.confirmed == 11)

        assert seen == [11, 11]
        assert [str(error) for error in errors] == ["on purpose"]


async def test_an_asynchronous_callback_is_refused(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        with pytest.raises(ConfigurationError, match="must be a plain function"):
            party.server_state(0, key).subscribe(anyio.sleep_forever)  # type: ignore[arg-type]


async def test_changes_begin_with_the_present_value_and_skip_what_is_missed(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        count = await party.server_state(0, key).ready()
        changes = count.changes()

        assert await anext(changes) == 0
        count.increment()
        count.increment()
        assert await anext(changes) == 2


async def test_changes_end_with_the_provider(server: ServerProcess, key: str) -> None:
    seen: list[int] = []

    async def follow() -> None:
        seen.extend([value async for value in count.changes()])

    async with anyio.create_task_group() as tasks:
        async with Provider(server.url) as party:
            count = party.server_state(0, key)
            tasks.start_soon(follow)
            await count.increment()
        assert count.status == "closed"
        assert count.value == 1

    assert seen[-1] == 1


async def test_a_failure_that_nobody_awaits_is_reported(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    async with Provider(server.url, on_error=errors.append) as party:
        count = party.server_state(0, key)

        count.append("x")
        await count.increment()

    assert [type(error) for error in errors] == [ActionRejected]


async def test_errors_are_logged_by_default(
    server: ServerProcess, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Provider(server.url) as party:
        count = party.server_state(0, key)
        count.append("x")
        await count.increment()

    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["durafold"]


# ---- handles and keys ----


async def test_all_handles_of_a_key_share_one_engine(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        first, second = party.server_state(0, key), party.server_state(0, key)

        first.increment()

        assert second.value == 1
        assert second.pending == 1


async def test_a_key_means_one_thing(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        party.server_state(0, key)

        with pytest.raises(ConfigurationError, match="in use with another default"):
            party.server_state(1, key)
        with pytest.raises(ConfigurationError, match="in use with another reducer"):
            party.server_reducer(todo_reducer, Todos(), key)


async def test_keys_with_unusual_characters_are_streams_like_others(server: ServerProcess, key: str) -> None:
    odd = f"{key}/ä ö/50%?&#"
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        await mine.server_state(0, odd).set(3)

        assert (await yours.server_state(0, odd).ready()).value == 3


async def test_a_closed_stream_takes_no_more_changes(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream, Provider(server.url) as party:
        count = party.server_state(0, key)
        await count.increment()

        await stream.close()

        await eventually(lambda: count.status == "closed")
        assert count.value == 1
        with pytest.raises(StreamClosed):
            count.increment()


async def test_an_action_on_its_way_to_a_closed_stream_fails_with_it(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}") as stream:
        await stream.create()
        await stream.close({"type": "set", "payload": 1})
    async with Provider(server.url) as party:
        count = party.server_state(0, key)

        dispatch = count.increment()

        assert count.value == 1
        with pytest.raises(StreamClosed):
            await dispatch
        assert (count.value, count.status) == (1, "closed")


async def test_a_stream_of_another_type_cannot_be_shared_state(server: ServerProcess, key: str) -> None:
    async with DurableStream(f"{server.url}/{key}", content_type="text/plain") as stream:
        await stream.create(body="hello")
    async with Provider(server.url) as party:
        count = party.server_state(0, key)

        with (
            pytest.raises(ConfigurationError, match="state needs application/json"),
            anyio.fail_after(PATIENCE_S),
        ):
            await count.ready()
        assert count.status == "failed"


async def _messages(server: ServerProcess, key: str) -> list[Any]:
    async with DurableStream(f"{server.url}/{key}") as stream:
        return await stream.read_json()


async def _awaited(dispatch: Any) -> None:
    await dispatch


async def _outcome(dispatch: Any) -> str:
    try:
        await dispatch
    except ActionRejected as error:
        return f"ActionRejected: {error.message}"
    return "applied"


async def _count_to_five(url: str, key: str) -> None:
    async with Provider(url) as party:
        count = party.server_state(0, key)
        dispatches = [count.set(lambda value: value + 1) for _ in range(5)]
        for dispatch in dispatches:
            await dispatch


# ---- chance ----


@reducer()
def _draws(state: list[str], action: str, ctx: Context) -> list[str]:
    return [*state, f"{action} {ctx.uuid()} {ctx.integer(1, 6)} {ctx.ts_ms}"]


async def test_r10_ids_and_dice_of_a_reducer_are_the_same_for_everybody_from_the_first_moment(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url, strict=True) as mine, Provider(server.url, strict=True) as yours:
        ours = mine.server_reducer(_draws, list[str](), key)
        theirs = yours.server_reducer(_draws, list[str](), key)

        dispatch = ours.dispatch("a")
        shown = ours.value

        assert await dispatch == shown
        await eventually(lambda: theirs.value == shown)
        assert await ours.dispatch("a") != [*shown, *shown]
