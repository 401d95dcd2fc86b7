"""What all `rx.State` classes of the adapter are made of: vars that read the hub, and events that answer.

The classes hold no data. Their vars read the hub's current state and are not cached: a cached var would first
show a returning tab the value it left with. Values a tab already has are not sent again, Reflex sees to that.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import reflex as rx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from reflex.event import EventSpec

from durafold.engine import Reading
from durafold.errors import DurafoldError, InvalidAction
from durafold.reflex._internals import route_parameters_of, tab_of
from durafold.reflex.hub import Hub
from durafold.wire.offsets import START

__all__ = [
    "HUB",
    "Change",
    "outcome",
    "shared_var",
    "state_class",
    "status_of",
    "toast",
    "uncached",
    "validated",
]

Change: TypeAlias = Awaitable[object] | None

HUB: Final = Hub()
"""What this process's app declares."""


def uncached(
    name: str, var_type: Any, initial: Any, getter: Callable[[Any], Any], *, backend: bool = False
) -> Any:
    """A computed var that Reflex evaluates whenever it looks for changes.

    Args:
        name: of the var.
        var_type: its type.
        initial: what pages are built with.
        getter: function of the state.
        backend: is not sent to browsers.
    """

    def read(self: rx.State) -> Any:
        return getter(self)

    read.__name__ = name
    read.__annotations__ = {"return": var_type}  # where Reflex looks for the type of the Var
    return rx.var(read, cache=False, initial_value=initial, backend=backend)


def shared_var(
    name: str,
    key: str,
    var_type: Any,
    initial: Any,
    read: Callable[[Any], Any],
    *,
    backend: bool = False,
) -> Any:
    """A var that reads something declared, and has the initial value while that is not there."""

    def getter(self: rx.State) -> Any:
        reading = HUB.read(key, tab_of(self), route_parameters_of(self))
        return initial if reading is None else read(reading)

    return uncached(name, var_type, initial, getter, backend=backend)


def status_of(reading: Reading[Any]) -> str:
    """To a person, an app that shows the state of its last run is one that lost its connection."""
    is_from_last_run = reading.status == "connecting" and reading.offset not in (None, START)
    return "reconnecting" if is_from_last_run else reading.status


def state_class(name: str | None, key: str, variables: Mapping[str, Any], events: Mapping[str, Any]) -> Any:
    """A new subclass of `rx.State` that says it comes from the module which called our caller.

    Reflex names states after their modules, and pickles them by reference where Redis keeps them.
    """
    frame = inspect.stack(context=0)[2].frame
    module = {"__module__": frame.f_globals["__name__"]}
    return types.new_class(
        name or "".join(word.capitalize() for word in re.split(r"[^0-9A-Za-z]+", key)),
        (rx.State,),
        exec_body=lambda body: body.update(variables, **events, **module),
    )


async def outcome(change: Callable[[], Change]) -> EventSpec | None:
    """Make a change and wait until it is confirmed; a toast for the tab if it was refused."""
    try:
        if (made := change()) is not None:  # None: there was nothing to undo
            await made
    except DurafoldError as error:
        return toast(error.message)
    return None


def toast(message: str) -> EventSpec:
    """Shows why something was refused."""
    shown: EventSpec = rx.toast.error(message)
    return shown


def validated(expected: TypeAdapter[Any], value: Any) -> Any:
    """What a browser sent, as a value of the type; read by JSON's rules, since JSON is what it was.

    Raises:
        InvalidAction: it is not of the type.
    """
    try:
        return expected.validate_json(to_json(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][1:])
        raise InvalidAction(f"{where}: {first['msg']}" if where else first["msg"]) from error
