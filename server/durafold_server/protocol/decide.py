"""What a request does to a stream: (state, request, time) → decision, or an error and no change.

Stores run these inside their transaction, so check and effect are one step. All order of precedence
between conditions is here and nowhere else: gone → closed → body → content type → producer → Stream-Seq
(PROTOCOL §5.2, §5.2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from durafold.wire import names
from durafold_server.protocol import forks, lifetimes, producers, retention
from durafold_server.protocol.errors import (
    ContentTypeMismatch,
    Gone,
    InvalidRequest,
    NotFound,
    ProtocolError,
    ReadOnly,
    StreamExists,
    StreamIsClosed,
    StreamSeqRegressed,
)
from durafold_server.protocol.model import (
    FOREVER,
    NO_PAYLOAD,
    AppendData,
    Decision,
    Fork,
    Loaded,
    Mode,
    Payload,
    ProducerClaim,
    ProducerState,
    RemoveStream,
    SaveProducer,
    SaveStream,
    StreamState,
    Value,
    Write,
)
from durafold_server.protocol.requests import AppendRequest, CreateRequest, ForkRequest, initial_payload


class Created(Value, frozen=True):
    """A create request succeeded; `new` tells 201 from 200, `removed` are expired streams it replaced."""

    stream: StreamState
    new: bool
    removed: tuple[StreamState, ...] = ()


class Appended(Value, frozen=True):
    """An append or close succeeded.

    Attributes:
        stream: the stream afterwards.
        changed: data was added or the stream was closed by this request.
        added_data: data was added by this request.
        claim: the producer headers of the request.
        accepted_seq: the highest sequence number accepted of that producer, if it is one.
        duplicate: the producer had sent this before; nothing was done again.
    """

    stream: StreamState
    changed: bool
    added_data: bool = False
    claim: ProducerClaim | None = None
    accepted_seq: int | None = None
    duplicate: bool = False


class Deleted(Value, frozen=True):
    """A stream was deleted; `removed` are those whose data nobody needs any more."""

    stream: StreamState
    removed: tuple[StreamState, ...]


def living(stream: StreamState | None, now_us: int) -> StreamState:
    """The stream, if clients can see it.

    Raises:
        NotFound: there is none, or it has expired.
        Gone: it is soft-deleted.
    """
    if stream is None:
        raise NotFound("There is no such stream; create it with PUT.")
    if lifetimes.is_expired(stream, now_us):  # first, so that it makes no difference whether it was reaped
        raise NotFound("There is no such stream; it has expired.")
    if stream.deleted:
        raise Gone("The stream was deleted.")
    return stream


def create(
    request: CreateRequest,
    found: Sequence[Loaded],
    now_us: int,
    *,
    fork_at: int | ProtocolError | None = None,
) -> Decision[Created]:
    """PUT (PROTOCOL §5.1, §4.2).

    Args:
        request: the request.
        found: the stream at the path, then the fork's source if one is asked for, then the ancestors of
            the stream at the path.
        now_us: the time, which also becomes the new stream's id.
        fork_at: where the fork branches off, sub-offset included, or why it cannot.

    Raises:
        StreamExists: the path is taken by a stream of another configuration.
        ReadOnly: the path is that of the server's own stream.
        ProtocolError: the source cannot be forked, or the body is bad.
    """
    existing = found[0].stream
    released: list[Write] = []
    if existing is not None and existing.internal:
        raise ReadOnly(existing.path)
    if existing is not None and (existing.deleted or not lifetimes.is_expired(existing, now_us)):
        return Decision((), Created(_confirm(existing, request), new=False))
    if existing is not None:
        if existing.forks:
            raise StreamExists("An expired stream of this name is still needed by its forks.")
        ancestors_from = 1 if request.fork is None else 2
        released = forks.remove(existing, [loaded.stream for loaded in found[ancestors_from:]])
    _check_lifetime(request, now_us)
    if request.fork is None:
        stream = _fresh(request, now_us)
        return _begin(stream, request, released)
    source = forks.check_source(_as_left_by(released, found[1].stream), now_us)
    stream = _forked(request, source, now_us, fork_at)
    if stream.fork is None:
        raise ValueError("a fork has its source")
    return _begin(stream, request, [*released, SaveStream(forks.with_fork(source, stream.fork, now_us))])


def append(request: AppendRequest, found: Loaded, now_us: int) -> Decision[Appended]:
    """POST (PROTOCOL §5.2, §5.2.1, §5.3).

    Raises:
        ProtocolError: one of the conditions named at the top of this file.
    """
    stream = living(found.stream, now_us)
    claim = request.claim
    if stream.internal:
        raise ReadOnly(stream.path)
    if stream.closed:
        return Decision((), _append_to_closed(stream, request, found.producer))
    payload = _accepted_payload(stream, request)
    owner = producers.owner_after(claim, found.producer, request.sender) if claim is not None else None
    if claim is not None and producers.is_duplicate(claim, found.producer):
        known = found.producer
        seq = known.last_seq if known is not None else claim.seq
        return Decision((), Appended(stream, changed=False, claim=claim, accepted_seq=seq, duplicate=True))
    _check_stream_seq(stream, request)
    return _write(stream, request, payload, owner, now_us)


def delete(found: Sequence[Loaded], now_us: int) -> Decision[Deleted]:
    """DELETE (PROTOCOL §5.4). `found` holds the stream, then its ancestors.

    Raises:
        NotFound: there is none, or it has expired.
        Gone: it is soft-deleted already.
        ReadOnly: it is the server's own.
    """
    stream = living(found[0].stream, now_us)
    if stream.internal:
        raise ReadOnly(stream.path)
    writes = forks.remove(stream, [loaded.stream for loaded in found[1:]])
    return Decision(writes, Deleted(stream, _removed(writes)))


def expire(found: Sequence[Loaded], now_us: int) -> Decision[tuple[StreamState, ...]]:
    """Remove a stream that has expired, as DELETE would. `found` holds the stream, then its ancestors.

    Returns the streams whose data nobody needs any more; none if it lives after all.
    """
    stream = found[0].stream
    if stream is None or stream.deleted or not lifetimes.is_expired(stream, now_us):
        return Decision((), ())
    writes = forks.remove(stream, [loaded.stream for loaded in found[1:]])
    return Decision(writes, _removed(writes))


def _as_left_by(writes: Sequence[Write], stream: StreamState | None) -> StreamState | None:
    """The stream after the writes, for a decision that changes it twice."""
    saved = (write.stream for write in writes if isinstance(write, SaveStream))
    return next((after for after in saved if stream is not None and after.id == stream.id), stream)


def _removed(writes: Sequence[Write]) -> tuple[StreamState, ...]:
    return tuple(write.stream for write in writes if isinstance(write, RemoveStream))


def _confirm(existing: StreamState, request: CreateRequest) -> StreamState:
    """PROTOCOL §5.1: creating again with the same configuration is a success."""
    if existing.deleted:
        raise StreamExists("A deleted stream of this name is still needed by its forks.")
    if request.content_type is not None or request.fork is None:
        wanted = request.content_type or names.DEFAULT_CONTENT_TYPE
        if not _same_type(wanted, existing.content_type):
            raise StreamExists(f"The stream exists with content type {existing.content_type}.")
    if request.closed != existing.closed:
        raise StreamExists(f"The stream exists and is {'closed' if existing.closed else 'open'}.")
    _confirm_fork(existing, request)
    inherits = existing.fork is not None and request.lifetime == FOREVER
    if not inherits and not lifetimes.same_lifetime(request.lifetime, existing.lifetime):
        raise StreamExists("The stream exists with another TTL or expiry.")
    if not retention.confirms(request.retention, existing):
        raise StreamExists("The stream exists with another retention.")
    return existing


def _confirm_fork(existing: StreamState, request: CreateRequest) -> None:
    asked, has = request.fork, existing.fork
    if asked is None and has is None:
        return
    if (
        asked is None
        or has is None
        or asked.source_path != has.source_path
        or asked.sub_offset != has.sub_offset
        or not _same_anchor(existing, asked, has)
    ):
        raise StreamExists("The stream exists with another fork source or fork offset.")


def _same_anchor(existing: StreamState, asked: ForkRequest, has: Fork) -> bool:
    """Whether both mean the same place; with a sub-offset, the fork's own is not the one it was asked for."""
    if asked.offset == has.requested_offset:
        return True
    return not has.sub_offset and asked.offset == existing.offset(has.at)


