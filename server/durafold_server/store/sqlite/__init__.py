"""Streams in one SQLite file: durable, crash-safe, for one server process.

=============  ==================================================================
store          `SqliteStore`: the `StreamStore` interface, transactions, visibility
schema         tables, pragmas, opening and checking a file
health         stops writing when the disk fails, and goes on once it works
wal            the write-ahead log as a file, before SQLite reads it
staged         what a batch of transactions will write
records        rows ↔ values, with their checksums
tail_cache     the newest data of busy streams, in memory
lock           one process per data directory
salvage        reads what can be believed in a damaged file
repair         `durafold repair`: rebuilds a directory from that
=============  ==================================================================
"""

from durafold_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
