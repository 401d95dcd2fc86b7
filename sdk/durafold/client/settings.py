"""Timeouts and limits of the client, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from durafold.client.backoff import Backoff

__all__ = ["DEFAULT_SETTINGS", "ClientSettings"]


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How patient the client is, and how much it will hold in memory.

    Attributes:
        connect_timeout_s: seconds that opening a connection may take.
        request_timeout_s: seconds without a byte of the answer, after which an ordinary request has failed.
        long_poll_timeout_s: the same for a long-poll, where the server may wait before it answers.
        first_event_timeout_s: seconds in which a new SSE connection must show its first event. A server sends
            one at once, so silence means that something in between holds the answer back.
        heartbeat_timeout_s: seconds without a byte, after which an SSE connection on which heartbeat comments
            were seen counts as dead.
        silence_timeout_s: the same on a connection without heartbeats (servers close those after about 60 s).
        stable_after_s: an SSE connection that ends before this age, having brought nothing, is a failed
            attempt and not an orderly end.
        quick_answer_s: a long-poll that comes back empty in less than this did not wait: a cache answered.
        sse_tries: fruitless SSE connections in a row, after which `live="auto"` changes to long-poll.
        max_attempts: attempts of a single operation (`create`, `head`, `read` ...) before its error is
            raised. Followers and producers never give up.
        backoff: waits between attempts.
        max_page_bytes: largest body of an answer that is taken, in bytes.
        max_event_bytes: largest unfinished SSE event, and largest sum of the data events that wait for their
            control event, in bytes.
    """

    connect_timeout_s: float = 10.0
    request_timeout_s: float = 30.0
    long_poll_timeout_s: float = 75.0
    first_event_timeout_s: float = 15.0
    heartbeat_timeout_s: float = 45.0
    silence_timeout_s: float = 75.0
    stable_after_s: float = 5.0
    quick_answer_s: float = 0.2
    sse_tries: int = 3
    max_attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    max_page_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int = 16 * 1024 * 1024


DEFAULT_SETTINGS: Final = ClientSettings()
