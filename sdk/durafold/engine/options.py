"""What all engines of a provider have in common, and what they tell beside their state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from durafold.cache import StateCache
from durafold.client import LiveChoice
from durafold.engine.middleware import Middleware

__all__ = ["EngineOptions", "Notice", "OnFault", "Status", "StreamReset", "worst"]

Status = Literal["connecting", "live", "reconnecting", "degraded", "closed", "failed"]
"""How a stream is doing.

- `connecting`: its present content was never read; the value is the initial, cached or hydrated one
- `live`: read to the tail, and following
- `reconnecting`: the connection is lost and being restored; the value may be behind
- `degraded`: live, but some messages could not be folded: see `faults`
- `closed`: the stream takes no more actions, or its provider was closed
- `failed`: the server refuses to serve it; tried again from time to time
"""


_WORST_FIRST: Final[tuple[Status, ...]] = (
    "failed",
    "closed",
    "connecting",
    "reconnecting",
    "degraded",
    "live",
)


def worst(statuses: Iterable[Status]) -> Status:
    """The status of what is made of several streams; `live` if there are none."""
    seen = set(statuses)
    for status in _WORST_FIRST:
        if status in seen:
            return status
    return "live"


OnFault = Literal["skip", "halt"]
"""What to do at a message that cannot be folded: skip and record it, or stop before the page it came in."""


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream was deleted and made anew; its state began again, and what was pending is sent again.

    Attributes:
        key: the stream's name.
        revision: how many actions of the old stream were folded.
    """

    key: str
    revision: int


Notice: TypeAlias = StreamReset
"""What `on_notice` is given."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings of an engine.

    Attributes:
        new_client_id: gives an id that no other process or engine ever uses.
        create: create streams that do not exist.
        live: how to wait for new data.
        strict: check reducers and users for impurity.
        on_fault: what to do at a message that cannot be folded.
        by: who dispatches, put into every action.
        cache: where confirmed states are kept.
        cache_scope: whose states these are; None keeps the cache unused.
        on_error: is given errors that nobody awaits.
        on_notice: is given notices.
        clock: seconds since 1970.
        middleware: what every dispatch passes.
    """

    new_client_id: Callable[[], str]
    create: bool
    live: LiveChoice
    strict: bool
    on_fault: OnFault
    by: str | None
    cache: StateCache | None
    cache_scope: str | None
    on_error: Callable[[Exception], None]
    on_notice: Callable[[Notice], None]
    clock: Callable[[], float]
    middleware: tuple[Middleware, ...] = ()
