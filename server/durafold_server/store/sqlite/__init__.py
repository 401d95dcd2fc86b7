"""Streams in one SQLite file: durable, crash-safe, for one server process.

=============  ==================================================================
store          `SqliteStore`: the `StreamStore` interface, transactions, visibility
schema         tables, pragmas, opening and checking a file
records        rows ↔ values, with their checksums
tail_cache     the newest data of busy streams, in memory
lock           one process per data directory
=============  ==================================================================
"""

from durafold_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
