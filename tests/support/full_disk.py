"""A module that a server process imports by `--reducers`: it has no more room while a file says so.

Its database may then not grow, and SQLite says what it says on a full disk: `SQLITE_FULL`. A real one is out
of reach for tests: to mount a small one takes root, and a limit to the size of files is another error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import apsw

__all__ = ["VARIABLE", "durafold_bindings"]

VARIABLE: Final = "DURAFOLD_TESTS_NO_ROOM_IF"
"""Names the file in whose presence there is no room."""

_PLENTY: Final = 2**31 - 2
durafold_bindings: Final[dict[str, Any]] = {}


def _limited(connection: apsw.Connection) -> None:
    """Have a connection look before each of its transactions."""

    def before(_cursor: apsw.Cursor, sql: str, _bindings: apsw.Bindings | None) -> bool:
        if sql.startswith("BEGIN"):
            is_full = Path(os.environ[VARIABLE]).exists()
            connection.pragma("max_page_count", connection.pragma("page_count") if is_full else _PLENTY)
        return True

    connection.exec_trace = before


if VARIABLE in os.environ:
    apsw.connection_hooks.append(_limited)
