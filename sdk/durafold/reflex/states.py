"""`use_server_state` and `use_server_reducer` for Reflex: a shared stream as an `rx.State` class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import reflex as rx
from pydantic import TypeAdapter

from durafold.errors import ConfigurationError
from durafold.reflex.classes import FilledByApp, place_of, state_class
from durafold.reflex.members import reducer_members, value_members, with_set
from durafold.reflex.specs import StreamSpec
from durafold.state.models import model_of

if TYPE_CHECKING:
    from durafold.reflex._types import (  # pyright: ignore[reportMissingModuleSource] - types only
        ServerReducerClass,
        ServerStateClass,
    )

__all__ = ["reducer_spec", "type_of", "use_server_reducer", "use_server_state", "value_spec"]

S = TypeVar("S")
A = TypeVar("A")


def use_server_state(
    initial: S,
    key: str,
    *,
    name: str | None = None,
    state_type: Any = None,
    parameters: FilledByApp | None = None,
    base: type[rx.State] | None = None,
) -> type[ServerStateClass[S]]:
    """A value shared by every tab, every app and every other client of the stream.

    Call it at module level; nothing is opened until the app runs.

        Counter = use_server_state(0, "demo/counter")

        rx.text(Counter.value)
        rx.button("+", on_click=Counter.increment(1))
        rx.button("Reset", on_click=Counter.set(0))

    Besides the vars `value`, `status` and `pending` (see `durafold.reflex`) the class has these events:
    `set` (also called `set_value`), where the last writer wins; for a number `increment`, and for a boolean
    `toggle`, which lose no update.

    Args:
        initial: the value before anybody set one.
        key: path of the stream below the server's URL. `[room]` in it stands for the part of the page's
            route, or of its query, that has this name: `rooms/[room]` is one stream for each room.
        name: name of the class, unique in its module and the same at every start; made of the key by default.
        state_type: type of the value, if that of `initial` does not say enough: `list[str]` for `[]`. A
            browser can send anything; what is not of this type is refused.
        parameters: parameters of the key that the app fills in, by functions of the state that asks, such as
            `{"user": lambda state: state.user_id}`. No browser has a say in these. A function that returns
            None (nobody is signed in) names no stream.
        base: the state class to derive from, whose vars such functions can read. Default: `rx.State`.

    Raises:
        ConfigurationError: the key was declared with another default, the app runs already, or the type
            cannot be used.
    """
    var_type = type_of(initial, state_type, key)
    place = place_of(value_spec(initial, key, state_type), parameters)
    shared = state_class(name, key, value_members(place, initial, var_type), base)
    return cast("type[ServerStateClass[S]]", with_set(shared))


def use_server_reducer(
    reducer: Callable[[S, A], S],
    initial: S,
    key: str,
    *,
    actions: Any,
    name: str | None = None,
    state_type: Any = None,
    parameters: FilledByApp | None = None,
    base: type[rx.State] | None = None,
) -> type[ServerReducerClass[S]]:
    """A state shared by every tab, every app and every other client of the stream, changed by actions.

    Call it at module level; nothing is opened until the app runs.

        TodoList = use_server_reducer(todo_reducer, Todos(), "demo/todos", actions=TodoAction)

        rx.foreach(TodoList.value.todos, lambda todo: rx.text(todo.text))
        rx.button("Add", on_click=TodoList.dispatch({"type": "add", "text": "milk"}))

    Besides the vars `value`, `status` and `pending` (see `durafold.reflex`) the class has the event
    `dispatch`. It takes the action as a dict, whose values may be vars.

    If the reducer says what undoes an action (`@reducer(inverse=...)`), there are the events `undo` and
    `redo` and the vars `can_undo` and `can_redo` too. A tab undoes what was done in that tab, back to the
    start of the app; what others did meanwhile stays.

    Args:
        reducer: pure function (state, action) → state.
        initial: the state before the first action.
        key: path of the stream below the server's URL. `[room]` in it stands for the part of the page's
            route, or of its query, that has this name: `rooms/[room]` is one stream for each room.
        actions: union of the action types. A browser can send anything; what is not one of these is refused.
        name: name of the class, unique in its module and the same at every start; made of the key by default.
        state_type: type of the state, if that of `initial` does not say enough.
        parameters: as for `use_server_state`.
        base: as for `use_server_state`.

    Raises:
        ConfigurationError: the key was declared with another default or reducer, the app runs already, or a
            type cannot be used.
    """
    var_type = type_of(initial, state_type, key)
    place = place_of(reducer_spec(reducer, initial, key, actions, state_type), parameters)
    members = reducer_members(place, reducer, initial, var_type, TypeAdapter[Any](actions))
    return cast("type[ServerReducerClass[S]]", state_class(name, key, members, base))


def value_spec(initial: Any, key: str, state_type: Any) -> StreamSpec:
    """The stream of a shared value."""
    return StreamSpec(
        key,
        lambda party, actual, _: party.server_state(initial, actual, state_type=state_type),
        ("state", initial, state_type),
        initial,
        model_of(initial, state_type),
    )


def reducer_spec(
    reducer: Callable[[Any, Any], Any], initial: Any, key: str, actions: Any, state_type: Any
) -> StreamSpec:
    """The stream of a reducer's state."""
    return StreamSpec(
        key,
        lambda party, actual, _: party.server_reducer(
            reducer, initial, actual, actions=actions, state_type=state_type
        ),
        ("reducer", reducer, initial, state_type),
        initial,
        model_of(initial, state_type),
    )


def type_of(initial: Any, state_type: Any, key: str) -> Any:
    """The type that a var has.

    Raises:
        ConfigurationError: it cannot be known.
    """
    if initial is None and state_type is None:
        raise ConfigurationError(
            f"The default of {key!r} is None, which does not tell what it may become",
            hint="Pass state_type, for example state_type=str | None",
        )
    return type(initial) if state_type is None else state_type
