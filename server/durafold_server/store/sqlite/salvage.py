"""Reads what can be believed in a damaged file: of every stream the longest prefix whose checksums hold.

Nothing here writes. What is read may be damaged anywhere, so every row is read on its own where the whole
table cannot be, and believed only if its checksum holds.

What a client was told stays true, or is refused; it never comes to mean something else:

* *Offsets.* A stream that lost data keeps its id for what is left, and gets a new origin for what will be
  appended. An offset within what is left stays valid. One beyond it is answered with 410, as are those of a
  deleted stream, though there may be data at its position again.
* *Producers* of a stream that lost data are fenced: their epoch is raised, so a request that was repeated
  since before the damage is refused with 403, neither taken for a duplicate of what is lost nor appended
  a second time. A producer that claims the next epoch goes on. Producers of whole streams keep their place.
* *Closed* stays closed, but the request that closed a stream is not a success any more once data was lost.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apsw
from msgspec.structs import replace

from durafold.wire.names import MAX_SAFE_INTEGER
from durafold_server.protocol import registry
from durafold_server.protocol.model import ProducerState, Segment, StreamState
from durafold_server.store.base import StoreDamaged
from durafold_server.store.sqlite import records

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Salvaged:
    """One stream as it will be, and what is lost of it.

    Attributes:
        stream: its state, cut to what can be read.
        was: its state as recorded.
        producers: what is known of its producers.
        lost_producers: how many of its producers cannot be read.
    """

    stream: StreamState
    was: StreamState
    producers: Mapping[str, ProducerState]
    lost_producers: int

    @property
    def lost_bytes(self) -> int:
        """How much shorter it is than recorded."""
        return self.was.tail - self.stream.tail

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is lost, as far as known."""
        return self.stream.origin == self.was.origin and not self.lost_producers


@dataclass(slots=True)
class Findings:
    """What a file holds.

    Attributes:
        troubles: what is wrong with the file as a whole, for people.
        streams: by id.
        lost_streams: paths (or ids) of streams whose record cannot be read.
        records: the server's own values.
        lost_records: how many of those cannot be read.
        greatest_id: the greatest id or origin ever used, as far as known.
        lacks_commits: the newest commits cannot be read, so anything may have been appended since.
    """

    troubles: list[str] = field(default_factory=list)
    streams: dict[int, Salvaged] = field(default_factory=dict)
    lost_streams: list[str] = field(default_factory=list)
    records: dict[str, bytes] = field(default_factory=dict)
    lost_records: int = 0
    greatest_id: int = 0
    lacks_commits: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing to repair."""
        return not self.troubles and self.has_all

    @property
    def has_all(self) -> bool:
        """Whether everything that the file is known to have held can be kept."""
        lost = self.lost_streams or self.lost_records or self.lacks_commits
        return not lost and all(salvaged.is_whole for salvaged in self.streams.values())


def examine(connection: apsw.Connection, now_us: int, *, lacks_commits: bool) -> Findings:
    """Read everything.

    Args:
        connection: to the damaged file.
        now_us: the time; new origins are greater than it and than every id.
        lacks_commits: the newest commits are known to be missing, so any stream may have lost data.
    """
    found = Findings(lacks_commits=lacks_commits)
    found.troubles += _structure(connection)
    recorded = _streams(connection, found)
    sequence = _rows(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'stream'")
    ids = [row[0] for row in sequence if isinstance(row[0], int)]
    origins = [stream.origin for stream in recorded.values() if stream.origin is not None]
    found.greatest_id = max([now_us, *ids, *origins, *recorded])
    runs = _Runs(connection)
    for stream in sorted(recorded.values(), key=lambda stream: stream.id):
        found.greatest_id += 1
        cut = _cut(stream, runs, found.greatest_id, certain=not lacks_commits)
        producers, lost = _producers(connection, stream.id)
        if cut.tail < stream.tail:
            producers = {name: _fenced(state) for name, state in producers.items()}
        found.streams[stream.id] = Salvaged(cut, stream, producers, lost)
    _count_forks(found)
    _read_records(connection, found)
    _doubt_registry(found)
    return found


def chunks(connection: apsw.Connection, stream_id: int) -> Iterator[Row]:
    """A stream's chunks whose checksums hold, up to the first that cannot even be read.

    As (stream id, start, time, data, checksum).
    """
    try:
        time = "appended_us" if _has_column(connection, "chunk", "appended_us") else "0"
        for row in connection.execute(
            f"SELECT stream_id, start, {time}, data, checksum FROM chunk WHERE stream_id = ? ORDER BY start",  # noqa: S608
            (stream_id,),
        ):
            with contextlib.suppress(StoreDamaged, TypeError, struct.error):
                records.check_chunk(*row)
                yield row
    except apsw.Error:
        return


def _has_column(connection: apsw.Connection, table: str, name: str) -> bool:
    """Whether a table has a column that it does not have in earlier formats."""
    return (name,) in _rows(connection, "SELECT name FROM pragma_table_info(?)", (table,))


def needed_until(found: Findings) -> dict[int, int]:
    """Up to where data is needed, by the id it is kept under: a stream's own, or what its forks inherit."""
    needed: dict[int, int] = {}
    for salvaged in found.streams.values():
        for segment in salvaged.stream.segments():
            if segment.stream_id not in found.streams or segment.stream_id == salvaged.stream.id:
                needed[segment.stream_id] = max(segment.until, needed.get(segment.stream_id, 0))
    return needed


