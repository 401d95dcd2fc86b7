"""The faces of the hooks: shared state in one line, in plain Python.

with Provider("http://127.0.0.1:4437/v1/stream"):
    count, set_count = use_server_state(0, "my-counter")
    set_count(lambda c: c + 1).wait()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from durafold import engine, hooks
from durafold.atoms import Atom, ReducerAtom
from durafold.blocking.dispatch import Dispatch
from durafold.blocking.home import Home
from durafold.blocking.mirror import blocking_words
from durafold.blocking.provider import ambient_provider, use_provider
from durafold.engine import Reading
from durafold.provider import Openable
from durafold.state.reducer import Reducer

__all__ = [
    "DispatchAction",
    "SetState",
    "use_atom",
    "use_provider",
    "use_server_reducer",
    "use_server_state",
    "use_value",
]

S = TypeVar("S")
T = TypeVar("T")
A_contra = TypeVar("A_contra", contravariant=True)


class SetState(Protocol[T]):
    """Sets a shared value; see `ServerState.set`."""

    def __call__(self, value: T | Callable[[T], T], /) -> Dispatch[T]:
        """Replace the value, or compute the new one from the old one."""
        ...


class DispatchAction(Protocol[S, A_contra]):
    """Dispatches an action; see `ServerReducer.dispatch`."""

    def __call__(self, action: A_contra, /) -> Dispatch[S]:
        """Show an action at once, and send it."""
        ...


class _Change(Generic[S]):
    """What a hook gives to change the value with."""

    def __init__(self, change: Callable[[Any], engine.Dispatch[S]], home: Home) -> None:
        self._change = change
        self._home = home

    def __call__(self, argument: Any, /) -> Dispatch[S]:
        portal = self._home.portal
        return Dispatch(portal.call(lambda: self._change(argument)), portal)


def use_server_state(default: T, key: str, *, state_type: Any = None) -> tuple[T, SetState[T]]:
    return _used(lambda: hooks.use_server_state(default, key, state_type=state_type))


def use_server_reducer(
    reducer: Reducer[S, A_contra],
    initial: S,
    key: str,
    *,
    actions: Any = None,
    state_type: Any = None,
) -> tuple[S, DispatchAction[S, A_contra]]:
    return _used(
        lambda: hooks.use_server_reducer(reducer, initial, key, actions=actions, state_type=state_type)
    )


@overload
def use_atom(declared: Atom[T]) -> tuple[T, SetState[T]]: ...
@overload
def use_atom(declared: ReducerAtom[S, A_contra]) -> tuple[S, DispatchAction[S, A_contra]]: ...
def use_atom(declared: Any) -> Any:
    return _used(lambda: hooks.use_atom(declared))


def use_value(declared: Openable[Reading[T]]) -> T:
    value, _ = ambient_provider().in_loop(lambda: hooks.use_value(declared))
    return value


def _used(hook: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    (value, change), home = ambient_provider().in_loop(hook)
    return value, _Change(cast("Callable[[Any], engine.Dispatch[Any]]", change), home)


for face in (use_server_state, use_server_reducer, use_atom, use_value):
    face.__doc__ = blocking_words(getattr(hooks, face.__name__).__doc__)
