"""Tables and pragmas of the store's file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from durafold_server.store.base import StoreDamaged, StoreFailure, StoreFull
from durafold_server.store.sqlite import wal

FILE_NAME: Final = "streams.db"
VERSION: Final = 3
PAGE_BYTES: Final = 8192
_CUT_SHORT: Final = (apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS)
_APPLICATION_ID: Final = 0x64757261  # "dura"
_LATER_FORMATS: Final = 1000  # no format has a number like this; a damaged one may

TABLE_NAMES: Final = frozenset({"stream", "chunk", "producer", "record", "sqlite_sequence"})
"""In every format of the file."""

# stream.record and chunk.data carry checksums (see records); expires_us only speeds up the search for
# expired streams. A chunk holds the bytes of one or more whole appends from position `start` on, the last of
# which came at `appended_us` (0 in chunks of format 1, which did not note it). Rows of `garbage` are removed
# streams whose chunks are still to be freed. A producer's owner is the mark of whom it belongs to, if anybody
# (in formats 1 and 2 to nobody). `record` holds values of the server's own. A new column goes
# last in its table, as it does in a file that gets it later: so `repair` can read the rows of any of them.
# AUTOINCREMENT keeps the greatest id ever used in sqlite_sequence, so that ids (and with them offsets) never
# repeat; its row is made here, so that ids of streams that lived within one batch can be noted as well.
_TABLES: Final = """
CREATE TABLE stream(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    expires_us INTEGER
) STRICT;
CREATE INDEX stream_by_expiry ON stream(expires_us) WHERE expires_us IS NOT NULL;
CREATE TABLE chunk(
    stream_id INTEGER NOT NULL,
    start INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    data BLOB NOT NULL,
    appended_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(stream_id, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE producer(
    stream_id INTEGER NOT NULL,
    producer_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    owner BLOB,
    PRIMARY KEY(stream_id, producer_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE garbage(stream_id INTEGER PRIMARY KEY) STRICT;
CREATE TABLE record(
    key TEXT PRIMARY KEY,
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO sqlite_sequence VALUES('stream', 0);
"""
_CREATE: Final = (
    f"BEGIN IMMEDIATE; {_TABLES}"
    f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
)
# From each format to the next. Adding a column writes the table's definition only. As the tables are STRICT,
# SQLite reads their rows once.
_TO_NEXT: Final = {
    1: "ALTER TABLE chunk ADD COLUMN appended_us INTEGER NOT NULL DEFAULT 0;",
    2: "ALTER TABLE producer ADD COLUMN owner BLOB;",
}


def open_writer(file: Path) -> apsw.Connection:
    """The one connection that writes; creates the tables in a new file, and brings an older one up to date.

    Raises:
        StoreFailure: the file is no store of ours, of a newer version, or cannot be opened.
    """
    with translated(file):
        if unfinished(file):
            raise damaged(f"the repair of {file} was interrupted", file)
        if wal.is_orphan(file):  # SQLite would delete the log and begin a new file
            raise damaged(f"{file} is cut off", file)
        wal.settle(file)
        _refuse_unreadable_log(wal.has_usable_header(file), file)
        connection = apsw.Connection(str(file))
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a refused file is left as it is
        connection.set_busy_timeout(5000)
        is_new = _is_new(connection, file)  # before the pragmas, which would change another program's file
        _refuse_unreadable_log(is_new or not wal.lacks_commits(file), file)
        if not is_new:
            _check_streams(connection, file)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: every commit is synced before it is acknowledged.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_CREATE if is_new else _upgrade(connection.pragma("user_version")))
        return connection


def _upgrade(version: int) -> str:
    """What brings a file of a format up to date; nothing for the present one."""
    steps = "".join(_TO_NEXT[number] for number in range(version, VERSION))
    return f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT" if steps else ""


def greatest_id(connection: apsw.Connection, file: Path) -> int:
    """The greatest id a stream of this file ever had.

    Raises:
        StoreFailure: it cannot be read.
    """
    with translated(file):
        greatest: int | None = connection.execute(
            "SELECT max(seq) FROM sqlite_sequence WHERE name = 'stream'"
        ).get
    return greatest or 0


def open_reader(file: Path) -> apsw.Connection:
    """A connection that reads beside the writer.

    Raises:
        StoreFailure: the file cannot be opened.
    """
    with translated(file):
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        return connection


@contextlib.contextmanager
def translated(file: Path) -> Iterator[None]:
    """Turn the database's errors into the store's, naming the file."""
    try:
        yield
    except apsw.FullError as exc:
        raise StoreFull(f"the disk that holds {file} is full") from exc
    except (apsw.CorruptError, apsw.NotADBError) as exc:
        raise damaged(f"{file} is damaged ({exc})", file) from exc
    except apsw.IOError as exc:
        if getattr(exc, "extendedresult", None) in _CUT_SHORT:
            raise damaged(f"{file} is damaged ({exc})", file) from exc
        raise StoreFailure(f"{file}: {exc}") from exc
    except (apsw.Error, OSError) as exc:
        raise StoreFailure(f"{file}: {exc}") from exc


def damaged(what: str, file: Path) -> StoreDamaged:
    """The error that says what is damaged, and what can be done."""
    return StoreDamaged(f"{what}; restore it from a backup, or end the server and run: {remedy(file)}")


def marker_of(file: Path) -> Path:
    """The file that says that a repair has begun to move files."""
    return file.with_name("repair-unfinished")


def unfinished(file: Path) -> bool:
    """Whether a repair was interrupted, so that the directory must not be used."""
    return marker_of(file).exists()


def remedy(file: Path) -> str:
    """The command that salvages what is undamaged."""
    return f"durafold repair --data {file.parent}"


def _check_streams(connection: apsw.Connection, file: Path) -> None:
    """Compare the streams with the index that finds them by path; takes about 2 µs a stream.

    Data is checked when it is read. But a stream that the index does not name is not read: it would be "no
    such stream", and could be created a second time.
    """
    found = connection.execute("PRAGMA integrity_check(stream)").get
    if found != "ok":
        raise damaged(f"the list of streams in {file} is damaged ({found})", file)


def _refuse_unreadable_log(is_readable: bool, file: Path) -> None:
    if not is_readable:
        raise damaged(f"{wal.path_of(file)} is damaged: it holds acknowledged data that cannot be read", file)


def check_format(connection: apsw.Connection, file: Path) -> None:
    """Make sure that a file is a store of this version.

    Raises:
        StoreDamaged: its header is.
        StoreFailure: it is empty, or of another program or version.
    """
    if _is_new(connection, file):
        raise StoreFailure(f"{file} is empty")


def _is_new(connection: apsw.Connection, file: Path) -> bool:
    tables = _tables(connection, file)
    version, application_id = connection.pragma("user_version"), connection.pragma("application_id")
    if 1 <= version <= VERSION and application_id == _APPLICATION_ID:
        return False
    if version == 0 and not tables:
        return True
    is_later = application_id == _APPLICATION_ID and VERSION < version < _LATER_FORMATS
    if tables >= TABLE_NAMES and not is_later:
        raise damaged(f"the header of {file} is damaged", file)
    raise StoreFailure(
        f"{file} was written by another program or by a newer version of this one "
        f"(format {version}, this is {VERSION})"
    )


def _tables(connection: apsw.Connection, file: Path) -> set[str]:
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    except apsw.SQLError as exc:  # numbers in the header that SQLite does not know
        raise damaged(f"the header of {file} is damaged ({exc})", file) from exc
