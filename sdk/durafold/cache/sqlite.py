"""`SqliteStateCache`: confirmed states in a file, for processes that come and go."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio import to_thread

from durafold.cache.memory import CacheKey, CacheStats
from durafold.errors import ConfigurationError
from durafold.sqlite_files import open_database
from durafold.state.json_values import NotJson
from durafold.state.snapshot import Snapshot, dump_snapshot, load_snapshot

__all__ = ["SqliteStateCache"]

T = TypeVar("T")

_APPLICATION_ID: Final = 0x64664331  # "dfC1"
_SCHEMA: Final = (
    """
    create table if not exists entries (
        base_url text not null, path text not null, fingerprint text not null, scope text not null,
        snapshot text not null, size_bytes integer not null,
        saved_at_s real not null, used_at_s real not null,
        primary key (base_url, path, fingerprint, scope)
    ) without rowid
    """,
    "create index if not exists by_use on entries (used_at_s)",
)
_SELECT: Final = """
    select snapshot, saved_at_s, used_at_s from entries
    where base_url = ? and path = ? and fingerprint = ? and scope = ?
"""
_DELETE: Final = "delete from entries where base_url = ? and path = ? and fingerprint = ? and scope = ?"
_TOUCH: Final = """
    update entries set used_at_s = ?
    where base_url = ? and path = ? and fingerprint = ? and scope = ?
"""
_INSERT: Final = "insert or replace into entries values (?, ?, ?, ?, ?, ?, ?, ?)"
_EXCESS: Final = "select coalesce(sum(size_bytes), 0) - ? from entries"
_OLDEST: Final = "select base_url, path, fingerprint, scope, size_bytes from entries order by used_at_s"
_TOUCH_AFTER_S: Final = 60.0


class SqliteStateCache:
    """Keeps states in an SQLite file; the one that was not used for the longest time goes first.

    The file may be shared by threads and processes of one machine, and be deleted when nobody has it open.
    States travel through JSON: those that would come back different are not kept.

    Args:
        path: the file; it is made, readable for its owner only. Its directory must exist.
        max_bytes: how much the states may take together.
        ttl_s: seconds after which an entry that was not saved again is dropped.
        clock: seconds since 1970.

    Raises:
        ConfigurationError: (by the methods) the file cannot be opened, or is something else.

    Examples:
        >>> await party.server_state(0, "kept").set(5)
        5
        >>> for cache in SqliteStateCache("states.db"), SqliteStateCache("states.db"):  # as of two processes
        ...     loaded = await load_stream_with_reducer(url, "kept", set_state_reducer, 0, cache=cache)
        ...     loaded.state, loaded.fetched_count
        ...     cache.close()
        (5, 1)
        (5, 0)
    """

    def __init__(
        self,
        path: str | Path,
        max_bytes: int = 256 * 1024 * 1024,
        ttl_s: float = 30 * 86400.0,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._hits = self._misses = self._evictions = 0

    async def load(self, key: CacheKey) -> Snapshot[Any] | None:
        """The entry of a key, or None."""
        return await to_thread.run_sync(self._with_file, lambda file: self._load(file, key))

    async def save(self, key: CacheKey, snapshot: Snapshot[Any]) -> None:
        """Keep a snapshot in place of what was there.

        One that alone is larger than the cache may be is not kept, nor one that has no faithful JSON form.
        """
        try:
            text = json.dumps(dump_snapshot(snapshot, key.states), separators=(",", ":"))
        except NotJson:
            return
        await to_thread.run_sync(self._with_file, lambda file: self._save(file, key, text))

    async def drop(self, key: CacheKey) -> None:
        """Forget the entry of a key."""
        await to_thread.run_sync(self._with_file, lambda file: file.execute(_DELETE, _columns(key)))

    def stats(self) -> CacheStats:
        """How the cache is doing; hits, misses and evictions are those of this process."""
        return self._with_file(self._stats)

    def clear(self) -> None:
        """Forget everything."""
        self._with_file(lambda file: file.execute("delete from entries"))

    def delete(self, path: str) -> None:
        """Forget all entries of a stream, whatever folded them and whosever they are."""
        self._with_file(lambda file: file.execute("delete from entries where path = ?", [path]))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _with_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = open_database(self._path, _APPLICATION_ID, _SCHEMA)
                return _in_transaction(self._connection, work)
            except sqlite3.Error as exc:
                raise ConfigurationError(
                    f"The cache {self._path} cannot be used: {exc}", hint="Delete it, or name another file"
                ) from exc

    def _load(self, file: sqlite3.Connection, key: CacheKey) -> Snapshot[Any] | None:
        now_s = self._clock()
        row = file.execute(_SELECT, _columns(key)).fetchone()
        snapshot = None
        if row is not None and now_s - row[1] < self._ttl_s:
            with suppress(ValueError):
                snapshot = load_snapshot(json.loads(row[0]), key.states)
        if row is None or snapshot is None:
            self._misses += 1
            return None
        self._hits += 1
        if now_s - row[2] > _TOUCH_AFTER_S:
            file.execute(_TOUCH, [now_s, *_columns(key)])
        return snapshot

    def _save(self, file: sqlite3.Connection, key: CacheKey, text: str) -> None:
        now_s, size_bytes = self._clock(), len(text)
        if size_bytes > self._max_bytes:
            file.execute(_DELETE, _columns(key))
            return
        file.execute("delete from entries where saved_at_s <= ?", [now_s - self._ttl_s])
        file.execute(
            _INSERT,
            [*_columns(key), text, size_bytes, now_s, now_s],
        )
        self._make_room(file)

    def _make_room(self, file: sqlite3.Connection) -> None:
        (excess,) = file.execute(_EXCESS, [self._max_bytes]).fetchone()
        oldest = file.execute(_OLDEST).fetchall()[::-1]
        while excess > 0:
            *columns, size_bytes = oldest.pop()
            file.execute(_DELETE, columns)
            excess -= size_bytes
            self._evictions += 1

    def _stats(self, file: sqlite3.Connection) -> CacheStats:
        size, size_bytes = file.execute(
            "select count(*), coalesce(sum(size_bytes), 0) from entries"
        ).fetchone()
        paths = tuple(row[0] for row in file.execute("select distinct path from entries order by path"))
        return CacheStats(size, size_bytes, paths, self._hits, self._misses, self._evictions)


def _columns(key: CacheKey) -> list[str]:
    return [key.base_url, key.path, key.fingerprint, key.scope]


def _in_transaction(file: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    file.execute("begin immediate")
    try:
        result = work(file)
    except BaseException:
        file.execute("rollback")
        raise
    file.execute("commit")
    return result
