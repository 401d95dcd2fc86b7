"""The last state of every stream, on disk: what pages show after a start without the stream server.

Only confirmed states are kept, each with its place in the stream and its reducer's fingerprint, in the form
of a hydration payload. A start with the server up therefore fetches only what is new, and one with another
reducer finds nothing. Losing a file costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from durafold.errors import ConfigurationError
from durafold.hydrate import HydrationPayload
from durafold.state.json_values import NotJson
from durafold.state.models import Model
from durafold.state.snapshot import Snapshot, dump_snapshot

__all__ = ["LastStates"]

logger = logging.getLogger("durafold.reflex")


class LastStates:
    """One file per stream. A file is replaced as a whole, so a crash leaves the old state or the new one.

    Nothing is synced: after a power cut a file may be unreadable, and is then ignored.

    Args:
        directory: where the files are; made when first needed, for its owner only.
        base_url: where the streams are, so that those of two servers are kept apart.
    """

    def __init__(self, directory: Path, base_url: str) -> None:
        self._directory = directory
        self._base_url = base_url
        self._kept: dict[str, str] = {}
        self._reported: set[str] = set()

    def load(self, key: str) -> HydrationPayload:
        """What was kept of a stream; an empty payload if nothing was, or if it cannot be read."""
        try:
            return HydrationPayload.load(self._file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return HydrationPayload({})

    def save(self, key: str, snapshot: Snapshot[Any] | None, model: Model) -> None:
        """Keep a state in place of the one before; blocks for as long as the disk takes.

        A state that cannot be kept is reported once, in the log of `durafold.reflex`.

        Args:
            key: the stream's.
            snapshot: None, if there is nothing that may be kept, does nothing.
            model: how such states travel.
        """
        if snapshot is None or snapshot.offset == self._kept.get(key):
            return
        self._kept[key] = snapshot.offset
        try:
            _replace(self._file(key), HydrationPayload({}, {key: dump_snapshot(snapshot, model)}).dump())
        except (ConfigurationError, NotJson, OSError) as error:
            if key not in self._reported:
                self._reported.add(key)
                logger.warning("The last state of %s is not kept in %s: %s", key, self._directory, error)

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._base_url}/{key}".encode()).hexdigest()[:32]
        return self._directory / f"{name}.json"


def _replace(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".json")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
