"""`use_server_state` and `use_server_reducer` for Reflex: a shared stream as an `rx.State` class.

Changes are background events, since an ordinary handler keeps its tab's state locked, and the tab's own
update waiting, until the change is confirmed. Whatever a browser sends is validated before it is dispatched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import reflex as rx
from pydantic import TypeAdapter
from reflex.event import EventSpec

from durafold.engine import Handle, ServerReducer, ServerState
from durafold.errors import ConfigurationError
from durafold.reflex._internals import route_parameters_of, tab_of
from durafold.reflex.classes import (
    HUB,
    Change,
    outcome,
    shared_var,
    state_class,
    status_of,
    uncached,
    validated,
)
from durafold.reflex.specs import StreamSpec
from durafold.state.models import model_of
from durafold.state.reducer import DeclaredReducer

if TYPE_CHECKING:
    from durafold.reflex._types import (  # pyright: ignore[reportMissingModuleSource] - types only
        ServerReducerClass,
        ServerStateClass,
    )

__all__ = ["use_server_reducer", "use_server_state"]

S = TypeVar("S")
A = TypeVar("A")

_Event: TypeAlias = Callable[..., Awaitable[EventSpec | None]]


def use_server_state(
    initial: S, key: str, *, name: str | None = None, state_type: Any = None
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

    Raises:
        ConfigurationError: the key was declared with another default, the app runs already, or the type
            cannot be used.
    """
    var_type = _type_of(initial, state_type, key)
    HUB.declare(
        StreamSpec(
            key,
            lambda party, actual: party.server_state(initial, actual, state_type=state_type),
            ("state", initial, state_type),
            initial,
            model_of(initial, state_type),
        )
    )
    expected = TypeAdapter[Any](var_type)

    def stream(state: rx.State) -> ServerState[Any]:
        return cast("ServerState[Any]", HUB.handle(key, route_parameters_of(state)))

    async def set_value(self: Any, value: Any) -> EventSpec | None:
        return await outcome(lambda: stream(self).set(validated(expected, value)))

    async def increment(self: Any, by: float = 1) -> EventSpec | None:
        return await outcome(lambda: stream(self).increment(by))

    async def toggle(self: Any) -> EventSpec | None:
        return await outcome(lambda: stream(self).toggle())

    events: list[_Event] = [set_value]
    if var_type is bool:
        events.append(toggle)
    elif var_type in (int, float):
        events.append(increment)
    shared = state_class(name, key, _vars(key, initial, var_type), _background(*events))
    # Reflex keeps the name `set` for a method of its own, though only in class bodies.
    shared.set = shared.set_value
    return cast("type[ServerStateClass[S]]", shared)


def use_server_reducer(
    reducer: Callable[[S, A], S],
    initial: S,
    key: str,
    *,
    actions: Any,
    name: str | None = None,
    state_type: Any = None,
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

    Raises:
        ConfigurationError: the key was declared with another default or reducer, the app runs already, or a
            type cannot be used.
    """
    var_type = _type_of(initial, state_type, key)
    HUB.declare(
        StreamSpec(
            key,
            lambda party, actual: party.server_reducer(
                reducer, initial, actual, actions=actions, state_type=state_type
            ),
            ("reducer", reducer, initial, state_type),
            initial,
            model_of(initial, state_type),
        )
    )
    expected = TypeAdapter[Any](actions)

    def stream(state: rx.State) -> ServerReducer[S, Any]:
        return cast("ServerReducer[S, Any]", HUB.handle(key, route_parameters_of(state)))

    def acting(self: rx.State, change: Callable[[ServerReducer[S, Any]], Change]) -> Change:
        handle = stream(self)
        with handle.acting_for(tab_of(self)):
            return change(handle)

    async def dispatch(self: Any, action: dict[str, Any]) -> EventSpec | None:
        return await outcome(
            lambda: acting(self, lambda handle: handle.dispatch(validated(expected, action)))
        )

    async def undo(self: Any) -> EventSpec | None:
        return await outcome(lambda: acting(self, lambda handle: handle.undo()))

    async def redo(self: Any) -> EventSpec | None:
        return await outcome(lambda: acting(self, lambda handle: handle.redo()))

    variables = _vars(key, initial, var_type)
    events: list[_Event] = [dispatch]
    if isinstance(reducer, DeclaredReducer) and reducer.inverse is not None:
        variables |= _undo_vars(key)
        events += [undo, redo]
    shared = state_class(name, key, variables, _background(*events))
    return cast("type[ServerReducerClass[S]]", shared)


def _type_of(initial: Any, state_type: Any, key: str) -> Any:
    if initial is None and state_type is None:
        raise ConfigurationError(
            f"The default of {key!r} is None, which does not tell what it may become",
            hint="Pass state_type, for example state_type=str | None",
        )
    return type(initial) if state_type is None else state_type


def _vars(key: str, initial: Any, var_type: Any) -> dict[str, Any]:
    """The vars of one stream. `confirmed` is for computed vars and not sent to browsers."""
    return {
        "value": shared_var("value", key, var_type, initial, lambda handle: handle.value),
        "confirmed": shared_var(
            "confirmed", key, var_type, initial, lambda handle: handle.confirmed, backend=True
        ),
        "status": shared_var("status", key, str, "connecting", status_of),
        "pending": shared_var("pending", key, int, 0, lambda handle: handle.pending),
    }


def _undo_vars(key: str) -> dict[str, Any]:
    """Whether the tab that asks can undo or redo something."""

    def can(self: rx.State, read: Callable[[Handle[Any]], bool]) -> bool:
        tab = tab_of(self)
        handle = HUB.read(key, tab, route_parameters_of(self))
        if handle is None or not tab:
            return False
        with handle.acting_for(tab):
            return read(handle)

    def can_undo(self: rx.State) -> bool:
        return can(self, lambda handle: handle.can_undo)

    def can_redo(self: rx.State) -> bool:
        return can(self, lambda handle: handle.can_redo)

    return {
        "can_undo": uncached("can_undo", bool, False, can_undo),
        "can_redo": uncached("can_redo", bool, False, can_redo),
    }


def _background(*events: _Event) -> dict[str, Any]:
    as_event: Any = rx.event
    return {event.__name__: as_event(event, background=True) for event in events}
