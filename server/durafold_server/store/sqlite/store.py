"""`SqliteStore`: transactions, visibility and reads.

One thread writes. It takes everything that waits, runs the decisions against committed state plus what the
batch has staged so far, writes all of it as one SQLite transaction, syncs, and only then makes the new states
visible. Stream states are immutable, so the event loop reads them without a lock: a reader sees a stream
before a commit or after it, never in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import apsw
from msgspec.structs import replace

from durafold_server.clock import Clock, StrictClock, system_clock
from durafold_server.metrics import CommitCounts
from durafold_server.protocol import json_mode, lifetimes
from durafold_server.protocol.model import (
    Decide,
    Decision,
    Extent,
    Loaded,
    ProducerState,
    R,
    ReadKey,
    SaveStream,
    StreamState,
)
from durafold_server.store.base import NotABoundary, Page, StoreCapabilities, StoreFailure, StoreHalted
from durafold_server.store.group_commit import Announce, GroupCommit, Job
from durafold_server.store.sqlite import records, schema
from durafold_server.store.sqlite.health import Health
from durafold_server.store.sqlite.joining import Joiner
from durafold_server.store.sqlite.lock import DirectoryLock
from durafold_server.store.sqlite.staged import Staged, Written
from durafold_server.store.sqlite.state_cache import StateCache
from durafold_server.store.sqlite.tail_cache import TailCache

logger = logging.getLogger(__name__)

_HOUSEKEEPING_S = 1.0
_PURGE_CHUNKS = 256
# Chunks of stream ?1 in order, from the one that position ?2 may be in up to position ?3.
_FROM_POSITION = (
    " FROM chunk WHERE stream_id = ?1 AND start < ?3 AND start >= "
    "coalesce((SELECT max(start) FROM chunk WHERE stream_id = ?1 AND start <= ?2), ?2) ORDER BY start"
)
_CHUNKS = "SELECT start, checksum, appended_us, data" + _FROM_POSITION
_EXTENTS = "SELECT start, length(data), appended_us" + _FROM_POSITION + " LIMIT ?4"


_Work = Callable[[Staged], Any]
"""One caller's part of a batch; runs on the writer thread and may stage writes."""


