"""The vars and events of each kind of thing that can be declared: a value, a reducer's state, a computed one.

Changes are background events, since an ordinary handler keeps its tab's state locked, and the tab's own
update waiting, until the change is confirmed. Whatever a browser sends is validated before it is dispatched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import reflex as rx
from pydantic import TypeAdapter
from reflex.event import EventSpec

from durafold.engine import Handle, Reading, ServerReducer
from durafold.errors import DurafoldError
from durafold.reflex._internals import tab_of
from durafold.reflex.classes import (
    Change,
    Members,
    Place,
    background,
    outcome,
    status_of,
    uncached,
    validated,
)
from durafold.state.reducer import DeclaredReducer

__all__ = ["computed_members", "reducer_members", "value_members", "with_set"]

logger: Final = logging.getLogger("durafold.reflex")


def value_members(place: Place, initial: Any, var_type: Any) -> Members:
    """Of a shared value: `set_value`, and what its type can do without losing an update."""
    expected = TypeAdapter[Any](var_type)

    async def set_value(self: Any, value: Any) -> EventSpec | None:
        return await outcome(lambda: place.handle(self).set(validated(expected, value)))

    async def increment(self: Any, by: float = 1) -> EventSpec | None:
        return await outcome(lambda: place.handle(self).increment(by))

    async def toggle(self: Any) -> EventSpec | None:
        return await outcome(lambda: place.handle(self).toggle())

    members = _stream_vars(place, initial, var_type) | background(set_value)
    if var_type is bool:
        return members | background(toggle)
    return members | background(increment) if var_type in (int, float) else members


def reducer_members(
    place: Place, reducer: Callable[..., Any], initial: Any, var_type: Any, expected: TypeAdapter[Any]
) -> Members:
    """Of a reducer's state: `dispatch`, and with an inverse `undo` and `redo`."""

    def acting(state: rx.State, change: Callable[[ServerReducer[Any, Any]], Change]) -> Change:
        handle = place.handle(state)
        with handle.acting_for(tab_of(state)):
            return change(handle)

    async def dispatch(self: Any, action: dict[str, Any]) -> EventSpec | None:
        return await outcome(
            lambda: acting(self, lambda handle: handle.dispatch(validated(expected, action)))
        )

    async def undo(self: Any) -> EventSpec | None:
        return await outcome(lambda: acting(self, lambda handle: handle.undo()))

    async def redo(self: Any) -> EventSpec | None:
        return await outcome(lambda: acting(self, lambda handle: handle.redo()))

    members = _stream_vars(place, initial, var_type) | background(dispatch)
    if not isinstance(reducer, DeclaredReducer) or reducer.inverse is None:
        return members
    return members | _undo_vars(place) | background(undo) | background(redo)


def computed_members(place: Place, initial: Any, var_type: Any) -> Members:
    """Of a value that is computed from others: it can only be read."""

    def value(reading: Reading[Any]) -> Any:
        try:
            return reading.value
        except DurafoldError:
            return initial
        except Exception:
            # A var that raises would take the whole page with it.
            logger.exception("%s could not be computed", reading.key)
            return initial

    return {
        "value": place.var("value", var_type, initial, value),
        "status": place.var("status", str, "connecting", status_of),
    }


def with_set(shared: Any) -> Any:
    """Reflex keeps the name `set` for a method of its own, though only in class bodies."""
    if (set_value := shared.__dict__.get("set_value")) is not None:
        shared.set = set_value
    return shared


def _stream_vars(place: Place, initial: Any, var_type: Any) -> Members:
    """The vars of one stream. `confirmed` is for computed vars and not sent to browsers."""
    return {
        "value": place.var("value", var_type, initial, lambda handle: handle.value),
        "confirmed": place.var("confirmed", var_type, initial, lambda handle: handle.confirmed, backend=True),
        "status": place.var("status", str, "connecting", status_of),
        "pending": place.var("pending", int, 0, lambda handle: handle.pending),
    }


def _undo_vars(place: Place) -> Members:
    """Whether the tab that asks can undo or redo something."""

    def can(state: rx.State, read: Callable[[Handle[Any]], bool]) -> bool:
        tab, handle = tab_of(state), place.read(state)
        if handle is None or not tab:
            return False
        with handle.acting_for(tab):
            return read(handle)

    return {
        "can_undo": uncached(
            "can_undo", bool, False, lambda state: can(state, lambda handle: handle.can_undo)
        ),
        "can_redo": uncached(
            "can_redo", bool, False, lambda state: can(state, lambda handle: handle.can_redo)
        ),
    }
