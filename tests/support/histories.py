"""Histories of changes to a store, and the states it may be in after a crash at any moment of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from msgspec.structs import replace

from durafold_server.protocol.model import Decision, Loaded, ProducerState, ReadKey, SaveStream
from durafold_server.store.base import StoreFailure, StreamStore
from support.server_stores import add, look, make, read_all, remove, written

__all__ = ["Change", "History", "Moment", "changes", "observe"]

_PATHS: Final = ("a", "b", "c")


@dataclass(frozen=True)
class Change:
    """One transaction: make, append, close or remove a stream, or put a record."""

    kind: str
    path: str
    data: bytes = b""
    seq: int | None = None


State = dict[str, tuple[bytes, bool, int | None]]
"""Of every stream its content, closure and its producer's last sequence number; of a record its value."""


def changes(chance: Random, count: int) -> list[Change]:
    """A history that makes sense: streams come, grow, are closed, and go."""
    state: State = {}
    history: list[Change] = []
    for number in range(count):
        path = chance.choice(_PATHS)
        change = _next(chance, path, state.get(path), number)
        state = _after(state, change)
        history.append(change)
    return history


def _next(chance: Random, path: str, now: tuple[bytes, bool, int | None] | None, number: int) -> Change:
    if now is None:
        return Change("make", path)
    if chance.random() < 0.1:
        return Change("record", "r", b"%d" % number)
    if chance.random() < 0.08 or now[1]:
        return Change("remove", path)
    if chance.random() < 0.08:
        return Change("close", path)
    data = b"%s%04d;" % (path.encode(), number) * chance.choice([1, 1, 2, 50, 3000])
    return Change(
        "append", path, data, None if now[2] is None and chance.random() < 0.5 else (now[2] or 0) + 1
    )


def _after(state: State, change: Change) -> State:
    content, closed, seq = state.get(change.path, (b"", False, None))
    match change.kind:
        case "remove":
            return {path: now for path, now in state.items() if path != change.path}
        case "append":
            content, seq = content + change.data, change.seq if change.seq is not None else seq
        case "close":
            closed = True
        case "record":
            content = change.data
    return {**state, change.path: (content, closed, seq)}


async def _carry_out(store: StreamStore, change: Change) -> None:
    match change.kind:
        case "make":
            await make(store, change.path)
        case "append":
            producer = ("p", ProducerState(0, change.seq)) if change.seq is not None else None
            await add(store, change.path, change.data, producer)
        case "close":
            await store.transact((ReadKey(change.path),), _closing)
        case "remove":
            removed = await remove(store, change.path)
            with contextlib.suppress(StoreFailure):  # it is removed, though its data is not freed yet
                while not await store.purge(removed.id, limit=2):
                    pass
        case _:
            await store.put_record(change.path, change.data)


def _closing(found: Sequence[Loaded], now_us: int) -> Decision[None]:
    return Decision([SaveStream(replace(written(found), closed=True))], None)


async def observe(store: StreamStore) -> State:
    """All that a store holds."""
    state: State = {key: (value, False, None) for key, value in (await store.records("")).items()}
    for stream in await store.list_streams("", None, 99):
        found = await look(store, stream.path, "p")
        assert found.stream == stream
        seq = found.producer.last_seq if found.producer is not None else None
        state[stream.path] = (await read_all(store, stream), stream.closed, seq)
    return state


@dataclass(frozen=True)
class Moment:
    """From which operation of the disk on a store may be in which states."""

    operation: int
    allowed: tuple[State, ...]


@dataclass
class History:
    """Carries out changes, and notes what was acknowledged when.

    A change that was not acknowledged, refused or under way, may be there after a crash or not, as a whole.
    """

    operations: Sequence[object]
    acknowledged: State = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    refused: int = 0

    async def carry_out(self, store: StreamStore, change: Change) -> None:
        """One change; if it fails it is left at that, and so is what builds on it."""
        if change.kind != "record" and (change.kind == "make") is (change.path in self.acknowledged):
            return
        possible = _after(self.acknowledged, change)
        before = self.moments[-1].allowed if self.refused and self.moments else (self.acknowledged,)
        self.moments.append(Moment(len(self.operations), (*before, possible)))
        try:
            await _carry_out(store, change)
        except StoreFailure:
            self.refused += 1
        else:
            self.refused = 0
            self.acknowledged = possible
            self.moments.append(Moment(len(self.operations), (possible,)))

    def allowed_after(self, operations: int) -> tuple[State, ...]:
        """The states a store may be in when only so many operations were carried out."""
        return [moment for moment in self.moments if moment.operation <= operations][-1].allowed
