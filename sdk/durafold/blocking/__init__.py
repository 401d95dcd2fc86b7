"""The same API for code without an event loop: plain methods, plain iterators, plain `with`.

    from durafold.blocking import DurableStream

    with DurableStream("http://127.0.0.1:4437/v1/stream/demo") as stream:
        stream.create()
        stream.append({"text": "hello"})
        for message in stream.follow().iter_json():
            print(message)

There is one implementation, the asynchronous one; what is here runs it in an event loop of its own, in one
background thread that the whole process shares. Objects may be used by several threads at a time, except that
an iterator belongs to one. Ctrl-C ends a call that waits, and what it waited for is cancelled.

Names and arguments are those of `durafold.client`, with three differences: `aclose` is `close` (for a
`DurableStream`, whose `close` closes the stream itself, `disconnect`); `await delivery` is `delivery.wait()`;
and functions for headers and parameters run in worker threads, so they may wait too. Callbacks (`on_status`,
`on_done`) run in the background thread and must return quickly.
"""

from __future__ import annotations

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

__all__ = [
    "NOW",
    "START",
    "AppendResult",
    "Checkpoint",
    "ClientSettings",
    "CloseResult",
    "Delivery",
    "DurableStream",
    "Follower",
    "IdempotentProducer",
    "Items",
    "Page",
    "Pages",
    "Portal",
    "StreamDB",
    "StreamEvent",
    "StreamInfo",
    "Token",
    "Transport",
    "shared_portal",
]
