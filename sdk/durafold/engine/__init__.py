"""What runs behind a key: one engine per stream and process, and the handles that users hold of it.

- `definition`: what a key means
- `core`: the engine itself; `reader` and `writer` are its two halves towards the network
- `writes`, `dispatch`, `listeners`: own actions on their way, what their senders hold, who is told
- `handles`: what users hold
"""

from __future__ import annotations

from durafold.engine.core import Engine
from durafold.engine.definition import Declaration, Definition, base_url, define, stream_url
from durafold.engine.dispatch import Dispatch
from durafold.engine.handles import Handle, ServerReducer, ServerState
from durafold.engine.options import EngineOptions, Notice, OnFault, Status, StreamReset

__all__ = [
    "Declaration",
    "Definition",
    "Dispatch",
    "Engine",
    "EngineOptions",
    "Handle",
    "Notice",
    "OnFault",
    "ServerReducer",
    "ServerState",
    "Status",
    "StreamReset",
    "base_url",
    "define",
    "stream_url",
]
