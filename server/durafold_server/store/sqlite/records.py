"""Rows ↔ values. Every row carries a checksum over what it says and what it belongs to."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import msgspec

from durafold_server.protocol.lifetimes import US_PER_S
from durafold_server.protocol.model import ProducerState, StreamState
from durafold_server.store.base import StoreDamaged

# Signed, because damage can make any number negative, and must be noticed then too.
_PLACE: Final = struct.Struct("<qq")
_TIME: Final = struct.Struct("<q")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(StreamState)


def encode_stream(stream: StreamState) -> tuple[int, str, bytes, int, int | None]:
    """(id, path, record, checksum, expires_us) of a stream's row."""
    record = _encoder.encode(stream)
    return stream.id, stream.path, record, zlib.crc32(record), _expires_us(stream)


def decode_stream(path: str, record: bytes, checksum: int) -> StreamState:
    """The stream of a row.

    Raises:
        StoreDamaged: the row does not match its checksum, or holds the record of another stream.
    """
    if zlib.crc32(record) == checksum:
        stream = _decoder.decode(record)
        if stream.path == path:
            return stream
    raise StoreDamaged(f"the record of stream {path} is damaged; run `durafold repair`")


def chunk_checksum(stream_id: int, start: int, appended_us: int, data: bytes) -> int:
    """Checksum of a chunk at its place, so that swapped rows are noticed too.

    Chunks of format 1 have no time, 0, and a checksum without it.
    """
    seed = zlib.crc32(_PLACE.pack(stream_id, start))
    return zlib.crc32(data, zlib.crc32(_TIME.pack(appended_us), seed) if appended_us else seed)


def check_chunk(stream_id: int, start: int, appended_us: int, data: bytes, checksum: int) -> bytes:
    """The data of a chunk.

    Raises:
        StoreDamaged: it does not match its checksum.
    """
    if chunk_checksum(stream_id, start, appended_us, data) != checksum:
        raise StoreDamaged(
            f"data of stream {stream_id} at position {start} fails its checksum; run `durafold repair`"
        )
    return data


def record_checksum(key: str, value: bytes) -> int:
    """Checksum of a value of the server's own, under its name."""
    return zlib.crc32(value, zlib.crc32(key.encode()))


def check_record(key: str, value: bytes, checksum: int) -> bytes:
    """The value.

    Raises:
        StoreDamaged: it does not match its checksum.
    """
    if record_checksum(key, value) != checksum:
        raise StoreDamaged(f"the record {key!r} fails its checksum; run `durafold repair`")
    return value


def encode_producer(
    stream_id: int, producer_id: str, state: ProducerState
) -> tuple[int, str, int, int, int, bytes | None]:
    """(stream_id, producer_id, epoch, last_seq, checksum, owner) of a producer's row."""
    checksum = _producer_checksum(stream_id, producer_id, state)
    return stream_id, producer_id, state.epoch, state.last_seq, checksum, state.owner


def decode_producer(
    stream_id: int, producer_id: str, epoch: int, last_seq: int, checksum: int, owner: bytes | None
) -> ProducerState:
    """The producer of a row.

    Raises:
        StoreDamaged: the row does not match its checksum.
    """
    state = ProducerState(epoch, last_seq, owner)
    try:
        holds = _producer_checksum(stream_id, producer_id, state) == checksum
    except (struct.error, AttributeError, TypeError):
        holds = False  # damage can change a value's type, too
    if not holds:
        raise StoreDamaged(
            f"producer {producer_id!r} of stream {stream_id} fails its checksum; run `durafold repair`"
        )
    return state


def _producer_checksum(stream_id: int, producer_id: str, state: ProducerState) -> int:
    """Of one that belongs to nobody it is what formats 1 and 2 have, which knew no owners."""
    place = _PLACE.pack(state.epoch, state.last_seq)
    checksum = zlib.crc32(producer_id.encode(), zlib.crc32(place, stream_id & 0xFFFFFFFF))
    return checksum if state.owner is None else zlib.crc32(state.owner, checksum)


def _expires_us(stream: StreamState) -> int | None:
    if stream.deleted:
        return None  # it ends with its last fork, not by itself
    if stream.lifetime.ttl_s is not None:
        return stream.used_us + stream.lifetime.ttl_s * US_PER_S
    return stream.lifetime.expires_at_us
