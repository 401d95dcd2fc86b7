"""What type checkers infer from the public API, without a plug-in.

The assertions are for mypy and pyright, which `make check` runs over this file; running it shows that the
same code works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

import pytest

from durafold import (
    Context,
    Dispatch,
    LoadedState,
    Provider,
    ServerReducer,
    ServerState,
    StreamSpec,
    reducer,
    replay,
    set_state_reducer,
    use_server_reducer,
    use_server_state,
)
from durafold.hydrate import load_stream_with_reducer
from support.todos import Add, Break, Finish, Todos, todo_reducer

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


@reducer(version="2")
def total(state: float, action: int) -> float:
    return state + action


@reducer
def product(state: float, action: int) -> float:
    return state * action


def nowhere() -> Provider:
    return Provider(NOWHERE, close_timeout_s=0, on_error=lambda error: None)


async def test_the_type_of_a_shared_value_is_that_of_its_default() -> None:
    async with nowhere() as party:
        count = party.server_state(0, "count")
        names: ServerState[list[str]] = party.server_state([], "names")

        assert_type(count, ServerState[int])
        assert_type(count.value, int)
        assert_type(count.set(5), Dispatch[int])
        assert_type(count.set(lambda value: value + 1), Dispatch[int])
        assert_type(names.append("Ann"), Dispatch[list[str]])
        assert_type(await anext(count.changes()), int)
        assert_type(count.subscribe(lambda: None), Callable[[], None])


async def test_state_and_actions_are_those_of_the_reducer() -> None:
    async with nowhere() as party:
        todos = party.server_reducer(todo_reducer, Todos(), "todos")
        totals = party.server_reducer(total, 0.0, "total")

        assert_type(todos, ServerReducer[Todos, Add | Finish | Break])
        assert_type(todos.value, Todos)
        assert_type(todos.dispatch(Add(text="milk")), Dispatch[Todos])
        assert_type(totals, ServerReducer[float, int])
        assert_type(party.server_reducer(product, 1.0, "product"), ServerReducer[float, int])


async def test_hooks_give_typed_values_and_setters() -> None:
    async with nowhere():
        count, set_count = use_server_state(0, "count")
        todos, dispatch = use_server_reducer(todo_reducer, Todos(), "todos")

        assert_type(count, int)
        assert_type(set_count(1), Dispatch[int])
        assert_type(set_count(lambda value: value + 1), Dispatch[int])
        assert_type(todos, Todos)
        assert_type(dispatch(Add(text="milk")), Dispatch[Todos])


async def test_loading_gives_the_state_of_the_reducer() -> None:
    async def load() -> LoadedState[Todos]:
        loaded = await load_stream_with_reducer(NOWHERE, "todos", todo_reducer, Todos())
        assert_type(loaded, LoadedState[Todos])
        assert_type(loaded.state, Todos)
        return loaded

    async def load_value() -> LoadedState[int]:
        loaded = await load_stream_with_reducer(NOWHERE, "count", set_state_reducer, 0)
        assert_type(loaded, LoadedState[int])
        return loaded

    assert_type(StreamSpec("todos", todo_reducer, Todos()), StreamSpec[Todos])
    assert_type(replay(todo_reducer, Todos(), [Add(text="milk")]), Todos)
    assert [load.__name__, load_value.__name__] == ["load", "load_value"]


async def test_awaiting_a_dispatch_gives_the_state() -> None:
    async def increment(count: ServerState[int]) -> None:
        assert_type(await count.increment(), int)
        assert_type(await count.increment().sent, None)

    async def add(todos: ServerReducer[Todos, Any]) -> None:
        assert_type(await todos.dispatch(Add(text="milk")), Todos)

    assert [increment.__name__, add.__name__] == ["increment", "add"]


@reducer(draft=True)
def marks(state: dict[str, bool], action: str) -> None:
    state[action] = True


@reducer(version="3")
def dice(state: int, action: str, ctx: Context) -> int:
    return ctx.integer(1, 6)


async def test_declared_reducers_keep_their_types() -> None:
    async with nowhere() as party:
        assert_type(
            party.server_reducer(marks, dict[str, bool](), "marks"), ServerReducer[dict[str, bool], str]
        )
        assert_type(party.server_reducer(dice, 1, "dice"), ServerReducer[int, str])
