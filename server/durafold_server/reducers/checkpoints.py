"""Folded states that outlive the process, and the data that led to them.

They are records of the store, one for each path, so that no client can write them: a snapshot beside the
stream (`todos/__snapshot__/…`) is what some client says, and nobody is judged by that. A state is kept with
the place in the stream that it belongs to, and with the fingerprint of its reducer; if either does not match,
it is as if there were none. As everywhere, nothing is kept past a message that could not be folded, so that a
corrected reducer reads that part again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from pydantic_core import to_json

from durafold.state.json_values import NotJson
from durafold.state.replica import Confirmed
from durafold.state.snapshot import dump_snapshot, load_snapshot, restore, take_snapshot
from durafold_server.protocol.model import StreamState
from durafold_server.reducers.registered import Registered
from durafold_server.reducers.sizes import size_of
from durafold_server.reducers.workers import Workers
from durafold_server.store.base import StreamStore

__all__ = ["MAX_BYTES", "Checkpoints", "Folded", "measured"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Larger states are not kept: the store writes a record whole."""

_UNMEASURED_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Folded:
    """The fold of a stream up to a position.

    Attributes:
        stream_id: of the stream.
        at: position in the stream's bytes.
        confirmed: state, revision and what was seen.
        size: of the state, in bytes of JSON, at most about.
        measured: the same when somebody looked last.
    """

    stream_id: int
    at: int
    confirmed: Confirmed[Any]
    size: int = 0
    measured: int = 0

    def followed_by(self, confirmed: Confirmed[Any], end: int) -> Folded:
        """The fold of more of the stream. A state can only grow by what is folded in, but it may shrink."""
        folded = Folded(self.stream_id, end, confirmed, self.size + end - self.at, self.measured)
        return measured(folded) if folded.size > 2 * self.measured + _UNMEASURED_BYTES else folded


def measured(folded: Folded) -> Folded:
    """The same, after a look at the state's size, which takes as long as the state is large."""
    size = size_of(folded.confirmed.state, otherwise=folded.size)
    return Folded(folded.stream_id, folded.at, folded.confirmed, size, size)


class _Record(msgspec.Struct):
    stream: int
    at: int
    snapshot: msgspec.Raw
    v: int = 1


class Checkpoints:
    """The states that a store keeps.

    Args:
        store: where.
        workers: threads to read states in: they may be large, and their types are the operator's code.
    """

    def __init__(self, store: StreamStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers

    async def newest(self, stream: StreamState, reducer: Registered) -> Folded | None:
        """A kept state of a stream, or of one that it was forked from, that lies before its own data.

        Raises:
            StoreFailure: it cannot be read.
        """
        own = await self.own(stream, reducer)
        if own is not None or stream.fork is None:
            return own
        return await self._load(stream.fork.source_path, stream, reducer, _inherited(stream))

    async def own(self, stream: StreamState, reducer: Registered) -> Folded | None:
        """The kept state of a stream itself; for a fork, that may be the one that it began with.

        Raises:
            StoreFailure: it cannot be read.
        """
        return await self._load(stream.path, stream, reducer, {**_inherited(stream), stream.id: stream.tail})

    def record(self, reducer: Registered, folded: Folded) -> bytes | None:
        """What is kept of a state, or None if it cannot be: not all was folded, no JSON form, too large."""
        snapshot = take_snapshot(folded.confirmed, reducer.fingerprint)
        if snapshot is None:
            return None
        try:
            dumped = dump_snapshot(snapshot, reducer.states)
        except NotJson:
            return None
        record = to_json(_as_dict(folded, dumped))
        return record if len(record) <= MAX_BYTES else None

    async def put(self, path: str, record: bytes) -> None:
        """Keep what `record` made, instead of what was kept of this path.

        Raises:
            StoreFailure: as `StreamStore.put_record`.
        """
        await self._store.put_record(_key(path), record)

    async def drop(self, stream: StreamState) -> None:
        """Forget what was kept of a stream; what is kept of a later one of its path stays.

        Raises:
            StoreFailure: as `StreamStore.put_record`.
        """
        record = await self._record(stream.path)
        if record is not None and record.stream in (stream.id, *_inherited(stream)):
            await self._store.put_record(_key(stream.path), None)

    async def _load(
        self, path: str, stream: StreamState, reducer: Registered, until: dict[int, int]
    ) -> Folded | None:
        record = await self._record(path)
        if record is None or not stream.start <= record.at <= until.get(record.stream, -1):
            return None
        return await self._workers.run(partial(_restored, record, stream, reducer), reducer.name, path)

    async def _record(self, path: str) -> _Record | None:
        data = (await self._store.records(_key(path))).get(_key(path))
        try:
            return msgspec.json.decode(data, type=_Record) if data is not None else None
        except msgspec.DecodeError:
            return None


def _restored(record: _Record, stream: StreamState, reducer: Registered) -> Folded | None:
    """The fold that a record holds, if it is one of this stream with this reducer; in a thread."""
    snapshot = load_snapshot(msgspec.json.decode(record.snapshot), reducer.states)
    if snapshot is None or snapshot.fingerprint != reducer.fingerprint:
        return None
    if snapshot.offset != stream.offset(record.at):
        return None  # a repair has cut the stream, and what followed is other data
    return measured(Folded(stream.id, record.at, restore(snapshot)))


def _inherited(stream: StreamState) -> dict[int, int]:
    """Up to where streams that it was forked from, or that those were, are the same as it is, by id."""
    if stream.fork is None:
        return {}
    return {one.stream_id: min(one.until, stream.fork.at) for one in stream.fork.inherited}


def _key(path: str) -> str:
    # No path holds a line feed, so no key is the beginning of another one.
    return f"state/{path}\n"


def _as_dict(folded: Folded, dumped: dict[str, Any]) -> dict[str, Any]:
    return {"v": 1, "stream": folded.stream_id, "at": folded.at, "snapshot": dumped}
