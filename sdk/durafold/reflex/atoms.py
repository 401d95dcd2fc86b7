"""`use_atom` for Reflex: what was declared as an atom or a computed value, as an `rx.State` class.

The declarations are those of `durafold`, so the same module serves a page, a script and a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_type_hints, overload
from urllib.parse import unquote

import reflex as rx
from pydantic import TypeAdapter

from durafold.atoms import Atom, AtomFamily, ReducerAtom
from durafold.computed import Derived
from durafold.errors import ConfigurationError
from durafold.reflex.classes import FilledByApp, Members, place_of, state_class
from durafold.reflex.members import computed_members, reducer_members, value_members, with_set
from durafold.reflex.specs import DerivedSpec, FamilySpec
from durafold.reflex.states import reducer_spec, type_of, value_spec
from durafold.state.models import UnresolvedModel, model_of
from durafold.state.reducer import actions_of

if TYPE_CHECKING:
    from durafold.reflex._types import (  # pyright: ignore[reportMissingModuleSource] - types only
        DerivedClass,
        ServerReducerClass,
        ServerStateClass,
    )

__all__ = ["Store", "members_of", "use_atom"]

S = TypeVar("S")
T = TypeVar("T")

Store: TypeAlias = Atom[Any] | ReducerAtom[Any, Any] | AtomFamily[Any, Any] | Derived[Any]
"""What can be shown in a page."""


@overload
def use_atom(
    declared: Atom[T], *, name: str | None = None, base: type[rx.State] | None = None
) -> type[ServerStateClass[T]]: ...
@overload
def use_atom(
    declared: AtomFamily[str, T] | AtomFamily[str | int, T],
    *,
    parameter: str,
    name: str | None = None,
    parameters: FilledByApp | None = None,
    base: type[rx.State] | None = None,
) -> type[ServerStateClass[T]]: ...
@overload
def use_atom(
    declared: ReducerAtom[S, Any], *, name: str | None = None, base: type[rx.State] | None = None
) -> type[ServerReducerClass[S]]: ...
@overload
def use_atom(
    declared: Derived[T],
    *,
    name: str | None = None,
    state_type: Any = None,
    base: type[rx.State] | None = None,
) -> type[DerivedClass[T]]: ...
def use_atom(
    declared: Any,
    *,
    parameter: str | None = None,
    name: str | None = None,
    state_type: Any = None,
    parameters: FilledByApp | None = None,
    base: type[rx.State] | None = None,
) -> Any:
    """The class of something declared with `atom`, `atom_family`, `reducer_atom`, `derived` or `select`.

    Call it at module level; nothing is opened until the app runs.

        cart = reducer_atom("cart", cart_reducer, Cart())
        title = atom_family("todos/{}/title", "untitled")

        @derived
        def total(get: Get) -> int:
            return sum(line.price for line in get(cart).lines)

        CartState = use_atom(cart, name="CartState")  # as `use_server_reducer` makes it
        Title = use_atom(title, parameter="todo")  # as `use_server_state` does; for the route /todos/[todo]
        Total = use_atom(total)  # can be read: `Total.value`, `Total.status`

    A computed value that raises shows its initial value; the exception is logged.

    Args:
        declared: what `atom` or one of the others gave.
        parameter: of an atom family: the name of the part of the page's route, or of its query, that says
            which atom is meant. The family gets it as a string.
        name: name of the class, unique in its module and the same at every start; made of the key, or of the
            name of the computing function, by default.
        state_type: of a computed value: its type, if its function does not say so with an annotation.
        parameters: as for `use_server_state`.
        base: as for `use_server_state`.

    Raises:
        ConfigurationError: the key was declared with another meaning, the app runs already, a type cannot be
            used or is not known, or nothing says which actions a browser may send.
    """
    members, key = members_of(declared, parameter, state_type, parameters)
    if name is None and isinstance(declared, Derived) and not key.isidentifier():
        raise ConfigurationError(f"{declared} needs a name for its class", hint='Pass name="..."')
    return with_set(state_class(name, key, members, base))


def members_of(
    declared: Any, parameter: str | None, state_type: Any, parameters: FilledByApp | None
) -> tuple[Members, str]:
    """The vars and events of something declared, and what to name a class of them after.

    Raises:
        ConfigurationError: see `use_atom`.
    """
    if isinstance(declared, Atom):
        return _of_atom(declared, parameters), declared.key
    if isinstance(declared, ReducerAtom):
        return _of_reducer_atom(declared, parameters), declared.key
    if isinstance(declared, AtomFamily):
        return _of_family(declared, parameter, parameters)
    if isinstance(declared, Derived):
        return _of_derived(declared, state_type), declared.name
    raise ConfigurationError(
        f"{declared!r} cannot be shown",
        hint="Pass what atom, atom_family, reducer_atom, derived or select gave",
    )


def _of_atom(declared: Atom[Any], parameters: FilledByApp | None) -> Members:
    var_type = type_of(declared.default, declared.state_type, declared.key)
    place = place_of(value_spec(declared.default, declared.key, declared.state_type), parameters)
    return value_members(place, declared.default, var_type)


def _of_reducer_atom(declared: ReducerAtom[Any, Any], parameters: FilledByApp | None) -> Members:
    initial, state_type = declared.initial, declared.state_type
    expected = _actions(declared)
    spec = reducer_spec(declared.reducer, initial, declared.key, declared.actions, state_type)
    return reducer_members(
        place_of(spec, parameters),
        declared.reducer,
        initial,
        type_of(initial, state_type, declared.key),
        expected,
    )


def _actions(declared: ReducerAtom[Any, Any]) -> TypeAdapter[Any]:
    """What a browser may send.

    Raises:
        ConfigurationError: nothing says so.
    """
    try:
        adapter = actions_of(declared.reducer, declared.actions).adapter
    except UnresolvedModel as error:
        raise ConfigurationError(f"The actions of {declared.key!r} cannot be used: {error}") from error
    if adapter is None:
        raise ConfigurationError(
            f"Nothing says which actions of {declared.key!r} a browser may send",
            hint="Annotate the reducer's second parameter, or pass actions= to reducer_atom",
        )
    return adapter


def _of_family(
    family: AtomFamily[Any, Any], parameter: str | None, parameters: FilledByApp | None
) -> tuple[Members, str]:
    if parameter is None:
        raise ConfigurationError(
            "Which atom of the family is meant?",
            hint='Pass the name of the route\'s part that says so: parameter="room" for /rooms/[room]',
        )
    sample = family(f"[{parameter}]")
    spec = FamilySpec(
        f"{sample.key} of {parameter}",
        lambda party, _, values: party.open(family(values[parameter])),
        ("family", family),
        sample.default,
        model_of(sample.default, sample.state_type),
        family,
        parameter,
    )
    var_type = type_of(sample.default, sample.state_type, sample.key)
    return value_members(place_of(spec, parameters), sample.default, var_type), unquote(sample.key)


def _of_derived(declared: Derived[Any], state_type: Any) -> Members:
    initial = initial_of(declared)
    var_type = state_type or _annotated(declared.function) or type(initial)
    if var_type is type(None):
        raise ConfigurationError(f"The type of {declared} is not known", hint="Pass state_type")
    # The id is unique as long as the declaration is, which is as long as it is declared here.
    spec = DerivedSpec(
        f"{declared.name} {id(declared)}", lambda party, *_: party.open(declared), ("derived", declared)
    )
    return computed_members(place_of(spec, None), initial, var_type)


def _annotated(function: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(function).get("return")
    except NameError:  # written for type checkers only
        return None


def initial_of(declared: Any) -> Any:
    """The value of something declared before anything has happened: what pages are built with."""
    if not isinstance(declared, Derived):
        return declared.initial
    if declared.is_async:
        return declared.initial
    try:
        return declared.function(initial_of)
    except Exception:  # noqa: BLE001 - it may need what is not there yet
        return declared.initial
