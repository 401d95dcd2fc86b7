"""Reducers that the operator names (`--reducers`), found and made ready to fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from durafold.named import UNSAID, NamedReducer, UnknownReducer, named_reducer, reducers_in
from durafold.state.models import Model, UnresolvedModel, model_of
from durafold.state.reducer import (
    Step,
    action_step,
    actions_of,
    set_state_reducer,
    set_state_step,
    version_of,
)

__all__ = ["Registered", "UnknownReducer", "load_reducers"]


@dataclass(frozen=True, slots=True)
class Registered:
    """A reducer that streams can be folded with.

    Attributes:
        name: `module:name`, as the page shows it.
        version: as declared.
        step: the reducer, ready for a log.
        states: how its states travel as JSON.
        initial: the state before the first message, as the declaration or the reducer's annotation says it.
    """

    name: str
    version: str
    step: Step[Any]
    states: Model
    initial: Any


def load_reducers(specs: Sequence[str]) -> Mapping[str, Registered]:
    """The reducers that a list of `module` and `module:name` stands for, by name.

    A bare module stands for all that are declared in it with `@reducer`; a name may also be that of an atom.
    Modules are also looked for in the working directory, as `python -m` would.

    Raises:
        UnknownReducer: a module cannot be imported, has no such function, or no reducer at all.
    """
    return {named.name: _register(named) for spec in specs for named in _named(spec)}


def _named(spec: str) -> Sequence[NamedReducer]:
    if ":" in spec:
        return [named_reducer(spec)]
    declared = reducers_in(spec)
    if not declared:
        raise UnknownReducer(f"{spec} declares no reducer; name one: --reducers {spec}:function")
    return declared


def _register(named: NamedReducer) -> Registered:
    initial = None if named.initial is UNSAID else named.initial
    try:
        states = model_of(initial, named.state_type)
        step = _step(named, states)
    except UnresolvedModel as exc:
        raise UnknownReducer(f"{named.name} cannot be used: {exc}") from exc
    return Registered(named.name, version_of(named.reducer), step, states, initial)


def _step(named: NamedReducer, states: Model) -> Step[Any]:
    if named.reducer is set_state_reducer:
        return set_state_step(states)
    return action_step(named.reducer, actions_of(named.reducer, named.actions))