def _doubt_registry(found: Findings) -> None:
    """Leave out the registry unless all is whole; the server makes it anew from the streams."""
    is_lost = registry.PATH in found.lost_streams
    if found.has_all:
        return
    found.lost_streams = [path for path in found.lost_streams if path != registry.PATH]
    kept = {number: salvaged for number, salvaged in found.streams.items() if not salvaged.was.internal}
    if is_lost or len(kept) < len(found.streams):
        found.troubles.append(f"its stream {registry.PATH} may be wrong; the server makes it anew")
    found.streams = kept


def _structure(connection: apsw.Connection) -> list[str]:
    try:
        rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
    except apsw.Error as exc:
        return [f"its structure cannot be checked ({exc})"]
    return [f"its structure: {text}" for row in rows for text in str(row[0]).splitlines() if text != "ok"]


def _rows(connection: apsw.Connection, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
    """As many rows as can be read before the first that cannot."""
    rows: list[Row] = []
    with contextlib.suppress(apsw.Error):
        rows.extend(connection.execute(sql, parameters))
    return rows


def _from_both_ends(
    connection: apsw.Connection, sql: str, order: str, parameters: tuple[object, ...] = ()
) -> set[Row]:
    """The rows before the first place that cannot be read, and those behind the last one."""
    found: set[Row] = set()
    for direction in ("ASC", "DESC"):
        found.update(_rows(connection, f"{sql} ORDER BY {order} {direction}", parameters))
    return found


def _streams(connection: apsw.Connection, found: Findings) -> dict[int, StreamState]:
    """The streams whose records hold, by id; found by way of the table and of its index on paths."""
    ids = {row[0] for row in _from_both_ends(connection, "SELECT id FROM stream NOT INDEXED", "id")}
    by_index = "SELECT id, path FROM stream INDEXED BY sqlite_autoindex_stream_1"
    named = _from_both_ends(connection, by_index, "path")
    paths = {row[0]: row[1] for row in named}
    streams: dict[int, StreamState] = {}
    for stream_id in sorted(ids | paths.keys()):
        stream = _stream(connection, stream_id)
        if stream is not None and stream.path not in {other.path for other in streams.values()}:
            streams[stream_id] = stream
        else:
            found.lost_streams.append(str(paths.get(stream_id, f"number {stream_id}")))
    return streams


def _stream(connection: apsw.Connection, stream_id: int) -> StreamState | None:
    for row in _rows(connection, "SELECT path, record, checksum FROM stream WHERE id = ?", (stream_id,)):
        try:
            stream = records.decode_stream(*row)
        except (StoreDamaged, TypeError, ValueError):
            return None
        return stream if stream.id == stream_id else None
    return None


class _Runs:
    """Where undamaged data lies without a gap, looked up once for every id."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._known: dict[int, list[tuple[int, int]]] = {}

    def end_of(self, stream_id: int, begin: int) -> int:
        """Position up to which data can be read from `begin` on; `begin` itself if none can."""
        return next((until for start, until in self._of(stream_id) if start <= begin < until), begin)

    def _of(self, stream_id: int) -> list[tuple[int, int]]:
        if stream_id not in self._known:
            runs: list[tuple[int, int]] = []
            for _, start, _, data, _ in chunks(self._connection, stream_id):
                if runs and runs[-1][1] == start:
                    runs[-1] = (runs[-1][0], start + len(data))
                else:
                    runs.append((start, start + len(data)))
            self._known[stream_id] = runs
        return self._known[stream_id]


def _cut(stream: StreamState, runs: _Runs, origin: int, *, certain: bool) -> StreamState:
    """The stream without what cannot be read; with a new origin if there is, or may be, such a thing."""
    end = stream.start
    for segment in stream.segments():
        if end < segment.until:
            end = min(segment.until, runs.end_of(segment.stream_id, end))
        if end < segment.until:
            break
    if end == stream.tail and certain:
        return stream
    fork, salvaged = stream.fork, stream.salvaged
    kept = tuple(_trimmed((*salvaged, Segment(stream.id, stream.tail, stream.origin)), end))
    if fork is not None and end < fork.at:
        inherited = tuple(_trimmed(fork.inherited, end))
        fork, kept = replace(fork, at=end, inherited=inherited), ()
    closed_by = stream.closed_by if end == stream.tail else None
    return replace(stream, tail=end, fork=fork, salvaged=kept, origin=origin, closed_by=closed_by)


def _trimmed(segments: Iterable[Segment], end: int) -> Iterator[Segment]:
    for segment in segments:
        yield Segment(segment.stream_id, min(segment.until, end), segment.origin)
        if segment.until >= end:
            return


def _fenced(producer: ProducerState) -> ProducerState:
    """As if the producer had begun its next epoch and sent nothing in it yet."""
    return ProducerState(producer.epoch + 1, -1, producer.owner)


def _producers(connection: apsw.Connection, stream_id: int) -> tuple[dict[str, ProducerState], int]:
    """Those whose rows hold, and how many do not; of these, those that can be are fenced."""
    owner = "owner" if _has_column(connection, "producer", "owner") else "NULL"
    rows = _from_both_ends(
        connection,
        f"SELECT producer_id, epoch, last_seq, checksum, {owner} FROM producer WHERE stream_id = ?",  # noqa: S608
        "producer_id",
        (stream_id,),
    )
    producers: dict[str, ProducerState] = {}
    lost = 0
    for row in rows:
        try:
            producers[row[0]] = records.decode_producer(stream_id, *row)
        except (StoreDamaged, TypeError, ValueError):
            lost += 1
            if isinstance(row[0], str) and isinstance(row[1], int) and 0 <= row[1] < MAX_SAFE_INTEGER:
                # If it is the owner that is damaged, the producer is nobody's for good: that does no harm.
                mark = row[4] if isinstance(row[4], bytes) else None
                producers[row[0]] = _fenced(ProducerState(row[1], 0, mark))
    return producers, lost


def _count_forks(found: Findings) -> None:
    """Set every stream's number of forks to those that are left: each holds its source."""
    forks = dict.fromkeys(found.streams, 0)
    for salvaged in found.streams.values():
        source = salvaged.stream.fork.source_id if salvaged.stream.fork is not None else None
        if source in forks:
            forks[source] += 1
    for stream_id, salvaged in found.streams.items():
        if salvaged.stream.forks != forks[stream_id]:
            stream = replace(salvaged.stream, forks=forks[stream_id])
            found.streams[stream_id] = Salvaged(
                stream, salvaged.was, salvaged.producers, salvaged.lost_producers
            )


def _read_records(connection: apsw.Connection, found: Findings) -> None:
    for key, value, checksum in _from_both_ends(connection, "SELECT key, value, checksum FROM record", "key"):
        try:
            found.records[key] = records.check_record(key, value, checksum)
        except (StoreDamaged, TypeError, ValueError, AttributeError):
            found.lost_records += 1
