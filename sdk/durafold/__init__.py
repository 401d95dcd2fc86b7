"""React's shared-state hooks for Python: durable, optimistic, and the same for every client.

The names below are the public API. They are imported when first used, so that a program which needs only the
stream client, or only pure reducers, does not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from durafold.atoms import Atom, AtomFamily, ReducerAtom, atom, atom_family, reducer_atom
    from durafold.cache import MemoryStateCache, SqliteStateCache, StateCache, ssr_state_cache
    from durafold.client import Checkpoint, DurableStream, IdempotentProducer, Token
    from durafold.computed import Derived, Get, derived, select
    from durafold.engine import (
        Dispatch,
        DispatchContext,
        Forward,
        Middleware,
        Reading,
        ServerReducer,
        ServerState,
        Status,
        StreamReset,
        batch,
    )
    from durafold.errors import (
        ActionLost,
        ActionRejected,
        ConfigurationError,
        ConflictError,
        DurafoldError,
        InvalidAction,
        ProviderClosed,
        ServerRefused,
        StreamClosed,
        TransportError,
    )
    from durafold.hooks import (
        use_atom,
        use_connection,
        use_provider,
        use_server_reducer,
        use_server_state,
        use_value,
    )
    from durafold.hydrate import (
        HydrationBoundary,
        HydrationPayload,
        LoadedState,
        StreamSpec,
        load_stream_with_reducer,
        load_streams,
    )
    from durafold.presence import Presence
    from durafold.provider import Connection, Provider
    from durafold.snapshots import SnapshotPolicy
    from durafold.state.combine import combine_reducers
    from durafold.state.context import Context
    from durafold.state.history import Entry, History
    from durafold.state.outcomes import Reject, UnknownAction
    from durafold.state.reducer import Reducer, reducer, replay, set_state_reducer
    from durafold.state.replica import Fault

__all__ = [
    "ActionLost",
    "ActionRejected",
    "Atom",
    "AtomFamily",
    "Checkpoint",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "Context",
    "Derived",
    "Dispatch",
    "DispatchContext",
    "DurableStream",
    "DurafoldError",
    "Entry",
    "Fault",
    "Forward",
    "Get",
    "History",
    "HydrationBoundary",
    "HydrationPayload",
    "IdempotentProducer",
    "InvalidAction",
    "LoadedState",
    "MemoryStateCache",
    "Middleware",
    "Presence",
    "Provider",
    "ProviderClosed",
    "Reading",
    "Reducer",
    "ReducerAtom",
    "Reject",
    "ServerReducer",
    "ServerRefused",
    "ServerState",
    "SnapshotPolicy",
    "SqliteStateCache",
    "StateCache",
    "Status",
    "StreamClosed",
    "StreamReset",
    "StreamSpec",
    "Token",
    "TransportError",
    "UnknownAction",
    "atom",
    "atom_family",
    "batch",
    "combine_reducers",
    "derived",
    "load_stream_with_reducer",
    "load_streams",
    "reducer",
    "reducer_atom",
    "replay",
    "select",
    "set_state_reducer",
    "ssr_state_cache",
    "use_atom",
    "use_connection",
    "use_provider",
    "use_server_reducer",
    "use_server_state",
    "use_value",
]

_HOMES: Final = {
    "durafold.atoms": (
        "Atom",
        "AtomFamily",
        "ReducerAtom",
        "atom",
        "atom_family",
        "reducer_atom",
    ),
    "durafold.cache": (
        "MemoryStateCache",
        "SqliteStateCache",
        "StateCache",
        "ssr_state_cache",
    ),
    "durafold.client": (
        "Checkpoint",
        "DurableStream",
        "IdempotentProducer",
        "Token",
    ),
    "durafold.computed": (
        "Derived",
        "Get",
        "derived",
        "select",
    ),
    "durafold.engine": (
        "Dispatch",
        "DispatchContext",
        "Forward",
        "Middleware",
        "Reading",
        "ServerReducer",
        "ServerState",
        "Status",
        "StreamReset",
        "batch",
    ),
    "durafold.errors": (
        "ActionLost",
        "ActionRejected",
        "ConfigurationError",
        "ConflictError",
        "DurafoldError",
        "InvalidAction",
        "ProviderClosed",
        "ServerRefused",
        "StreamClosed",
        "TransportError",
    ),
    "durafold.hooks": (
        "use_atom",
        "use_connection",
        "use_provider",
        "use_server_reducer",
        "use_server_state",
        "use_value",
    ),
    "durafold.hydrate": (
        "HydrationBoundary",
        "HydrationPayload",
        "LoadedState",
        "StreamSpec",
        "load_stream_with_reducer",
        "load_streams",
    ),
    "durafold.presence": ("Presence",),
    "durafold.provider": (
        "Connection",
        "Provider",
    ),
    "durafold.snapshots": ("SnapshotPolicy",),
    "durafold.state.combine": ("combine_reducers",),
    "durafold.state.context": ("Context",),
    "durafold.state.history": (
        "Entry",
        "History",
    ),
    "durafold.state.outcomes": (
        "Reject",
        "UnknownAction",
    ),
    "durafold.state.reducer": (
        "Reducer",
        "reducer",
        "replay",
        "set_state_reducer",
    ),
    "durafold.state.replica": ("Fault",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
