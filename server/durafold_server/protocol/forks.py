"""Forks: where one branches off, and which streams live on for their forks' sake (PROTOCOL §4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from durafold_server.protocol.errors import Conflict, InvalidRequest, NotFound, ReadOnly
from durafold_server.protocol.lifetimes import is_expired
from durafold_server.protocol.model import (
    Fork,
    RemoveStream,
    SaveStream,
    Segment,
    StreamState,
    Write,
)
from durafold_server.protocol.offsets import is_now, is_start, parse_offset
from durafold_server.protocol.requests import ForkRequest


def check_source(source: StreamState | None, now_us: int) -> StreamState:
    """The source, if it can be forked.

    Raises:
        NotFound: there is none.
        Conflict: it is soft-deleted.
        ReadOnly: it is the server's own.
    """
    if source is None or (is_expired(source, now_us) and not source.deleted):
        raise NotFound("The stream to fork from does not exist.")
    if source.deleted:
        raise Conflict("The stream to fork from was deleted.")
    if source.internal:
        raise ReadOnly(source.path)
    return source


def anchor(request: ForkRequest, source: StreamState) -> int:
    """The position in the source that `Stream-Fork-Offset` names; the tail if it is absent.

    Raises:
        InvalidRequest: no offset of this stream, beyond its tail, or no longer retained.
    """
    if request.offset is None or is_now(request.offset):
        return source.tail
    if is_start(request.offset):
        return source.start
    parsed = parse_offset(request.offset)
    if parsed is None or parsed[0] != source.owner(parsed[1]):
        raise InvalidRequest("Stream-Fork-Offset is no offset of the source stream.")
    position = parsed[1]
    if position > source.tail:
        raise InvalidRequest("Stream-Fork-Offset lies beyond the source stream's tail.")
    return check_retained(source, position)


def check_retained(source: StreamState, position: int) -> int:
    """The position, if the source can be forked there.

    Raises:
        InvalidRequest: what lies before it is no longer retained.
    """
    if position < source.start:
        raise InvalidRequest(
            "Stream-Fork-Offset lies before the source's earliest retained offset, "
            f"{source.offset(source.start)}."
        )
    return position


def with_fork(source: StreamState, fork: Fork, now_us: int) -> StreamState:
    """The source once a fork of it lives; forking counts as use."""
    # A fork of a fork may need the bytes of ancestors only, so this may lie before the source's own bytes.
    until = max(source.forked_until, fork.at)
    return replace(source, forks=source.forks + 1, forked_until=until, used_us=now_us)


def without_fork(source: StreamState) -> StreamState:
    """The source once a fork of it is gone; without forks, nothing is kept for their sake."""
    remaining = source.forks - 1
    return replace(source, forks=remaining, forked_until=source.forked_until if remaining else 0)


def branch(request: ForkRequest, source: StreamState, at: int) -> Fork:
    """The fork record of a stream that inherits the source's bytes up to `at`."""
    return Fork(
        source_path=source.path,
        source_id=source.id,
        requested_offset=request.offset,
        sub_offset=request.sub_offset,
        at=at,
        inherited=inherited_until(source, at),
    )


def inherited_until(source: StreamState, at: int) -> tuple[Segment, ...]:
    """The stretches that make up a stream's bytes before `at`."""
    kept: list[Segment] = []
    for segment in source.segments():
        kept.append(Segment(segment.stream_id, min(segment.until, at), segment.origin))
        if segment.until >= at:
            break
    return tuple(kept)


def remove(stream: StreamState, ancestors: Sequence[StreamState | None]) -> list[Write]:
    """What deleting a stream changes: itself, and each ancestor that only lived on for it.

    Args:
        stream: the stream to delete; not yet soft-deleted.
        ancestors: its source, its source's source, and so on.
    """
    if stream.forks:
        return [SaveStream(replace(stream, deleted=True))]
    writes: list[Write] = [RemoveStream(stream)]
    child = stream
    for ancestor in ancestors:
        if ancestor is None or child.fork is None or ancestor.id != child.fork.source_id:
            break
        after = without_fork(ancestor)
        if after.forks or not ancestor.deleted:
            writes.append(SaveStream(after))
            break
        # Soft-deleted and now without forks: it goes too, and releases its own source.
        writes.append(RemoveStream(ancestor))
        child = ancestor
    return writes
