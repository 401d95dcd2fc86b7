"""The face of `durafold.state_protocol.StreamDB`."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from durafold import state_protocol
from durafold.blocking.mirror import Face, face_of, waits
from durafold.blocking.stream import DurableStream
from durafold.client import Checkpoint, LiveMode, Offset, ReadStatus
from durafold.errors import DurafoldError
from durafold.state_protocol import Collection, InvalidChange, Table

__all__ = ["StreamDB"]

M = TypeVar("M", bound=BaseModel)


@face_of(state_protocol.StreamDB)
class StreamDB(Face[state_protocol.StreamDB]):
    # Tables are plain memory whose rows are exchanged as a whole by a commit, so any thread may read them.

    def __init__(self, stream: DurableStream, *collections: Collection[Any], live: LiveMode = "auto") -> None:
        super().__init__(state_protocol.StreamDB(stream.target, *collections, live=live), stream.portal)
        self.stream = stream
        self._held: AbstractContextManager[state_protocol.StreamDB] | None = None

    def __getitem__(self, collection: Collection[M]) -> Table[M]:
        return self._target[collection]

    @property
    def faults(self) -> deque[InvalidChange]:
        """Messages that are no valid changes, the last 100."""
        return self._target.faults

    @property
    def offset(self) -> Offset:
        return self._target.offset

    @property
    def checkpoint(self) -> Checkpoint:
        return self._target.checkpoint

    @property
    def up_to_date(self) -> bool:
        return self._target.up_to_date

    @property
    def status(self) -> ReadStatus:
        return self._target.status

    @property
    def error(self) -> DurafoldError | None:
        return self._target.error

    preload = waits(state_protocol.StreamDB.preload)
    await_txid = waits(state_protocol.StreamDB.await_txid)
    write = waits(state_protocol.StreamDB.write)

    def __enter__(self) -> Self:
        held = self._portal.held(self._target)
        held.__enter__()
        self._held = held
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        assert self._held is not None
        return self._held.__exit__(exc_type, exc, tb)
