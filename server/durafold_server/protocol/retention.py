"""How much of a stream is kept (an extension of ours): parsing, inheritance by forks, and where to cut.

PROTOCOL §4 lets servers drop old data; §5.6 says what readers of it get, 410. A stream is cut only where an
append ended, so pages stay whole, and never deeper than its limits ask for. What a fork inherited stays in
storage for it, wherever its source begins by now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from durafold.wire import names
from durafold_server.protocol.errors import InvalidRequest
from durafold_server.protocol.lifetimes import US_PER_S
from durafold_server.protocol.model import (
    Decide,
    Decision,
    Extent,
    Loaded,
    Retention,
    SaveStream,
    StreamState,
)

# As Stream-TTL (PROTOCOL §5.1). Ten digits of seconds are 300 years, fifteen of bytes a petabyte.
_AGE: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_BYTES: Final = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)


class Cut(NamedTuple):
    """Where a stream may begin.

    Attributes:
        position: the earliest position to keep.
        due_us: when what follows it grows too old, if it does.
        final: what comes later need not be looked at.
    """

    position: int
    due_us: int | None
    final: bool


def parse_retention(size: str | None, age: str | None) -> Retention | None:
    """The retention that the two headers ask for; None if there are none.

    Raises:
        InvalidRequest: one is malformed.
    """
    if size is None and age is None:
        return None
    if size is not None and not _BYTES.fullmatch(size):
        raise InvalidRequest(
            f"{names.STREAM_RETENTION_BYTES} must be a whole number of bytes of at most 15 digits without "
            "sign, leading zeros or fraction; 0 keeps all."
        )
    if age is not None and not _AGE.fullmatch(age):
        raise InvalidRequest(
            f"{names.STREAM_RETENTION_AGE} must be a whole number of seconds of at most 10 digits without "
            "sign, leading zeros or fraction; 0 keeps all."
        )
    return Retention(int(size) if size is not None else None, int(age) if age is not None else None)


def inherit(requested: Retention | None, source: Retention | None) -> Retention | None:
    """What a fork asks for wins; the rest it has from its source, as with lifetimes (PROTOCOL §4.2)."""
    return _over(requested, source) if requested and source else requested or source


def confirms(requested: Retention | None, existing: StreamState) -> bool:
    """Whether a repeated create request asks for what the stream has; forks may leave out inheritances.

    PROTOCOL §5.1: retention is part of a stream's configuration.
    """
    if requested is None:
        return existing.retention is None or existing.fork is not None
    if existing.fork is not None:
        return inherit(requested, existing.retention) == existing.retention
    return requested == existing.retention


def limits_of(stream: StreamState, defaults: Retention) -> Retention:
    """How much of a stream is kept: its own limits, and the server's where it has none. 0 keeps all."""
    if stream.internal:
        return Retention()
    return _over(stream.retention, defaults) if stream.retention else defaults


def cut(stream: StreamState, limits: Retention, extents: Iterable[Extent], now_us: int, before: Cut) -> Cut:
    """Where a stream may begin, from some of its extents.

    Args:
        stream: the stream.
        limits: how much of it is kept.
        extents: the next ones in order.
        now_us: the time.
        before: the cut that earlier extents gave.
    """
    position = before.position
    for extent in extents:
        if limits.bytes and extent.end <= stream.tail - limits.bytes:
            position = extent.end
            continue
        if not limits.age_s:
            return Cut(position, None, final=True)
        if not extent.appended_us:
            continue  # no younger than the next one, so it goes with that at the latest
        due_us = extent.appended_us + limits.age_s * US_PER_S
        if due_us > now_us:
            return Cut(position, due_us, final=True)
        position = extent.end
    return Cut(position, None, final=False)


def at_the_end(stream: StreamState, limits: Retention, now_us: int, before: Cut) -> Cut:
    """The cut after all extents: of the last ones, no time may be known but that of the stream's last use."""
    if before.final or not limits.age_s or before.position == stream.tail:
        return before
    due_us = stream.used_us + limits.age_s * US_PER_S
    return before._replace(due_us=due_us) if due_us > now_us else Cut(stream.tail, None, final=True)


def trim(positions: Mapping[int, int]) -> Decide[None]:
    """The decision to begin streams at these positions, by id. Data before them can be freed afterwards."""

    def decide(found: Sequence[Loaded], _now_us: int) -> Decision[None]:
        writes = [
            SaveStream(replace(stream, start=positions[stream.id]))
            for stream in (loaded.stream for loaded in found)
            if stream is not None and stream.start < positions.get(stream.id, 0) <= stream.tail
        ]
        return Decision(writes, None)

    return decide


def to_free(stream: StreamState) -> tuple[int, int]:
    """The stretch (from, until) of a stream's own bytes that neither its readers nor its forks need."""
    own = stream.fork.at if stream.fork is not None else 0
    return max(own, stream.forked_until if stream.forks else 0), stream.start


def _over(first: Retention | None, second: Retention | None) -> Retention:
    first, second = first or Retention(), second or Retention()
    return Retention(
        first.bytes if first.bytes is not None else second.bytes,
        first.age_s if first.age_s is not None else second.age_s,
    )
