"""The same API for code without an event loop: plain methods, plain iterators, plain `with`.

    from durafold.blocking import DurableStream, Provider

    with DurableStream("http://127.0.0.1:4437/v1/stream/demo") as stream:
        stream.create()
        stream.append({"text": "hello"})
        for message in stream.follow().iter_json():
            print(message)

    with Provider("http://127.0.0.1:4437/v1/stream") as party:
        counter = party.server_state(0, "my-counter")
        counter.set(lambda n: n + 1).wait()

There is one implementation, the asynchronous one; what is here runs it in an event loop of its own, in one
background thread that the whole process shares. Objects may be used by several threads at a time, except that
an iterator belongs to one. Ctrl-C ends a call that waits, and what it waited for is cancelled.

All names of `durafold` are here, and take the same arguments. What is only declared (`atom`, `derived`,
`reducer`, `StreamSpec` ...) is the very same object, so one module of declarations serves asynchronous and
plain programs. Differences:

- `aclose` is `close`; for a `DurableStream`, whose `close` closes the stream itself, `disconnect`.
- `await x` is `x.wait()`, for a `Delivery` and a `Dispatch`, with `timeout_s` if you like.
- Functions for headers and parameters run in worker threads, so they may wait too.
- Callbacks of the stream client (`on_status`, `on_done`) run in the background thread and must return
  quickly; those of a `Provider` and its handles run in a thread of their own, and may take their time.
- A call that waits is refused where it would stop an event loop: in a coroutine, in a reducer. At the prompt
  of a notebook it is not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from durafold.blocking.callables import Token
from durafold.blocking.db import StreamDB
from durafold.blocking.portal import Portal, shared_portal
from durafold.blocking.producer import Delivery, IdempotentProducer
from durafold.blocking.reader import Follower, Items, Pages
from durafold.blocking.stream import DurableStream
from durafold.client import (
    NOW,
    START,
    AppendResult,
    Checkpoint,
    ClientSettings,
    CloseResult,
    Page,
    StreamEvent,
    StreamInfo,
    Transport,
)

if TYPE_CHECKING:
    from durafold import (
        ActionLost,
        ActionRejected,
        Atom,
        AtomFamily,
        ConfigurationError,
        ConflictError,
        Connection,
        Context,
        Derived,
        DispatchContext,
        DurafoldError,
        Entry,
        Fault,
        Forward,
        Get,
        History,
        HydrationBoundary,
        HydrationPayload,
        InvalidAction,
        LoadedState,
        MemoryStateCache,
        Middleware,
        ProviderClosed,
        Reducer,
        ReducerAtom,
        Reject,
        ServerRefused,
        SnapshotPolicy,
        SqliteStateCache,
        StateCache,
        Status,
        StreamClosed,
        StreamReset,
        StreamSpec,
        TransportError,
        UnknownAction,
        atom,
        atom_family,
        combine_reducers,
        derived,
        reducer,
        reducer_atom,
        replay,
        select,
        set_state_reducer,
        ssr_state_cache,
    )
    from durafold.blocking.dispatch import Dispatch
    from durafold.blocking.handles import Changes, DerivedValue, Presence, Reading, ServerReducer, ServerState
    from durafold.blocking.hooks import (
        batch,
        use_atom,
        use_connection,
        use_server_reducer,
        use_server_state,
        use_value,
    )
    from durafold.blocking.hydrate import load_stream_with_reducer, load_streams
    from durafold.blocking.provider import Provider, use_provider

__all__ = [
    "NOW",
    "START",
    "ActionLost",
    "ActionRejected",
    "AppendResult",
    "Atom",
    "AtomFamily",
    "Changes",
    "Checkpoint",
    "ClientSettings",
    "CloseResult",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "Context",
    "Delivery",
    "Derived",
    "DerivedValue",
    "Dispatch",
    "DispatchContext",
    "DurableStream",
    "DurafoldError",
    "Entry",
    "Fault",
    "Follower",
    "Forward",
    "Get",
    "History",
    "HydrationBoundary",
    "HydrationPayload",
    "IdempotentProducer",
    "InvalidAction",
    "Items",
    "LoadedState",
    "MemoryStateCache",
    "Middleware",
    "Page",
    "Pages",
    "Portal",
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
    "StreamDB",
    "StreamEvent",
    "StreamInfo",
    "StreamReset",
    "StreamSpec",
    "Token",
    "Transport",
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
    "shared_portal",
    "ssr_state_cache",
    "use_atom",
    "use_connection",
    "use_provider",
    "use_server_reducer",
    "use_server_state",
    "use_value",
]

# Imported when first used, like the names of `durafold`: a program that only appends pays for no state.
_HOMES: Final = {
    "durafold.blocking.dispatch": ("Dispatch",),
    "durafold.blocking.handles": (
        "Changes",
        "DerivedValue",
        "Presence",
        "Reading",
        "ServerReducer",
        "ServerState",
    ),
    "durafold.blocking.hooks": (
        "batch",
        "use_atom",
        "use_connection",
        "use_server_reducer",
        "use_server_state",
        "use_value",
    ),
    "durafold.blocking.hydrate": (
        "load_stream_with_reducer",
        "load_streams",
    ),
    "durafold.blocking.provider": (
        "Provider",
        "use_provider",
    ),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF.get(name, "durafold")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
