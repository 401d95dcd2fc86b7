"""Whether a tab's streams are reached, for people. Rules only: no I/O, and time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from durafold.engine import Reading

__all__ = ["CONNECTING", "OFFLINE_AFTER_S", "Connection", "ConnectionStatus", "connection_of", "is_lost"]

ConnectionStatus: TypeAlias = Literal["connecting", "live", "reconnecting", "offline"]

OFFLINE_AFTER_S: Final = 5.0
"""How long a connection may be lost before that is worth a banner. Most are back before anybody has read."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How a tab stands with the streams that it looks at.

    Attributes:
        status: `live` if all are followed; `connecting` before they ever were; `reconnecting` when one was
            lost a moment ago; `offline` when it has been so for some seconds, or the server refuses it.
        reason: why it is offline, in words for people; otherwise empty.
        pending: how many changes are not confirmed yet.
    """

    status: ConnectionStatus
    reason: str = ""
    pending: int = 0


CONNECTING: Final = Connection("connecting")


def is_lost(stream: Reading[Any]) -> bool:
    """Whether a stream is not followed, though it may be again by itself."""
    return stream.status in ("connecting", "reconnecting")


def connection_of(streams: Iterable[Reading[Any]], *, lost_for_s: float, pending: int) -> Connection:
    """What the streams of a tab come to.

    Args:
        streams: those that it looks at.
        lost_for_s: how long the one that was lost first has been.
        pending: how many changes are not confirmed yet.
    """
    streams = list(streams)
    for stream in streams:
        if stream.status in ("failed", "closed"):
            return Connection("offline", _why(stream), pending)
    lost = [stream for stream in streams if is_lost(stream)]
    if not lost:
        return Connection("live", pending=pending)
    if lost_for_s >= OFFLINE_AFTER_S:
        return Connection("offline", "The stream server does not answer", pending)
    was_live = any(stream.status == "reconnecting" for stream in lost)
    return Connection("reconnecting" if was_live else "connecting", pending=pending)


def _why(stream: Reading[Any]) -> str:
    if stream.error is None:
        return "The stream was closed"
    message: str = getattr(stream.error, "message", "")
    return message or str(stream.error)