def _same_type(one: str, other: str) -> bool:
    """Types compare without regard to case; for JSON the media type alone decides (PROTOCOL §9.1)."""
    if one.lower() == other.lower():
        return True
    return names.media_type(one) == names.media_type(other) and _without_space(one) == _without_space(other)


def _without_space(content_type: str) -> str:
    return content_type.replace(" ", "").lower()


def _check_lifetime(request: CreateRequest, now_us: int) -> None:
    expires_at_us = request.lifetime.expires_at_us
    if expires_at_us is not None and expires_at_us <= now_us:
        raise InvalidRequest(f"{names.STREAM_EXPIRES_AT} lies in the past; the stream would be gone at once.")


def _fresh(request: CreateRequest, now_us: int) -> StreamState:
    content_type = request.content_type or names.DEFAULT_CONTENT_TYPE
    return StreamState(
        id=now_us,
        path=request.path,
        content_type=content_type,
        mode=Mode.of(content_type),
        lifetime=request.lifetime,
        used_us=now_us,
        retention=request.retention,
    )


def _forked(
    request: CreateRequest, source: StreamState, now_us: int, fork_at: int | ProtocolError | None
) -> StreamState:
    if request.fork is None or fork_at is None:
        raise ValueError("a fork needs its source and its position")
    if isinstance(fork_at, ProtocolError):
        raise fork_at
    forks.check_retained(source, fork_at)  # it was looked at before the transaction
    content_type = request.content_type or source.content_type
    if not _same_type(content_type, source.content_type):
        raise ContentTypeMismatch(f"The source's content type is {source.content_type}; a fork has the same.")
    return StreamState(
        id=now_us,
        path=request.path,
        content_type=source.content_type,
        mode=source.mode,
        tail=fork_at,
        start=source.start,
        lifetime=lifetimes.fork_lifetime(request.lifetime, source.lifetime),
        used_us=now_us,
        fork=forks.branch(request.fork, source, fork_at),
        retention=retention.inherit(request.retention, source.retention),
    )


