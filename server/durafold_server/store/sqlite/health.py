"""Whether the store's writes can be trusted, and what to do when the disk says they failed.

After a failed write or sync nobody knows what is on the disk, and the system does not help: Linux reports a
failed sync once and may then call the pages clean, so that the next sync succeeds without writing them.
Hence a failed write *halts* the store: no further write is begun, reads go on, and nothing is retried as if
nothing had happened. The way back needs no guess about what the failed write left behind:

1. The index of the write-ahead log, which is in memory, still ends at the last commit that succeeded. From
   there all acknowledged pages are written once more, into the main file, and that file is synced. Only
   what is written anew is believed, never what was to be synced before and failed.
2. The log is truncated. The next commit begins another one with other salts, so no frame of the failed write
   can ever be taken for a part of it.
3. A commit that changes nothing must succeed, sync included.

Closing the file and opening it again would be worse: recovery would read the failed commit's frames from the
system's cache, where they look whole, and later commits would stand on frames that the disk never got.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from durafold_server.store.base import StoreFailure, StoreFull, StoreHalted
from durafold_server.store.sqlite import schema, wal

logger = logging.getLogger(__name__)

CHECKPOINT_FRAMES: Final = 4000
"""Commits copy the log into the main file once it has this many pages."""

_RETRY_S: Final = 1.0
# What the disk or the system says; no room, damage, or a refused constraint say nothing about the disk.
_DISTRUSTED: Final = (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.ProtocolError)


class Health:
    """Halts and resumes the writes of one store. Used by its writer thread; `reason` by any.

    Args:
        file: the store's file.
        writer: the connection that writes.
    """

    def __init__(self, file: Path, writer: apsw.Connection) -> None:
        self._file = file
        self._writer = writer
        self._next_try_s = 0.0
        self.reason: str | None = None
        # Frames of a commit that failed or was torn must not lie behind later ones: see `wal.lacks_commits`.
        self._has_stale_frames = wal.has_torn_end(file)
        # In the place of SQLite's own hook, which keeps a failed checkpoint to itself.
        writer.set_wal_hook(self._after_commit)

    def check(self) -> None:
        """Let a write begin, after trying to recover if the store is halted.

        Raises:
            StoreHalted: it is still halted; nothing was written.
            StoreFull: there is still no room; nothing was written.
        """
        if self.reason is not None and not self.recover():
            raise StoreHalted(self.reason)
        if self._has_stale_frames:
            self._begin_log_anew()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around a transaction: halts the store if the disk fails it.

        Raises:
            StoreFull: there was no room; nothing was written.
            StoreFailure: it failed; whether it will be there after a crash is unknown.
        """
        with schema.translated(self._file):
            try:
                yield
            except _DISTRUSTED as exc:
                self._halt(f"writing to {self._file} failed ({exc})")
                raise
            except BaseException:
                self._has_stale_frames = True
                raise

    def recover(self) -> bool:
        """Resume writes if all that was acknowledged can be written anew; tried once a second at most."""
        if self.reason is None:
            return True
        if time.monotonic() < self._next_try_s:
            return False
        try:
            with schema.translated(self._file):
                is_done = self._write_anew()
        except StoreFailure as exc:
            is_done = False
            logger.warning("still not writing: %s", exc)
        if is_done:
            self.reason = None
            logger.warning("writing to %s works again; nothing that was acknowledged is lost", self._file)
        else:
            self._next_try_s = time.monotonic() + _RETRY_S
        return is_done

    def _begin_log_anew(self) -> None:
        if time.monotonic() < self._next_try_s:
            raise StoreFull(f"the disk that holds {self._file} is full")
        self._next_try_s = time.monotonic() + _RETRY_S
        with self.writing():
            if not self._truncate_log():
                raise StoreHalted(f"the log of {self._file} is being read")
        self._next_try_s = 0.0

    def _truncate_log(self) -> bool:
        """Copy the log into the file, sync that, and empty the log; False while a reader needs it."""
        busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        self._has_stale_frames = self._has_stale_frames and bool(busy)
        return not busy

    def _write_anew(self) -> bool:
        if not self._truncate_log():
            return False
        self._writer.execute("UPDATE sqlite_sequence SET seq = seq WHERE name = 'stream'")
        return True

    def _after_commit(self, connection: apsw.Connection, database: str, frames: int) -> int:
        """The commit is durable already: whatever happens here is no failure of it."""
        if frames >= CHECKPOINT_FRAMES:
            try:
                connection.wal_checkpoint(database, apsw.SQLITE_CHECKPOINT_PASSIVE)
            except _DISTRUSTED as exc:
                self._halt(f"copying the log into {self._file} failed ({exc})")
            except apsw.Error as exc:
                logger.warning("the log of %s was not copied into it (%s); it grows", self._file, exc)
        return apsw.SQLITE_OK

    def _halt(self, reason: str) -> None:
        if self.reason is None:
            logger.error(
                "%s. Writes are refused until it works again; reads go on, and nothing that was "
                "acknowledged is lost. Look at the disk and the system's log.",
                reason,
            )
        self.reason = reason
        self._next_try_s = time.monotonic() + _RETRY_S
