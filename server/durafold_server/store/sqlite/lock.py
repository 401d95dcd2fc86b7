"""One server process per data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from durafold_server.store.base import StoreFailure


class DirectoryLock:
    """Held while a store is open; the system lets go of it when the process dies, however it dies.

    Args:
        directory: the data directory; created, readable by this user only, if it does not exist.

    Raises:
        StoreFailure: another process holds it, or the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        try:
            _make(directory)
            self._file = path.open("a+")
        except OSError as exc:
            raise StoreFailure(f"cannot use {directory} for data: {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StoreFailure(
                f"{directory} is in use by another server (process {holder}); "
                "end it, or choose another directory with --data"
            ) from exc
        with contextlib.suppress(OSError):  # a full disk is no reason not to serve what is there
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()

    def release(self) -> None:
        """Let another process have the directory. Idempotent."""
        self._file.close()


def _make(directory: Path) -> None:
    """Make a directory that outlasts a power cut: SQLite sees to its own files only."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        with contextlib.suppress(PermissionError):  # one may make a directory where one may not look
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
