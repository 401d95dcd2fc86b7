"""The stream client: one stream's operations, reading it live, and writing to it exactly once.

Layers, from the top: `stream`, `reader`, `producer`, `requests` (I/O, and hardly a decision); `read_state`,
`items`, `checkpoint`, `outbox`, `backoff`, `creation`, `replies`, `refusals` (decisions, and no I/O);
`transport` (all HTTP).
"""

from __future__ import annotations

from durafold.client.backoff import Backoff
from durafold.client.checkpoint import Checkpoint
from durafold.client.dynamic import Headers, Params, Token
from durafold.client.items import EventMode, StreamEvent
from durafold.client.producer import Delivery, IdempotentProducer
from durafold.client.read_state import LiveChoice, LiveMode, ReadStatus
from durafold.client.reader import Follower, Items
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
    "Checkpoint",
    "ClientSettings",
    "CloseResult",
    "Delivery",
    "DurableStream",
    "EventMode",
    "Follower",
    "Headers",
    "IdempotentProducer",
    "Items",
    "LiveChoice",
    "LiveMode",
    "Offset",
    "Page",
    "Params",
    "ReadStatus",
    "StreamEvent",
    "StreamInfo",
    "Token",
    "Transport",
]
