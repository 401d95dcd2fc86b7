"""Hooks: shared state in one line, with the provider taken from the context.

::

    async with Provider("http://127.0.0.1:4437/v1/stream"):
        count, set_count = use_server_state(0, "my-counter")
        await set_count(lambda c: c + 1)

As in React, the value is that of the moment of the call: call the hook again for a new one. Reading costs
nothing, so a hook may be called as often as a page is rendered; all calls for a key share one handle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from durafold.engine import Declaration, Dispatch, ServerReducer, ServerState
from durafold.provider import ambient_provider, use_provider
from durafold.state.reducer import Reducer, set_state_reducer

__all__ = ["DispatchAction", "SetState", "use_provider", "use_server_reducer", "use_server_state"]

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


def use_server_state(default: T, key: str, *, state_type: Any = None) -> tuple[T, SetState[T]]:
    """A shared value and the function that sets it, like `useState`.

    Args:
        default: as for `Provider.server_state`, and so are the others.
        key: as for `Provider.server_state`.
        state_type: as for `Provider.server_state`.

    Raises:
        ConfigurationError: there is no provider around the call, or as for `Provider.server_state`.
        ProviderClosed: the provider was closed.
    """
    provider = ambient_provider()
    handle = provider.hook_handles.get(key)
    if handle is None:
        handle = provider.hook_handles[key] = provider.server_state(default, key, state_type=state_type)
    handle.require_same(Declaration(key, set_state_reducer, default, state_type=state_type))
    shared = cast("ServerState[T]", handle)
    return shared.value, shared.set


def use_server_reducer(
    reducer: Reducer[S, A_contra],
    initial: S,
    key: str,
    *,
    actions: Any = None,
    state_type: Any = None,
) -> tuple[S, DispatchAction[S, A_contra]]:
    """Shared state and the function that dispatches actions, like `useReducer`.

    Args:
        reducer: as for `Provider.server_reducer`, and so are the others.
        initial: as for `Provider.server_reducer`.
        key: as for `Provider.server_reducer`.
        actions: as for `Provider.server_reducer`.
        state_type: as for `Provider.server_reducer`.

    Raises:
        ConfigurationError: there is no provider around the call, or as for `Provider.server_reducer`.
        ProviderClosed: the provider was closed.
    """
    provider = ambient_provider()
    handle = provider.hook_handles.get(key)
    if handle is None:
        handle = provider.hook_handles[key] = provider.server_reducer(
            reducer, initial, key, actions=actions, state_type=state_type
        )
    handle.require_same(Declaration(key, reducer, initial, actions, state_type))
    shared = cast("ServerReducer[S, A_contra]", handle)
    return shared.value, shared.dispatch
