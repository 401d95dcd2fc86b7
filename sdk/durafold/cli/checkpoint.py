"""Where a reader stands, kept in a file, so that a later run goes on from there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durafold.errors import ConfigurationError
from durafold.wire.offsets import START, Offset, is_valid_token

__all__ = ["CheckpointFile", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a stream: everything before it was printed.

    Attributes:
        offset: an offset of the server.
        skip: how much behind it was printed too: messages of a JSON stream, bytes of others. Offsets lie
            between pages, and a reader may stop within one.
    """

    offset: Offset = START
    skip: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A file that holds one place of one stream.

    Attributes:
        path: the file.
        stream: URL of the stream, without secrets.
    """

    path: Path
    stream: str

    def load(self) -> Place | None:
        """The place in the file; None if there is no file.

        Raises:
            ConfigurationError: it cannot be read, is of another stream, or could not be written later, when
                messages are printed that the next run would print again.
        """
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"Cannot write the checkpoint {self.path}: its directory is not there, or not writable",
                hint="Make the directory, or name another file",
            )
        try:
            value = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise self._useless(str(exc)) from exc
        if not isinstance(value, dict) or not _is_place(value):
            raise self._useless("it does not hold a place in a stream")
        if value.get("stream") != self.stream:
            raise self._useless(f"it is of {value.get('stream')}")
        return Place(Offset(value["offset"]), value["skip"])

    def save(self, place: Place) -> None:
        """Put a place into the file, whole or not at all.

        Raises:
            ConfigurationError: it cannot be written.
        """
        text = json.dumps({"stream": self.stream, "offset": place.offset, "skip": place.skip})
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            beside.write_text(f"{text}\n")
            beside.replace(self.path)
        except OSError as exc:
            beside.unlink(missing_ok=True)
            raise ConfigurationError(f"Cannot write the checkpoint {self.path} ({exc.strerror})") from exc

    def _useless(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"The checkpoint {self.path} cannot be used: {why}", hint="Use another file, or delete it"
        )


def _is_place(value: dict[str, Any]) -> bool:
    offset, skip = value.get("offset"), value.get("skip")
    return isinstance(offset, str) and is_valid_token(offset) and isinstance(skip, int) and skip >= 0
