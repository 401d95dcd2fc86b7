"""`Outbox`: own actions in a file until they have come back, so that they survive the death of the process.

What it keeps for each key is what the next process needs to go on as the same client: the client id, its
producer epoch, its counter, and the actions whose echo was not folded yet, with the ids that they have. What
makes it exactly once are the rules of every client: readers ignore a second copy of an id, a newer epoch
shuts out what the dead process may still have on its way, and before anything is sent again, everything that
has arrived is read.

A commit here comes before the action can leave the process. It survives `kill -9`; the death of the machine
may cost the last few, and then the client takes another id instead of using one twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from durafold.errors import ConfigurationError, StateError
from durafold.sqlite_files import open_database

__all__ = ["KeyOutbox", "Outbox", "Resumed", "SavedWrite"]

_APPLICATION_ID: Final = 0x64664F31  # "dfO1"
_SCHEMA: Final = (
    """
    create table if not exists clients (
        scope text primary key, client_id text not null, epoch integer not null, counter integer not null
    ) without rowid
    """,
    """
    create table if not exists writes (
        scope text not null, ticket integer not null, n integer, kind text not null, payload text not null,
        if_revision integer, ts_ms integer not null, seed text,
        primary key (scope, ticket)
    ) without rowid
    """,
)
_INSERT_WRITE: Final = "insert or replace into writes values (?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE_COUNTER: Final = "update clients set counter = ? where scope = ?"


@dataclass(frozen=True, slots=True)
class SavedWrite:
    """An action in the file.

    Attributes:
        ticket: its place in the order of dispatching.
        n: its number under the client id, once it was handed to the network.
        kind: type of its message.
        payload: of its message.
        if_revision: of a functional update: the revision that it was computed from.
        ts_ms: when it was dispatched, milliseconds since 1970.
        seed: chance for the reducer, if it asks for it.
    """

    ticket: int
    n: int | None
    kind: str
    payload: Any
    if_revision: int | None
    ts_ms: int
    seed: str | None


@dataclass(frozen=True, slots=True)
class Resumed:
    """What an earlier process left for a key.

    Attributes:
        client_id: whose actions these are.
        epoch: the last producer epoch that was used.
        counter: the last number that was given.
        writes: actions that have not come back, in order.
    """

    client_id: str
    epoch: int
    counter: int
    writes: Sequence[SavedWrite]


class Outbox:
    """The file. One process at a time: two that go on as the same client would shut each other out.

    Args:
        path: the file; it is made, readable for its owner only. Its directory must exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[bytes] | None = None
        self._file: sqlite3.Connection | None = None

    def open(self) -> None:
        """Take the file.

        Raises:
            ConfigurationError: another process has it, it cannot be opened, or is something else.
        """
        self._take_lock()
        try:
            self._file = open_database(self.path, _APPLICATION_ID, _SCHEMA)
        except sqlite3.Error as exc:
            self.close()
            raise ConfigurationError(
                f"The outbox {self.path} cannot be used: {exc}", hint="Name another file"
            ) from exc

    def _take_lock(self) -> None:
        import fcntl  # there is none on Windows, where everything else works

        lock_path = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock = lock_path.open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self.close()
            raise ConfigurationError(
                f"The outbox {self.path} is in use, or cannot be made: {exc}",
                hint="Give every process, and every provider, a file of its own",
            ) from exc

    def close(self) -> None:
        """Give the file up; it may be called more than once."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.close()  # and with it the lock, as when the process dies
            self._lock = None

    def of(self, base_url: str, scope: str, key: str) -> KeyOutbox:
        """The part of one key.

        Raises:
            ConfigurationError: the file is not open.
        """
        if self._file is None:
            raise ConfigurationError("The outbox is not open")
        return KeyOutbox(self._file, json.dumps([base_url, scope, key]))


class KeyOutbox:
    """The part of one key. All methods commit before they return.

    Raises:
        StateError: (by all methods) the file cannot be written.
    """

    def __init__(self, file: sqlite3.Connection, scope: str) -> None:
        self._file = file
        self._scope = scope

    def resume(self) -> Resumed | None:
        """What an earlier process left, or None if this is the first."""
        found = self._file.execute(
            "select client_id, epoch, counter from clients where scope = ?", [self._scope]
        ).fetchone()
        if found is None:
            return None
        rows = self._file.execute(
            "select ticket, n, kind, payload, if_revision, ts_ms, seed from writes"
            " where scope = ? order by ticket",
            [self._scope],
        )
        writes = [SavedWrite(row[0], row[1], row[2], json.loads(row[3]), *row[4:]) for row in rows]
        client_id, epoch, counter = found
        return Resumed(client_id, epoch, counter, writes)

    def identify(self, client_id: str, epoch: int, counter: int) -> None:
        """Note as whom, and under which epoch, everything is sent from now on."""
        row = [self._scope, client_id, epoch, counter]
        self._commit([("insert or replace into clients values (?, ?, ?, ?)", row)])

    def add(self, write: SavedWrite) -> None:
        """Keep an action."""
        self._commit([(_INSERT_WRITE, self._row(write))])

    def name(self, writes: Sequence[SavedWrite], counter: int) -> None:
        """Note what actions are sent as."""
        self._commit(
            [
                (_UPDATE_COUNTER, [counter, self._scope]),
                *((_INSERT_WRITE, self._row(write)) for write in writes),
            ]
        )

    def remove(self, ticket: int) -> None:
        """Forget an action whose fate is known."""
        self._commit([("delete from writes where scope = ? and ticket = ?", [self._scope, ticket])])

    def _row(self, write: SavedWrite) -> list[Any]:
        payload = json.dumps(write.payload, separators=(",", ":"))
        last = [write.if_revision, write.ts_ms, write.seed]
        return [self._scope, write.ticket, write.n, write.kind, payload, *last]

    def _commit(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        try:
            self._file.execute("begin immediate")
            try:
                for statement, values in statements:
                    self._file.execute(statement, values)
            except BaseException:
                self._file.execute("rollback")
                raise
            self._file.execute("commit")
        except sqlite3.Error as exc:
            raise StateError(f"The outbox cannot be written: {exc}") from exc
