"""The faces of the hooks: shared state in one line, in plain Python.

with Provider("http://127.0.0.1:4437/v1/stream"):
    count, set_count = use_server_state(0, "my-counter")
    set_count(lambda c: c + 1).wait()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from durafold import engine, hooks
from durafold.atoms import Atom, ReducerAtom
from durafold.blocking.dispatch import Dispatch
from durafold.blocking.home import Home
from durafold.blocking.mirror import blocking_words
from durafold.blocking.portal import shared_portal
from durafold.blocking.provider import ambient_provider, use_provider
from durafold.engine import Middleware, Reading
from durafold.engine.batching import gathered
from durafold.provider import Connection, Openable
from durafold.state.reducer import Reducer

__all__ = [
    "DispatchAction",
    "SetState",
    "batch",
    "use_atom",
    "use_connection",
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


def use_server_state(
    default: T, key: str, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
) -> tuple[T, SetState[T]]:
    hook = partial(hooks.use_server_state, state_type=state_type, middleware=middleware)
    return _used(lambda: hook(default, key))


def use_server_reducer(
    reducer: Reducer[S, A_contra],
    initial: S,
    key: str,
    *,
    actions: Any = None,
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> tuple[S, DispatchAction[S, A_contra]]:
    hook = partial(hooks.use_server_reducer, actions=actions, state_type=state_type, middleware=middleware)
    return _used(lambda: hook(reducer, initial, key))


@overload
def use_atom(declared: Atom[T]) -> tuple[T, SetState[T]]: ...
@overload
def use_atom(declared: ReducerAtom[S, A_contra]) -> tuple[S, DispatchAction[S, A_contra]]: ...
def use_atom(declared: Any) -> Any:
    return _used(lambda: hooks.use_atom(declared))


def use_value(declared: Openable[Reading[T]]) -> T:
    value, _ = ambient_provider().in_loop(lambda: hooks.use_value(declared))
    return value


def use_connection() -> Connection:
    connection, _ = ambient_provider().in_loop(hooks.use_connection)
    return connection


@contextmanager
def batch() -> Iterator[None]:
    """Several changes in a block, of one or of many values, of which everybody is told once.

    In the block every change is in its `value` at once, as always. Behind it, listeners of each value that
    has changed are told once, and derived values are computed once, from all changes together; what comes
    from elsewhere meanwhile, on the same values, waits too. It holds for the thread that enters it. What is
    dispatched is sent as it comes, unlike in asynchronous code, where a block goes out in one append.

    It is no transaction. If the block raises, what it had dispatched until then stays dispatched, everybody
    is told of it, and the exception goes on. Blocks may be nested; the outermost counts.
    """
    with gathered(shared_portal().call):
        yield


def _used(hook: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    (value, change), home = ambient_provider().in_loop(hook)
    return value, _Change(cast("Callable[[Any], engine.Dispatch[Any]]", change), home)


for face in (use_server_state, use_server_reducer, use_atom, use_value, use_connection):
    face.__doc__ = blocking_words(getattr(hooks, face.__name__).__doc__)
