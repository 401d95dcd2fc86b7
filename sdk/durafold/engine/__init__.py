"""What runs behind a key: one engine per stream and process, and the handles that users hold of it.

- `definition`: what a key means
- `core`: the engine itself; `shown`, what users see of it, and `own`, what this process does to it
- `reader` and `writer`: its two halves towards the network; `keeper` keeps states
- `writes`, `dispatch`: own actions on their way, and what their senders hold
- `listeners`, `batching`: who is told of changes, and when
- `middleware`: what own actions pass before all that
- `undo`, `past`: taking own actions back, and looking back; `endings`: why something ended
- `readable`, `handles`: what users hold
"""

from __future__ import annotations

from durafold.engine.batching import batch, leave_batch
from durafold.engine.core import Engine
from durafold.engine.definition import Declaration, Definition, base_url, define, stream_url
from durafold.engine.dispatch import Dispatch
from durafold.engine.handles import Handle, ServerReducer, ServerState
from durafold.engine.keeper import snapshots_of
from durafold.engine.listeners import Listeners
from durafold.engine.middleware import DispatchContext, DispatchKind, Forward, Middleware, checked
from durafold.engine.options import EngineOptions, Notice, OnFault, Status, StreamReset, worst
from durafold.engine.readable import Reading, Source

__all__ = [
    "Declaration",
    "Definition",
    "Dispatch",
    "DispatchContext",
    "DispatchKind",
    "Engine",
    "EngineOptions",
    "Forward",
    "Handle",
    "Listeners",
    "Middleware",
    "Notice",
    "OnFault",
    "Reading",
    "ServerReducer",
    "ServerState",
    "Source",
    "Status",
    "StreamReset",
    "base_url",
    "batch",
    "checked",
    "define",
    "leave_batch",
    "snapshots_of",
    "stream_url",
    "worst",
]
