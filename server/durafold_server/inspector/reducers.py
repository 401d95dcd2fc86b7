"""Reducers that the operator names (`--reducers`), found and made ready to fold."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from durafold.state.models import PLAIN, Model, UnresolvedModel, model_of
from durafold.state.reducer import DeclaredReducer, Step, action_step, actions_of, version_of


class UnknownReducer(Exception):
    """What `--reducers` names cannot be used; the message says why and what to write."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A reducer that streams can be folded with.

    Attributes:
        name: `module:name`, as the page shows it.
        version: as declared.
        step: the reducer, ready for a log.
        states: how its states travel as JSON.
        initial: the state before the first message, as the reducer's annotation suggests it.
    """

    name: str
    version: str
    step: Step[Any]
    states: Model
    initial: Any


def load_reducers(specs: Sequence[str]) -> Mapping[str, Registered]:
    """The reducers that a list of `module` and `module:name` stands for, by name.

    A bare module stands for all that are declared in it with `@reducer`. Modules are also looked for in the
    working directory, as `python -m` would.

    Raises:
        UnknownReducer: a module cannot be imported, has no such function, or no reducer at all.
    """
    found = {}
    for spec in specs:
        for name, function in _functions(spec):
            found[name] = _register(name, function)
    return found


def _functions(spec: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    module_name, _, name = spec.partition(":")
    module = _import(module_name)
    if not name:
        declared = {key: value for key, value in vars(module).items() if isinstance(value, DeclaredReducer)}
        if not declared:
            raise UnknownReducer(f"{spec} declares no reducer; name one: --reducers {spec}:function")
        yield from ((f"{module_name}:{key}", value) for key, value in declared.items())
        return
    function = getattr(module, name, None)
    if not callable(function):
        raise UnknownReducer(f"{module_name} has no function {name!r}")
    yield f"{module_name}:{name}", function


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as exc:
        raise UnknownReducer(f"the reducers of {name!r} cannot be imported: {exc}") from exc


def _register(name: str, function: Callable[..., Any]) -> Registered:
    try:
        actions = actions_of(function)
        state_type = _state_type(function)
        states = model_of(None, state_type) if state_type is not None else PLAIN
    except UnresolvedModel as exc:
        raise UnknownReducer(f"{name} cannot be used: {exc}") from exc
    return Registered(
        name, version_of(function), action_step(function, actions), states, _initial(state_type)
    )


def _state_type(function: Callable[..., Any]) -> Any:
    """What the reducer's first parameter is annotated with; None if nothing useful."""
    plain = function.function if isinstance(function, DeclaredReducer) else function
    try:
        first = next(iter(inspect.signature(plain).parameters))
        annotation = get_type_hints(plain, include_extras=True).get(first)
    except (NameError, StopIteration, TypeError, ValueError):
        return None
    return None if annotation in (Any, object) else annotation


def _initial(state_type: Any) -> Any:
    """The type's empty value: `Todos()`, `0`, `[]`. The page lets its user write another."""
    try:
        return state_type()
    except Exception:  # noqa: BLE001 - whatever a constructor does, null is the next best
        return None
