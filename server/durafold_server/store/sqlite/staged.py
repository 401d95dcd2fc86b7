"""What a batch of transactions will write, gathered before any of it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from durafold_server.protocol.model import (
    AppendData,
    ProducerState,
    RemoveStream,
    SaveProducer,
    SaveStream,
    StreamState,
    Write,
)

MAX_CHUNK_BYTES: Final = 256 * 1024
"""A chunk is read whole, whatever is wanted of it: no more than this are joined."""


@dataclass(slots=True)
class _Chunk:
    """A chunk to be: the appends of one batch to one stream, and when the last of them came."""

    start: int
    parts: list[bytes]
    appended_us: int


class Written(NamedTuple):
    """A chunk as it was written."""

    stream_id: int
    start: int
    appended_us: int
    data: bytes


@dataclass(slots=True)
class Staged:
    """What a batch will write: streams by path (None: removed), producers and chunks by stream."""

    streams: dict[str, StreamState | None] = field(default_factory=dict)
    producers: dict[tuple[int, str], ProducerState] = field(default_factory=dict)
    chunks: dict[int, list[_Chunk]] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    records: dict[str, bytes | None] = field(default_factory=dict)
    concerned: bool = False  # whether the job at hand has added to it or looked at it

    def __bool__(self) -> bool:
        return bool(self.streams or self.producers or self.records)

    def add(self, write: Write, now_us: int) -> None:
        self.concerned = True
        match write:
            case SaveStream(stream):
                self.streams[stream.path] = stream
            case AppendData(stream_id, start, payload):
                self._add_data(stream_id, start, payload.data, now_us)
            case SaveProducer(stream_id, producer_id, producer):
                self.producers[stream_id, producer_id] = producer
            case RemoveStream(stream):
                self.streams[stream.path] = None
                self.removed.add(stream.id)

    def put_record(self, key: str, value: bytes | None) -> None:
        self.concerned = True
        self.records[key] = value

    def joined_chunks(self) -> list[Written]:
        """The chunks as they are written."""
        return [
            Written(stream_id, chunk.start, chunk.appended_us, b"".join(chunk.parts))
            for stream_id, chunks in self.chunks.items()
            for chunk in chunks
        ]

    def _add_data(self, stream_id: int, start: int, data: bytes, now_us: int) -> None:
        """Appends of one batch to one stream become one chunk, up to a size that is quick to read."""
        chunks = self.chunks.setdefault(stream_id, [])
        if chunks and start + len(data) - chunks[-1].start <= MAX_CHUNK_BYTES:
            chunks[-1].parts.append(data)
            chunks[-1].appended_us = now_us
        else:
            chunks.append(_Chunk(start, [data], now_us))