def _begin(stream: StreamState, request: CreateRequest, writes: list[Write]) -> Decision[Created]:
    payload = initial_payload(request, stream.mode)
    begun = replace(stream, tail=stream.tail + len(payload.data), closed=request.closed)
    writes = [*writes, SaveStream(begun)]
    if payload.data:
        writes.append(AppendData(stream.id, stream.tail, payload))
    return Decision(writes, Created(begun, new=True, removed=_removed(writes)))


def _append_to_closed(stream: StreamState, request: AppendRequest, known: ProducerState | None) -> Appended:
    """PROTOCOL §5.2, §5.2.1: only closing again, and the very request that closed it, succeed."""
    if request.claim is not None:
        if request.claim == stream.closed_by:
            seq = known.last_seq if known is not None else request.claim.seq
            return Appended(stream, changed=False, claim=request.claim, accepted_seq=seq, duplicate=True)
    elif request.close and request.payload is NO_PAYLOAD:
        return Appended(stream, changed=False)
    raise StreamIsClosed(stream.offset(stream.tail))


def _accepted_payload(stream: StreamState, request: AppendRequest) -> Payload:
    if isinstance(request.payload, ProtocolError):
        # A bad body of another type than the stream's: the type is the first thing to mend.
        if request.content_type is not None and not _type_fits(stream, request.content_type):
            raise _mismatch(stream, request.content_type)
        raise request.payload
    if request.payload is NO_PAYLOAD:
        return NO_PAYLOAD
    if request.content_type is None:
        raise InvalidRequest("Content-Type is missing; send the stream's own.")
    if not _type_fits(stream, request.content_type):
        raise _mismatch(stream, request.content_type)
    return request.payload


def _type_fits(stream: StreamState, content_type: str) -> bool:
    if content_type == stream.content_type:
        return True
    if stream.mode is Mode.JSON:
        return names.is_json(content_type)
    return names.media_type(content_type) == names.media_type(stream.content_type)


def _mismatch(stream: StreamState, content_type: str) -> ContentTypeMismatch:
    return ContentTypeMismatch(f"The stream's content type is {stream.content_type}, not {content_type}.")


def _check_stream_seq(stream: StreamState, request: AppendRequest) -> None:
    # PROTOCOL §5.2: opaque strings, compared byte by byte. Headers are latin-1, so str order is byte order.
    if request.seq is not None and stream.last_seq is not None and request.seq <= stream.last_seq:
        raise StreamSeqRegressed(f"{names.STREAM_SEQ} must be greater than {stream.last_seq!r}.")


def _write(
    stream: StreamState, request: AppendRequest, payload: Payload, owner: bytes | None, now_us: int
) -> Decision[Appended]:
    claim = request.claim
    after = replace(
        stream,
        tail=stream.tail + len(payload.data),
        closed=request.close,
        closed_by=claim if request.close else None,
        last_seq=request.seq or stream.last_seq,
        used_us=now_us,
    )
    writes: list[Write] = [SaveStream(after)]
    if payload.data:
        writes.append(AppendData(stream.id, stream.tail, payload))
    if claim is not None:
        producer = ProducerState(claim.epoch, claim.seq, owner)
        writes.append(SaveProducer(stream.id, claim.producer_id, producer))
    accepted = claim.seq if claim is not None else None
    return Decision(writes, Appended(after, True, bool(payload.data), claim, accepted))
