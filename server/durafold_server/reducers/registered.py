"""Reducers that the operator names (`--reducers`, `--bind`), found and made ready to fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from durafold.named import UNSAID, NamedReducer, UnknownReducer, imported, named_reducer, reducers_in
from durafold.state.models import PLAIN, Model, UnresolvedModel, model_of
from durafold.state.reducer import (
    Message,
    Step,
    action_step,
    actions_of,
    set_state_reducer,
    set_state_step,
    version_of,
)
from durafold.state.snapshot import fingerprint

__all__ = ["MAPPING", "Registered", "UnknownReducer", "load_reducers", "register", "register_for_streams"]

MAPPING: Final = "durafold_bindings"
"""Name of the mapping that a module of reducers may have: pattern → reducer or atom."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A reducer that streams can be folded with.

    Attributes:
        name: `module:name`, as the page shows it.
        version: as declared.
        step: the reducer, ready for a log.
        states: how its states travel as JSON.
        initial: the state before the first message, as the declaration or the reducer's annotation says it.
        fingerprint: of all this, as the SDK makes it.
    """

    name: str
    version: str
    step: Step[Any]
    states: Model
    initial: Any
    fingerprint: str


def load_reducers(specs: Sequence[str]) -> Mapping[str, Registered]:
    """The reducers that a list of `module` and `module:name` stands for, by name.

    A bare module stands for all that are declared in it with `@reducer`; a name may also be that of an atom.
    Modules are also looked for in the working directory, as `python -m` would.

    Raises:
        UnknownReducer: a module cannot be imported, has no such function, or neither reducers nor bindings.
    """
    return {named.name: register(named) for spec in specs for named in _named(spec)}


def _named(spec: str) -> Sequence[NamedReducer]:
    if ":" in spec:
        return [named_reducer(spec)]
    declared = reducers_in(spec)
    if not declared and not hasattr(imported(spec), MAPPING):
        raise UnknownReducer(f"{spec} declares no reducer; name one: --reducers {spec}:function")
    return declared


def register(named: NamedReducer) -> Registered:
    """A reducer made ready to fold; where nobody says what state to begin with, that is None.

    Raises:
        UnknownReducer: its types cannot be used.
    """
    initial = None if named.initial is UNSAID else named.initial
    try:
        states = model_of(initial, named.state_type)
        actions = PLAIN if named.reducer is set_state_reducer else actions_of(named.reducer, named.actions)
    except UnresolvedModel as exc:
        raise UnknownReducer(f"{named.name} cannot be used: {exc}") from exc
    is_value = named.reducer is set_state_reducer
    step = set_state_step(states) if is_value else action_step(named.reducer, actions)
    mark = fingerprint(named.reducer, actions, states, initial)
    return Registered(named.name, version_of(named.reducer), _contained(step), states, initial, mark)


def _contained(step: Step[Any]) -> Step[Any]:
    """The step, such that whatever the operator's code raises is an error of the message, and no more."""

    def contained(state: Any, message: Message) -> Any:
        try:
            return step(state, message)
        except Exception:
            raise
        except BaseException as exc:  # such as that of sys.exit(), which would end the server
            raise RuntimeError(f"the reducer raised {type(exc).__name__}") from exc

    return contained


def register_for_streams(named: NamedReducer) -> Registered:
    """A reducer that streams are bound to: unlike for looking at a state, its beginning must be known.

    Raises:
        UnknownReducer: its types cannot be used, or nobody says what state to begin with.
    """
    named.first_state()
    return register(named)