class SqliteStore:
    """A `StreamStore` in one directory, for one process. Make it with `open`."""

    def __init__(self, directory: Path, lock: DirectoryLock, clock: Clock) -> None:
        self._file = directory / schema.FILE_NAME
        self._directory = directory
        self._lock = lock
        self._writer = schema.open_writer(self._file)
        self._health = Health(self._file, self._writer)
        self._now = StrictClock(clock, schema.greatest_id(self._writer, self._file))
        self._streams = StateCache()  # committed; changed by the writer thread only
        self._used: dict[str, int] = {}  # reads not yet written down, for the sliding TTL
        self._tails = TailCache()
        self._joiner = Joiner(self._writer, self._file)
        self._readers: list[apsw.Connection] = []
        self._observers: list[Callable[[StreamState], None]] = []
        self._group: GroupCommit[_Work] = GroupCommit(self._commit, name="durafold-writer")
        self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house())
        self._closed = False
        self.commits = CommitCounts()

    @classmethod
    async def open(cls, directory: Path | str, clock: Clock = system_clock) -> SqliteStore:
        """Open the store in a directory, creating it if there is none.

        Raises:
            StoreFailure: the directory is in use, cannot be used, or holds something else.
        """
        directory = Path(directory)
        lock = DirectoryLock(directory)
        try:
            return cls(directory, lock, clock)
        except BaseException:
            lock.release()
            raise

    @property
    def capabilities(self) -> StoreCapabilities:
        """Durable, for one process."""
        return StoreCapabilities(durable=True, multi_node=False)

    @property
    def location(self) -> str:
        """For people."""
        return f"data in {self._directory.resolve()}"

    @property
    def trouble(self) -> str | None:
        """See `StreamStore`."""
        return self._health.reason

    async def transact(self, keys: Sequence[ReadKey], decide: Decide[R]) -> R:
        """See `StreamStore`."""

        def work(staged: Staged) -> R:
            now_us = self._now()
            decision = decide([self._look(key, staged) for key in keys], now_us)
            if decision.writes:
                self._health.check()
            for write in decision.writes:
                staged.add(write, now_us)
            return decision.result

        return cast("R", await self._group.submit(work))

    def observe(self, observer: Callable[[StreamState], None]) -> None:
        """See `StreamStore`."""
        self._observers.append(observer)

    async def load(self, path: str) -> StreamState | None:
        """See `StreamStore`. A stream not used of late is fetched through the writer, in order."""
        stream = self._streams.get(path)
        if stream is None:
            return await self.transact((ReadKey(path),), _just_look)
        return self._as_used(stream)

    async def read(self, stream_id: int, after: int, *, until: int, max_bytes: int, framed: bool) -> Page:
        """See `StreamStore`."""
        if after >= until:
            return Page(after, b"")
        cached = self._tails.chunks_from(stream_id, after)
        if cached is not None:
            return _page(cached, after, until, max_bytes, framed=framed)
        return await asyncio.to_thread(self._read_chunks, stream_id, after, until, max_bytes, framed)

    async def extents(self, stream_id: int, after: int, *, until: int, limit: int) -> Sequence[Extent]:
        """See `StreamStore`."""
        if after >= until:
            return ()
        return await asyncio.to_thread(self._read_extents, stream_id, after, until, limit)

    async def free(self, stream_id: int, *, after: int, before: int, limit: int) -> bool:
        """See `StreamStore`."""
        freed = self._group.submit(lambda _staged: self._free(stream_id, after, before, limit))
        return cast("bool", await freed)

    async def list_streams(self, prefix: str, after: str | None, limit: int) -> Sequence[StreamState]:
        """See `StreamStore`."""
        found = await asyncio.to_thread(
            self._select_streams,
            "SELECT path, record, checksum FROM stream "
            "WHERE path >= ? AND path > ? AND path < ? AND substr(path, 1, ?) = ? ORDER BY path LIMIT ?",
            (prefix, after or "", f"{prefix}\U0010ffff", len(prefix), prefix, limit),
        )
        return [self._as_used(stream) for stream in found]

    async def count_streams(self) -> int:
        """See `StreamStore`."""
        return await asyncio.to_thread(self._count_streams)

    async def touch(self, used: Mapping[str, int]) -> None:
        """See `StreamStore`. Written down within about a second."""
        for path, used_us in used.items():
            self._used[path] = max(used_us, self._used.get(path, 0))

    async def expired(self, now_us: int, limit: int) -> Sequence[StreamState]:
        """See `StreamStore`."""
        candidates = await asyncio.to_thread(
            self._select_streams,
            "SELECT path, record, checksum FROM stream WHERE expires_us <= ? ORDER BY expires_us LIMIT ?",
            (now_us, limit),
        )
        current = [self._as_used(self._streams.get(stream.path) or stream) for stream in candidates]
        return [stream for stream in current if not stream.deleted and lifetimes.is_expired(stream, now_us)]

    async def purge(self, stream_id: int, *, limit: int) -> bool:
        """See `StreamStore`."""
        return cast("bool", await self._group.submit(lambda _staged: self._purge(stream_id, limit)))

    async def put_record(self, key: str, value: bytes | None) -> None:
        """See `StreamStore`."""

        def work(staged: Staged) -> None:
            self._health.check()
            staged.put_record(key, value)

        await self._group.submit(work)

    async def records(self, prefix: str) -> Mapping[str, bytes]:
        """See `StreamStore`."""
        return await asyncio.to_thread(self._select_records, prefix)

    async def aclose(self) -> None:
        """See `StreamStore`."""
        if self._closed:
            return
        self._closed = True
        self._housekeeping.cancel()
        await asyncio.wait([self._housekeeping])
        try:
            await self._write_down_use()
        except StoreFailure:
            logger.exception("reads of the last second were not written down; idle streams may end sooner")
        finally:
            await self._group.aclose()
            self._let_go()

    def _let_go(self) -> None:
        try:
            for connection in (*self._readers, self._writer):
                with schema.translated(self._file):
                    connection.close()
        finally:
            self._lock.release()

    # What follows runs on the writer thread.

    def _commit(self, jobs: Sequence[Job[_Work]]) -> Announce | None:
        self._streams.trim()
        staged = Staged()
        for job in jobs:
            staged.concerned = False
            try:
                job.result = job.work(staged)
            except Exception as exc:  # noqa: BLE001 - a refusal is this job's alone; the others go on
                job.error = exc
            job.stands = not staged.concerned
        if not staged:
            return None
        began_s = perf_counter()
        chunks = self._write(staged)
        self.commits.committed(len(jobs), perf_counter() - began_s)
        changed = self._publish(staged, chunks)
        return partial(self._announce, changed)

    def _look(self, key: ReadKey, staged: Staged) -> Loaded:
        stream = self._look_at_stream(key.path, staged)
        if stream is None or key.producer_id is None:
            return Loaded(stream)
        place = (stream.id, key.producer_id)
        return Loaded(stream, staged.producers.get(place) or self._select_producer(*place))

    def _look_at_stream(self, path: str, staged: Staged) -> StreamState | None:
        if path in staged.streams:
            staged.concerned = True
            return staged.streams[path]
        stream = self._streams.get(path)
        if stream is None:
            stream = self._select_stream(path)
            if stream is not None:
                self._streams.put(stream)
        return self._as_used(stream) if stream is not None else None

    def _select_stream(self, path: str) -> StreamState | None:
        with schema.translated(self._file):
            row = self._writer.execute(
                "SELECT path, record, checksum FROM stream WHERE path = ?", (path,)
            ).get
        return records.decode_stream(*row) if row is not None else None

    def _select_producer(self, stream_id: int, producer_id: str) -> ProducerState | None:
        with schema.translated(self._file):
            row = self._writer.execute(
                "SELECT epoch, last_seq, checksum, owner FROM producer "
                "WHERE stream_id = ? AND producer_id = ?",
                (stream_id, producer_id),
            ).get
        return records.decode_producer(stream_id, producer_id, *row) if row is not None else None

    def _write(self, staged: Staged) -> list[Written]:
        """Write a batch and sync it; returns the chunks."""
        chunks = staged.joined_chunks()
        with self._health.writing():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._insert(staged, chunks)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        return chunks

    def _insert(self, staged: Staged, chunks: list[Written]) -> None:
        removed = [(stream_id,) for stream_id in staged.removed]
        if removed:
            self._writer.executemany("DELETE FROM stream WHERE id = ?", removed)
            self._writer.executemany("INSERT OR IGNORE INTO garbage VALUES(?)", removed)
            self._writer.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'stream'", max(removed)
            )
        self._writer.executemany(
            "INSERT INTO stream VALUES(?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET "
            "record = excluded.record, checksum = excluded.checksum, expires_us = excluded.expires_us",
            [records.encode_stream(stream) for stream in staged.streams.values() if stream is not None],
        )
        self._writer.executemany(
            "INSERT INTO chunk(stream_id, start, appended_us, data, checksum) VALUES(?, ?, ?, ?, ?)",
            [(*chunk, records.chunk_checksum(*chunk)) for chunk in chunks],
        )
        self._writer.executemany(
            "INSERT OR REPLACE INTO producer VALUES(?, ?, ?, ?, ?, ?)",
            [records.encode_producer(*place, producer) for place, producer in staged.producers.items()],
        )
        for key, value in staged.records.items():
            if value is None:
                self._writer.execute("DELETE FROM record WHERE key = ?", (key,))
            else:
                self._writer.execute(
                    "INSERT OR REPLACE INTO record VALUES(?, ?, ?)",
                    (key, records.record_checksum(key, value), value),
                )

    def _publish(self, staged: Staged, chunks: list[Written]) -> list[StreamState]:
        """Make a committed batch visible: data first, so that no reader sees a tail it cannot read up to.

        Returns the streams that look different now.
        """
        changed: list[StreamState] = []
        for chunk in chunks:
            self._tails.append(chunk.stream_id, chunk.start, chunk.data)
            self._joiner.note_commit(chunk.stream_id, chunk.start, len(chunk.data))
        for path, stream in staged.streams.items():
            before = self._streams.get(path)
            if before is not None and (stream is None or stream.id != before.id):
                changed.append(replace(before, deleted=True))
            if stream is None:
                self._streams.drop(path)
                self._used.pop(path, None)
                continue
            self._streams.put(stream)
            if before is None or _looks_different(stream, before):
                changed.append(stream)
        for stream_id in staged.removed:
            self._tails.forget(stream_id)
            self._joiner.forget(stream_id)
        return changed

    def _join(self) -> bool:
        self._health.check()
        with self._health.writing():
            return self._joiner.step()

    def _free(self, stream_id: int, after: int, before: int, limit: int) -> bool:
        self._health.check()
        with self._health.writing():
            self._writer.execute(
                "DELETE FROM chunk WHERE stream_id = ?1 AND start IN "
                "(SELECT start FROM chunk WHERE stream_id = ?1 AND start >= ?2 AND start < ?3 "
                "AND start + length(data) <= ?3 ORDER BY start LIMIT ?4)",
                (stream_id, after, before, limit),
            )
            self._tails.forget_before(stream_id, before)
            return self._writer.changes() < limit

    def _purge(self, stream_id: int, limit: int) -> bool:
        self._health.check()
        with self._health.writing():
            self._writer.execute(
                "DELETE FROM chunk WHERE stream_id = ? AND start IN "
                "(SELECT start FROM chunk WHERE stream_id = ? ORDER BY start LIMIT ?)",
                (stream_id, stream_id, limit),
            )
            if self._writer.changes() >= limit:
                return False
            self._writer.execute("DELETE FROM producer WHERE stream_id = ?", (stream_id,))
            self._writer.execute("DELETE FROM garbage WHERE stream_id = ?", (stream_id,))
            return True

    def _announce(self, changed: Sequence[StreamState]) -> None:
        """On the event loop, before those who caused the changes hear that they are committed."""
        for stream in changed:
            for observer in self._observers:
                observer(stream)

    # What follows runs on the event loop or, where it says so, on a reading thread.

    def _as_used(self, stream: StreamState) -> StreamState:
        used_us = self._used.get(stream.path, 0) if stream.lifetime.ttl_s is not None else 0
        return replace(stream, used_us=used_us) if used_us > stream.used_us else stream

    def _read_chunks(self, stream_id: int, after: int, until: int, max_bytes: int, framed: bool) -> Page:
        """On a reading thread: chunks from disk, each checked, and that none is missing between them."""
        chunks: list[tuple[int, bytes]] = []
        end, wanted = after, min(until, after + max_bytes)
        with self._reader() as connection, schema.translated(self._file):
            rows = connection.execute(_CHUNKS, (stream_id, after, until))
            for start, checksum, appended_us, data in rows:
                records.check_chunk(stream_id, start, appended_us, data, checksum)
                if not start <= end < start + len(data):
                    break
                chunks.append((start, data))
                end = start + len(data)
                if end >= wanted:
                    break
            if end < wanted:
                self._refuse_unless_freed(connection, stream_id, end)
        self._joiner.note_read(stream_id, after, end, len(chunks))
        return _page(chunks, after, until, max_bytes, framed=framed)

    def _read_extents(self, stream_id: int, after: int, until: int, limit: int) -> Sequence[Extent]:
        """On a reading thread."""
        extents: list[Extent] = []
        end = after
        with self._reader() as connection, schema.translated(self._file):
            rows = connection.execute(_EXTENTS, (stream_id, after, until, limit))
            for start, size, appended_us in rows:
                if not start <= end < start + size:
                    break
                end = start + size
                extents.append(Extent(start, min(end, until), appended_us))
        return extents

    def _refuse_unless_freed(self, connection: apsw.Connection, stream_id: int, position: int) -> None:
        """On a reading thread: chunks may only be missing when they were freed, or their stream removed."""
        row = connection.execute("SELECT path, record, checksum FROM stream WHERE id = ?", (stream_id,)).get
        if row is not None and position >= records.decode_stream(*row).start:
            what = f"{self._file} lacks data of stream {stream_id} from position {position} on"
            raise schema.damaged(what, self._file)

    def _count_streams(self) -> int:
        """On a reading thread."""
        with self._reader() as connection, schema.translated(self._file):
            count: int = connection.execute("SELECT count(*) FROM stream").get
        return count

    def _select_streams(self, sql: str, parameters: tuple[object, ...]) -> Sequence[StreamState]:
        """On a reading thread."""
        with self._reader() as connection, schema.translated(self._file):
            rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
        return [records.decode_stream(*row) for row in rows]

    def _select_records(self, prefix: str) -> Mapping[str, bytes]:
        """On a reading thread."""
        with self._reader() as connection, schema.translated(self._file):
            rows: list[tuple[Any, ...]] = connection.execute(
                "SELECT key, value, checksum FROM record "
                "WHERE key >= ? AND key < ? AND substr(key, 1, ?) = ?",
                (prefix, f"{prefix}\U0010ffff", len(prefix), prefix),
            ).fetchall()
        return {key: records.check_record(key, value, checksum) for key, value, checksum in rows}

    @contextlib.contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        """A reading connection for one thread at a time; there are as many as were ever needed at once."""
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = schema.open_reader(self._file)
        try:
            yield connection
        finally:
            self._readers.append(connection)

    async def _keep_house(self) -> None:
        """Write down reads for the sliding TTL, join chunks, free what is left of removed streams."""
        leftovers: list[int] | None = None
        while True:
            try:
                if leftovers is None:
                    leftovers = cast("list[int]", await self._group.submit(lambda _staged: self._leftovers()))
                if self.trouble is not None:
                    await self._group.submit(lambda _staged: self._health.recover())
                await self._write_down_use()
                while await self._group.submit(lambda _staged: self._join()):
                    pass
                if leftovers and await self.purge(leftovers[-1], limit=_PURGE_CHUNKS):
                    leftovers.pop()
            except StoreHalted:
                pass  # the log says so already
            except StoreFailure:
                logger.exception("housekeeping failed; it is tried again")
            await asyncio.sleep(_HOUSEKEEPING_S)

    def _leftovers(self) -> list[int]:
        """On the writer thread: removed streams whose chunks are still there."""
        with schema.translated(self._file):
            rows: list[tuple[Any, ...]] = self._writer.execute("SELECT stream_id FROM garbage").fetchall()
        return [stream_id for (stream_id,) in rows]

    async def _write_down_use(self) -> None:
        noted = dict(self._used)
        if noted:
            await self.transact([ReadKey(path) for path in noted], _save_as_used)
            for path, used_us in noted.items():
                if self._used.get(path) == used_us:
                    self._used.pop(path, None)  # the writer thread may have been quicker


