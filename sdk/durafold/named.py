"""Reducers by name: from the text `module:name` to something that folds.

Command lines, settings files and other processes cannot hold a function, so they hold its name. A name stands
for a reducer, or for a declaration (`atom`, `reducer_atom`), which also tells the state before the first
message. The stream server folds with what is named here too, so this module stands on `durafold.state` alone.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, get_type_hints, runtime_checkable

from durafold.state.reducer import DeclaredReducer

__all__ = [
    "UNSAID",
    "NamedReducer",
    "UnknownReducer",
    "described",
    "imported",
    "named_reducer",
    "reducers_in",
]


class UnknownReducer(Exception):
    """A name stands for no reducer.

    Attributes:
        hint: what to do, or None.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Unsaid(Enum):
    """The type of `UNSAID`."""

    UNSAID = 0


UNSAID: Final = Unsaid.UNSAID
"""There is no telling what the state before the first message is. (None can be such a state.)"""


@dataclass(frozen=True, slots=True)
class NamedReducer:
    """What a name stands for.

    Attributes:
        name: `module:name`.
        reducer: the reducer, or `set_state_reducer` for a shared value.
        initial: state before the first message: the declaration's, else what the type of the state makes of
            no arguments, else `UNSAID`. Who cannot do without it takes it from `first_state`.
        actions: type of the actions, if it is not the annotation of the reducer's second parameter.
        state_type: type of the state; None if nothing says it.
    """

    name: str
    reducer: Callable[..., Any]
    initial: Any
    actions: Any = None
    state_type: Any = None

    def first_state(self) -> Any:
        """The state before the first message.

        Raises:
            UnknownReducer: the name does not tell it.
        """
        if self.initial is UNSAID:
            raise UnknownReducer(
                f"{self.name} tells no state before the first message",
                "Name an atom, or give the reducer's first parameter a type that can be made of no arguments",
            )
        return self.initial


@runtime_checkable
class _Declaration(Protocol):
    """What atoms have."""

    reducer: Any
    initial: Any
    actions: Any
    state_type: Any


def named_reducer(name: str) -> NamedReducer:
    """What `module:name` stands for; `name` may have dots. The working directory is looked into as well.

    Examples:
        >>> named_reducer("operator:add").reducer(1, 2)
        3

    Raises:
        UnknownReducer: there is no such module, its import fails, or the name in it is neither a function nor
            a declaration.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise UnknownReducer(f"{name!r} names no reducer", "Write module:name")
    found: Any = imported(module_name)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UnknownReducer(f"{module_name} has no {attribute!r}", _nearest(part, found)) from None
    return described(name, found)


def _nearest(name: str, owner: object) -> str | None:
    """What may have been meant by a name that an object does not have."""
    close = difflib.get_close_matches(name, vars(owner)) if hasattr(owner, "__dict__") else []
    return f"Did you mean {close[0]!r}?" if close else None


def reducers_in(module_name: str) -> list[NamedReducer]:
    """All that is declared in a module with `@reducer`, in order of declaration.

    Raises:
        UnknownReducer: there is no such module, or its import fails.
    """
    return [
        described(f"{module_name}:{name}", value)
        for name, value in vars(imported(module_name)).items()
        if isinstance(value, DeclaredReducer)
    ]


def imported(module_name: str) -> ModuleType:
    """A module; the working directory is looked into as well.

    Raises:
        UnknownReducer: there is none, or its import fails.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise UnknownReducer(
            f"There is no module {exc.name!r}", "Run the command where it can be imported, or install it"
        ) from exc
    except Exception as exc:
        raise UnknownReducer(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc


def described(name: str, found: object) -> NamedReducer:
    """What a reducer or a declaration stands for, under a name for people.

    Raises:
        UnknownReducer: it is neither.
    """
    if isinstance(found, _Declaration):
        return NamedReducer(name, found.reducer, found.initial, found.actions, found.state_type)
    if isinstance(found, type) or not callable(found):
        raise UnknownReducer(f"{name} is neither a function (state, action) -> state nor an atom")
    state_type = _state_type(found)
    return NamedReducer(name, found, _empty(state_type), state_type=state_type)


def _state_type(reducer: Callable[..., Any]) -> Any:
    """What the reducer's first parameter is annotated with; None if nothing useful."""
    function = reducer.function if isinstance(reducer, DeclaredReducer) else reducer
    try:
        first = next(iter(inspect.signature(function).parameters))
        annotation = get_type_hints(function, include_extras=True).get(first)
    except (NameError, StopIteration, TypeError, ValueError):
        return None
    return None if annotation in (Any, object) else annotation


def _empty(state_type: Any) -> Any:
    if state_type is None:
        return UNSAID
    try:
        return getattr(state_type, "__origin__", state_type)()
    except Exception:  # noqa: BLE001 - whatever a constructor does, it says nothing of the first state
        return UNSAID
