"""`DurableState`: the declarative form, for more vars and handlers beside the durable ones."""

from __future__ import annotations

from typing import Any, cast

import reflex as rx
from reflex_base.vars.base import BaseStateMeta  # from which Reflex lets others derive theirs

from durafold.errors import ConfigurationError
from durafold.reflex.atoms import members_of
from durafold.reflex.classes import Members
from durafold.reflex.members import with_set

__all__ = ["DurableState"]


class _Declaring(BaseStateMeta):
    """Makes of `class Todos(DurableState, store=...)` a subclass of `rx.State` with what the store has.

    It is the same class that `use_atom` makes, with more in it. `DurableState` itself is no ancestor of it:
    to Reflex it would be one state more in the tree.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **arguments: Any) -> Any:
        if not any(isinstance(base, _Declaring) for base in bases):
            return super().__new__(mcs, name, bases, namespace)  # `DurableState`
        members = _members(name, **arguments)
        _require_free(name, members, namespace)
        others = tuple(base for base in bases if not isinstance(base, _Declaring))
        return with_set(BaseStateMeta(name, others or (rx.State,), {**members, **namespace}))


class DurableState(metaclass=_Declaring):
    """A state class with the vars and events of something durable, and whatever else you give it.

        todos = reducer_atom("todos", todo_reducer, Todos())


        class Page(DurableState[Todos], store=todos):
            show_done: bool = True  # of one tab, and gone with it

            @rx.var(cache=False)
            def shown(self) -> list[Todo]:
                return [todo for todo in self.value.todos if self.show_done or not todo.done]

            @rx.event
            def shop(self):
                return [Page.dispatch({"type": "add", "text": text}) for text in ("milk", "bread")]

    What the class has of its own, such as `value` and `dispatch`, depends on the store: see `use_atom`. The
    type in brackets is for type checkers, and may be left out. Computed vars over `self.value` must not be
    cached, because Reflex does not know when it changes.

    To read the vars of another state class of yours, derive from it too: `class Page(DurableState, Auth,
    store=todos)`.

    Class arguments:
        store: what `atom`, `atom_family`, `reducer_atom`, `derived` or `select` gave.
        parameter: as for `use_atom`, and so are the others.
        state_type: as for `use_atom`.
        parameters: as for `use_server_state`.

    Raises:
        ConfigurationError: there is no store, the class itself defines what comes from the store, or as for
            `use_atom`.
    """

    def __class_getitem__(cls, state_type: Any) -> type[DurableState]:
        """For type checkers; nothing else when it runs."""
        return cls


def _members(
    name: str, *, store: Any = None, parameter: Any = None, state_type: Any = None, parameters: Any = None
) -> Members:
    if store is None:
        raise ConfigurationError(f"{name} has no store", hint=f"Write class {name}(DurableState, store=...)")
    return members_of(store, parameter, state_type, parameters)[0]


def _require_free(name: str, members: Members, namespace: dict[str, Any]) -> None:
    annotated = cast("dict[str, Any]", namespace.get("__annotations__", {}))
    own = sorted(members.keys() & (namespace.keys() | annotated.keys()))
    if own:
        raise ConfigurationError(
            f"{name} defines {', '.join(own)}, which its store brings", hint="Give yours other names"
        )