def _looks_different(one: StreamState, other: StreamState) -> bool:
    return (one.tail, one.id, one.closed, one.deleted, one.start, one.forks) != (
        other.tail,
        other.id,
        other.closed,
        other.deleted,
        other.start,
        other.forks,
    )


def _just_look(found: Sequence[Loaded], _now_us: int) -> Decision[StreamState | None]:
    return Decision((), found[0].stream)


def _save_as_used(found: Sequence[Loaded], _now_us: int) -> Decision[None]:
    return Decision([SaveStream(loaded.stream) for loaded in found if loaded.stream is not None], None)


def _page(
    chunks: Sequence[tuple[int, bytes]], after: int, until: int, max_bytes: int, *, framed: bool
) -> Page:
    """What a reader gets of consecutive chunks, the first of which holds position `after`."""
    parts: list[bytes] = []
    position = after
    for start, data in chunks:
        begin = position - start
        if framed and begin > 0 and not json_mode.is_boundary(data, begin):
            raise NotABoundary
        part = data[begin : until - start] if begin or start + len(data) > until else data
        if parts and position - after + len(part) > max_bytes:
            break
        parts.append(part)
        position += len(part)
        if position >= until:
            break
    return Page(after, parts[0] if len(parts) == 1 else b"".join(parts))
