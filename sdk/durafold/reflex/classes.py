"""What all `rx.State` classes of the adapter are made of: vars that read the hub, and events that answer.

The classes hold no data. Their vars read the hub's current state and are not cached: a cached var would first
show a returning tab the value it left with. Values a tab already has are not sent again, Reflex sees to that.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import reflex as rx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from reflex.event import EventSpec

from durafold.engine import Reading
from durafold.errors import DurafoldError, InvalidAction
from durafold.reflex._internals import route_parameters_of, tab_of
from durafold.reflex.hub import Hub
from durafold.reflex.specs import Parameters, Spec
from durafold.wire.offsets import START

__all__ = [
    "HUB",
    "Change",
    "FilledByApp",
    "Members",
    "Place",
    "background",
    "event",
    "outcome",
    "place_of",
    "state_class",
    "status_of",
    "toast",
    "uncached",
    "validated",
]

Change: TypeAlias = Awaitable[object] | None

FilledByApp: TypeAlias = Mapping[str, Callable[[Any], str | None]]
"""Parameters of a key that the app fills in and no browser: functions of the state that asks."""

Members: TypeAlias = dict[str, Any]
"""Vars and events of a class, by name."""

_NONE: Final[Parameters] = {}

HUB: Final = Hub()
"""What this process's app declares."""


@dataclass(frozen=True)
class Place:
    """Where the vars and events of a class find what was declared.

    Attributes:
        key: as it was declared.
        filled: parameters of the key that no browser has a say in.
        has_parameters: whether the key has any.
    """

    key: str
    filled: FilledByApp
    has_parameters: bool

    def parameters(self, state: rx.State) -> Parameters:
        """What the page of a tab says, and above that, what the app says."""
        if not self.has_parameters:
            return _NONE
        said_by_app = {name: fill(state) for name, fill in self.filled.items()}
        return {**route_parameters_of(state), **said_by_app}

    def read(self, state: rx.State) -> Any:
        """What there is to read, if the app runs and the tab looks at one; its changes refresh the tab."""
        return HUB.read(self.key, tab_of(state), self.parameters(state))

    def handle(self, state: rx.State) -> Any:
        """What there is to change.

        Raises:
            ConfigurationError: the app does not run, or it is not known which one is meant.
        """
        return HUB.handle(self.key, self.parameters(state))

    def var(
        self, name: str, var_type: Any, initial: Any, read: Callable[[Any], Any], *, backend: bool = False
    ) -> Any:
        """A var that reads it, and has the initial value while it is not there."""

        def getter(state: rx.State) -> Any:
            reading = self.read(state)
            return initial if reading is None else read(reading)

        return uncached(name, var_type, initial, getter, backend=backend)


def place_of(spec: Spec, parameters: FilledByApp | None) -> Place:
    """Declare something, and say where it is from now on.

    Raises:
        ConfigurationError: the key was declared with another meaning, or the app runs already.
    """
    HUB.declare(spec)
    return Place(spec.key, dict(parameters or {}), bool(spec.parameters))


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


def event(function: Callable[..., Any]) -> Members:
    """An event, which holds its tab's state while it runs."""
    as_event: Any = rx.event
    return {function.__name__: as_event(function)}


def background(function: Callable[..., Awaitable[Any]]) -> Members:
    """An event that does not hold its tab's state, which would keep the tab's own update waiting."""
    as_event: Any = rx.event
    return {function.__name__: as_event(function, background=True)}


def status_of(reading: Reading[Any]) -> str:
    """To a person, an app that shows the state of its last run is one that lost its connection."""
    is_from_last_run = reading.status == "connecting" and reading.offset not in (None, START)
    return "reconnecting" if is_from_last_run else reading.status


def state_class(name: str | None, key: str, members: Members, base: type[rx.State] | None = None) -> Any:
    """A new subclass of `rx.State`, or of `base`, that says it comes from the module which asked for it.

    Reflex names states after their modules, and pickles them by reference where Redis keeps them.
    """
    named = {"__module__": _asking_module()}
    return types.new_class(
        name or "".join(word.capitalize() for word in re.split(r"[^0-9A-Za-z]+", key)),
        (base or rx.State,),
        exec_body=lambda body: body.update(members, **named),
    )


def _asking_module() -> str:
    frame = sys._getframe()
    while frame.f_back and frame.f_globals["__name__"].startswith("durafold.reflex."):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


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
