"""Hooks: shared state in one line, with the provider taken from the context.

    async with Provider("http://127.0.0.1:4437/v1/stream"):
        count, set_count = use_server_state(0, "my-counter")
        await set_count(lambda c: c + 1)

As in React, the value is that of the moment of the call: call the hook again for a new one. Reading costs
nothing, so a hook may be called as often as a page is rendered; all calls for a key share one handle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast, overload
from weakref import finalize

from durafold.atoms import Atom, ReducerAtom
from durafold.computed import Derived
from durafold.engine import Declaration, Dispatch, Middleware, Reading, ServerReducer, ServerState
from durafold.provider import Connection, Openable, Provider, ambient_provider, use_provider
from durafold.state.reducer import Reducer, set_state_reducer

__all__ = [
    "DispatchAction",
    "SetState",
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


def use_server_state(
    default: T, key: str, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
) -> tuple[T, SetState[T]]:
    """A shared value and the function that sets it, like `useState`.

    Args:
        default: as for `Provider.server_state`, and so are the others.
        key: as for `Provider.server_state`.
        state_type: as for `Provider.server_state`.
        middleware: as for `Provider.server_state`; the same list, or equal ones, at every call.

    Raises:
        ConfigurationError: there is no provider around the call, or as for `Provider.server_state`.
        ProviderClosed: the provider was closed.

    Examples:
        >>> count, set_count = use_server_state(0, "hook/counter")
        >>> count
        0
        >>> await set_count(lambda n: n + 1)
        1
        >>> use_server_state(0, "hook/counter")[0]
        1
    """
    provider = ambient_provider()
    handle = provider.hook_handles.get(key)
    if handle is None:
        handle = provider.hook_handles[key] = provider.server_state(
            default, key, state_type=state_type, middleware=middleware
        )
    handle.require_same(
        Declaration(key, set_state_reducer, default, state_type=state_type, middleware=tuple(middleware))
    )
    shared = cast("ServerState[T]", handle)
    return shared.value, shared.set


def use_server_reducer(
    reducer: Reducer[S, A_contra],
    initial: S,
    key: str,
    *,
    actions: Any = None,
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> tuple[S, DispatchAction[S, A_contra]]:
    """Shared state and the function that dispatches actions, like `useReducer`.

    Args:
        reducer: as for `Provider.server_reducer`, and so are the others.
        initial: as for `Provider.server_reducer`.
        key: as for `Provider.server_reducer`.
        actions: as for `Provider.server_reducer`.
        state_type: as for `Provider.server_reducer`.
        middleware: as for `Provider.server_reducer`; the same list, or equal ones, at every call.

    Raises:
        ConfigurationError: there is no provider around the call, or as for `Provider.server_reducer`.
        ProviderClosed: the provider was closed.

    Examples:
        >>> def shopping(items: list[str], action: str) -> list[str]:
        ...     return [*items, action]
        >>> initial: list[str] = []
        >>> items, dispatch = use_server_reducer(shopping, initial, "hook/shopping")
        >>> await dispatch("milk")
        ['milk']
    """
    provider = ambient_provider()
    handle = provider.hook_handles.get(key)
    if handle is None:
        handle = provider.hook_handles[key] = provider.server_reducer(
            reducer, initial, key, actions=actions, state_type=state_type, middleware=middleware
        )
    handle.require_same(Declaration(key, reducer, initial, actions, state_type, middleware=tuple(middleware)))
    shared = cast("ServerReducer[S, A_contra]", handle)
    return shared.value, shared.dispatch


@overload
def use_atom(declared: Atom[T]) -> tuple[T, SetState[T]]: ...
@overload
def use_atom(declared: ReducerAtom[S, A_contra]) -> tuple[S, DispatchAction[S, A_contra]]: ...
def use_atom(declared: Any) -> Any:
    """The value of an atom, and the function that sets it (of a reducer atom: that dispatches actions).

    The first call opens the atom; it stays open until the provider closes. Members of a family, of which
    there may be any number, are closed when `MAX_IDLE_MEMBERS` others were used since.

    Args:
        declared: what `atom`, a family, or `reducer_atom` gave.

    Raises:
        ConfigurationError: there is no provider around the call, or the key is in use with another meaning.
        ProviderClosed: the provider was closed.

    Examples:
        >>> theme = atom("hook/theme", "light")
        >>> value, set_value = use_atom(theme)
        >>> await set_value("dark")
        'dark'
    """
    if isinstance(declared, ReducerAtom):
        return use_server_reducer(
            declared.reducer,
            declared.initial,
            declared.key,
            actions=declared.actions,
            state_type=declared.state_type,
            middleware=declared.middleware,
        )
    if isinstance(declared, Atom) and declared.is_member:
        _use_member(ambient_provider(), declared.key)
    return use_server_state(
        declared.default, declared.key, state_type=declared.state_type, middleware=declared.middleware
    )


def use_value(declared: Openable[Reading[T]]) -> T:
    """The value of anything declared: an atom, a derived value, a selection.

    A derived value is kept up to date as long as its declaration exists, so declare it once, beside its
    atoms, and not in the function that is called again and again.

    Args:
        declared: what `atom`, `reducer_atom`, `derived` or `select` gave.

    Raises:
        ConfigurationError: there is no provider around the call.
        ProviderClosed: the provider was closed.
        Exception: whatever computing the value raised.

    Examples:
        >>> settings = atom("hook/settings", {"dark": False})
        >>> is_dark = select(settings, lambda value: value["dark"])
        >>> use_value(is_dark)
        False
    """
    if isinstance(declared, Derived):
        reading = _hook_reading(ambient_provider(), declared)
        return cast("T", reading.value)
    return cast("T", use_atom(cast("Any", declared))[0])


def use_connection() -> Connection:
    """How the streams in use are doing; see `Provider.connection`.

    Raises:
        ConfigurationError: there is no provider around the call.

    Example:
        >>> use_connection().status
        'live'
    """
    return ambient_provider().connection.value


MAX_IDLE_MEMBERS: Final = 256
"""How many members of atom families the hooks of a provider keep open."""


def _use_member(provider: Provider, key: str) -> None:
    """Note the use of a family's member, and close the one that was not used for the longest time."""
    members = provider.hook_members
    members.pop(key, None)
    members[key] = None
    while len(members) > MAX_IDLE_MEMBERS:
        oldest = next(iter(members))
        del members[oldest]
        handle = provider.hook_handles.pop(oldest, None)
        if handle is not None:
            handle.close()


def _hook_reading(provider: Provider, declared: Derived[T]) -> Reading[T]:
    """The hooks' own use of a derived value; ends when its declaration is gone."""
    while provider.hook_orphans:
        provider.hook_orphans.popleft().close()
    reading = provider.hook_readings.get(declared)
    if reading is None:
        reading = provider.hook_readings[declared] = provider.open(declared)
        _HookUse(provider, declared, reading)
    return cast("Reading[T]", reading)


class _HookUse:
    """The hooks' use of a derived value. It is over when its declaration is gone, or the provider closes."""

    def __init__(self, provider: Provider, declared: Derived[Any], reading: Reading[Any]) -> None:
        self._provider = provider
        self._reading = reading
        # Not closed there: a finalizer may run in any thread, at any time.
        self._finalizer = finalize(declared, provider.hook_orphans.append, self)
        self._finalizer.atexit = False
        provider.attach(self)

    def close(self) -> None:
        """The declaration is gone."""
        self._reading.close()
        self._provider.detach(self)

    def stop(self) -> None:
        """The provider closes, and the declaration, which may exist for ever, must not keep it alive."""
        self._finalizer.detach()
