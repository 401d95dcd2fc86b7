"""The stream client: one stream's operations, reading it live, and writing to it exactly once.

Layers, from the top: `stream`, `reader`, `producer` (I/O, and hardly a decision); `read_state`, `outbox`,
`backoff`, `replies`, `refusals` (decisions, and no I/O); `transport` (all HTTP).
"""

from __future__ import annotations

from durafold.client.backoff import Backoff
from durafold.client.dynamic import Headers, Params
from durafold.client.producer import Delivery, IdempotentProducer
from durafold.client.read_state import LiveChoice, ReadStatus
from durafold.client.reader import Follower
from durafold.client.settings import ClientSettings
from durafold.client.stream import DurableStream
from durafold.client.transport import Transport
from durafold.client.values import AppendResult, CloseResult, Page, StreamInfo
from durafold.wire.offsets import NOW, START, Offset

__all__ = [
    "NOW",
    "START",
    "AppendResult",
    "Backoff",
    "ClientSettings",
    "CloseResult",
    "Delivery",
    "DurableStream",
    "Follower",
    "Headers",
    "IdempotentProducer",
    "LiveChoice",
    "Offset",
    "Page",
    "Params",
    "ReadStatus",
    "StreamInfo",
    "Transport",
]
