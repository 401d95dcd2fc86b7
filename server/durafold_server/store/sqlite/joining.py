"""Joins small neighbouring chunks, so that reading a stream costs no row per append.

A lone append is a chunk of its own. Offsets count bytes, so chunks can be joined without changing one. The
writer thread does it in steps between batches, each a short transaction of bounded rows and bytes. A reader
sees all of a step or nothing of it. After a crash it is the same: chunks are there either apart or joined.

Work is found in two ways. Commits are counted for each stream until joining is worth it. And a read that had
to gather many chunks says so, which finds what earlier processes left, and what was worth joining only once.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from durafold_server.store.sqlite import records, schema
from durafold_server.store.sqlite.staged import MAX_CHUNK_BYTES, Written

SMALL_CHUNK_BYTES: Final = MAX_CHUNK_BYTES // 8
"""Larger ones are left alone: they make up few rows as they are."""
_WORTH_JOINING: Final = 64  # fewer are cheap to read apart, and more would be written at once
_STEP_CHUNKS: Final = 512
_MAX_COUNTED_STREAMS: Final = 10_000
_MAX_NOTED_READS: Final = 1_000


class _Stretch(NamedTuple):
    """Chunks of one stream that begin at `start` or later, but before `until`."""

    stream_id: int
    start: int
    until: int


class _Counted:
    """Chunks that came one after another since the stream was last joined."""

    __slots__ = ("chunks", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.chunks = 0


class Joiner:
    """Finds chunks to join and joins them; all but `note_read` on the writer thread.

    Args:
        writer: the connection that writes.
        file: what it writes to.
    """

    def __init__(self, writer: apsw.Connection, file: Path) -> None:
        self._writer = writer
        self._file = file
        # The ones longest without a commit are forgotten first; a read will find what they leave.
        self._counted: OrderedDict[int, _Counted] = OrderedDict()
        self._due: deque[_Stretch] = deque()
        self._reads: deque[_Stretch] = deque(maxlen=_MAX_NOTED_READS)

    def note_commit(self, stream_id: int, start: int, size: int) -> None:
        """A chunk was committed at a stream's tail."""
        if size > SMALL_CHUNK_BYTES:
            return
        counted = self._counted.get(stream_id)
        if counted is None:
            counted = self._counted[stream_id] = _Counted(start)
            if len(self._counted) > _MAX_COUNTED_STREAMS:
                self._counted.popitem(last=False)
        else:
            self._counted.move_to_end(stream_id)
        counted.chunks += 1
        counted.end = start + size
        if counted.chunks == _WORTH_JOINING:
            del self._counted[stream_id]
            self._due.append(_Stretch(stream_id, counted.start, counted.end))

    def note_read(self, stream_id: int, start: int, until: int, chunks: int) -> None:
        """A page was gathered from so many chunks. On any thread."""
        if chunks >= _WORTH_JOINING:
            self._reads.append(_Stretch(stream_id, start, until))

    def forget(self, stream_id: int) -> None:
        """The stream was removed."""
        self._counted.pop(stream_id, None)

    def step(self) -> bool:
        """Join some chunks, if any are worth it; False when there are none.

        Raises:
            StoreDamaged: a chunk fails its checksum. It is left as it is.
            StoreFailure: nothing was changed.
        """
        if self._due:
            stretch = self._due.popleft()
        elif self._reads:
            stretch = self._reads.popleft()
        else:
            return False
        rest = self._join_first(stretch)
        if rest is not None:
            self._due.appendleft(rest)
        return True

    def _join_first(self, stretch: _Stretch) -> _Stretch | None:
        """Join the chunks at the beginning of a stretch that fit into one; returns what follows them."""
        with schema.translated(self._file):
            run = self._select_run(stretch)
            if not run:
                return None
            if len(run) > 1:
                self._replace(run)
        end = run[-1].start + len(run[-1].data)
        return stretch._replace(start=end) if end < stretch.until else None

    def _select_run(self, stretch: _Stretch) -> Sequence[Written]:
        """The first small chunks that follow each other and fit into one, each checked; or a big one."""
        run: list[Written] = []
        size = 0
        with contextlib.closing(self._writer.cursor()) as cursor:
            rows = cursor.execute(
                "SELECT start, checksum, appended_us, data FROM chunk "
                "WHERE stream_id = ? AND start >= ? AND start < ? ORDER BY start LIMIT ?",
                (*stretch, _STEP_CHUNKS),
            )
            for start, checksum, appended_us, data in rows:
                if run and not (start == run[0].start + size and _may_join(run, size, data)):
                    break
                records.check_chunk(stretch.stream_id, start, appended_us, data, checksum)
                run.append(Written(stretch.stream_id, start, appended_us, data))
                size += len(data)
        return run

    def _replace(self, run: Sequence[Written]) -> None:
        """Have one chunk with the data of these; it is as young as the youngest, so retention keeps it."""
        first, last = run[0], run[-1]
        joined = first._replace(appended_us=last.appended_us, data=b"".join([part.data for part in run]))
        # Synced like every commit: what `health` and `wal` conclude from the log after a failed sync or crash
        # rests on each of its commits being on the disk before the next one is begun.
        with self._writer:
            self._writer.execute(
                "DELETE FROM chunk WHERE stream_id = ? AND start > ? AND start <= ?",
                (joined.stream_id, first.start, last.start),
            )
            self._writer.execute(
                "UPDATE chunk SET appended_us = ?3, data = ?4, checksum = ?5 "
                "WHERE stream_id = ?1 AND start = ?2",
                (*joined, records.chunk_checksum(*joined)),
            )


def _may_join(run: Sequence[Written], run_bytes: int, data: bytes) -> bool:
    largest = max(len(run[0].data), len(data))  # what follows the first one is small
    return largest <= SMALL_CHUNK_BYTES and run_bytes + len(data) <= MAX_CHUNK_BYTES
