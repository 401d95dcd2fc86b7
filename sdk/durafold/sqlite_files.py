"""Opening the SDK's SQLite files: any number of processes may do it at once, and none harms another's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["open_database"]

_BUSY_TIMEOUT_S: Final = 10.0


def open_database(path: Path, application_id: int, schema: Sequence[str]) -> sqlite3.Connection:
    """Open a file, or make it, readable for its owner only. Threads have to take turns with what it gives.

    A commit survives the death of the process; that of the machine may cost the last ones.

    Args:
        path: the file.
        application_id: what marks files of this kind.
        schema: statements that make its tables where they are missing.

    Raises:
        sqlite3.Error: it cannot be opened, or is something else.
    """
    with suppress(OSError):  # SQLite says it better
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
    try:
        _prepare(connection, application_id, schema)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, application_id: int, schema: Sequence[str]) -> None:
    # In one transaction: nobody sees a file that has tables and no mark, or takes another program's for ours.
    connection.execute("begin immediate")
    (found,) = connection.execute("pragma application_id").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if tables and found != application_id:
        connection.execute("rollback")
        raise sqlite3.DatabaseError("it is a database of something else")
    connection.execute(f"pragma application_id = {application_id}")
    for statement in schema:
        connection.execute(statement)
    connection.execute("commit")
    (mode,) = connection.execute("pragma journal_mode").fetchone()
    if mode != "wal":
        with suppress(sqlite3.OperationalError):  # another process is just doing it, or it works without
            connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
