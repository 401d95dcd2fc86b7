"""Where a replica's confirmed state is kept: the cache of this process, and snapshots beside the stream."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

import anyio

from durafold.cache import CacheKey, StateCache
from durafold.client import DurableStream
from durafold.engine.definition import Definition
from durafold.snapshots import SnapshotPolicy, SnapshotStore
from durafold.state.replica import START, Confirmed
from durafold.state.snapshot import restore, take_snapshot

__all__ = ["Keeper", "snapshots_of"]

S = TypeVar("S")
T = TypeVar("T")


def snapshots_of(
    definition: Definition[S], policy: SnapshotPolicy | None, open_stream: Callable[[str], DurableStream]
) -> SnapshotStore[S] | None:
    """The snapshots beside a stream, if a policy says that they are used.

    Args:
        definition: what the stream's key means.
        policy: when and how snapshots are written.
        open_stream: gives the stream of a key.
    """
    if policy is None:
        return None
    return SnapshotStore(definition.key, definition.fingerprint, definition.states, policy, open_stream)


class Keeper(Generic[S]):
    """Loads a state to start from, and saves states as they are confirmed; never past a fault.

    Whatever goes wrong here costs time, nothing else: it is reported, and the stream is read instead.

    Args:
        key: names the state in the cache.
        cache: the cache, if there is one.
        snapshots: the snapshots beside the stream, if they are used.
        report: is given what goes wrong.
    """

    def __init__(
        self,
        key: CacheKey,
        cache: StateCache | None,
        snapshots: SnapshotStore[S] | None,
        report: Callable[[Exception], None],
    ) -> None:
        self._key = key
        self._cache = cache
        self._snapshots = snapshots
        self._report = report
        self._cached_position = -1
        self._snapshot_position = 0
        self._is_writing = False

    async def load(self, present: Confirmed[S]) -> Confirmed[S] | None:
        """A state to start from, if there is one that is further along than the present one."""
        cached = await self._try(self._cache.load(self._key)) if self._cache is not None else None
        if cached is not None and cached.fingerprint == self._key.fingerprint:
            self._cached_position = cached.position
            return cast("Confirmed[S]", restore(cached))
        return await self.newest(present) if present.offset == START else None

    async def newest(self, present: Confirmed[S]) -> Confirmed[S] | None:
        """The newest snapshot beside the stream, if it is further along than the present state."""
        if self._snapshots is None:
            return None
        snapshot = await self._try(self._snapshots.newest())
        if snapshot is None or snapshot.offset <= present.offset:  # offsets sort as strings (PROTOCOL §8)
            return None
        self._snapshot_position = snapshot.position
        return restore(snapshot)

    async def save(self, confirmed: Confirmed[S], *, at_least: int) -> None:
        """Write the cache, if so many messages came since it was written."""
        if self._cache is None or confirmed.position - self._cached_position < at_least:
            return
        snapshot = take_snapshot(confirmed, self._key.fingerprint)
        if snapshot is not None:
            self._cached_position = confirmed.position
            await self._try(self._cache.save(self._key, snapshot))

    def is_snapshot_due(self, confirmed: Confirmed[S]) -> bool:
        """Whether `write_snapshot` should be called."""
        if self._snapshots is None or not self._snapshots.policy.write or self._is_writing:
            return False
        return confirmed.position - self._snapshot_position >= self._snapshots.policy.every

    async def write_snapshot(self, confirmed: Callable[[], Confirmed[S]]) -> None:
        """Write one, after a moment in which another client may have done it."""
        assert self._snapshots is not None
        self._is_writing = True
        try:
            await anyio.sleep(random.random() * self._snapshots.policy.jitter_s)  # noqa: S311 - jitter
            snapshot = take_snapshot(confirmed(), self._key.fingerprint)
            if snapshot is not None:
                self._snapshot_position = snapshot.position
                await self._try(self._snapshots.save(snapshot))
        finally:
            self._is_writing = False

    async def drop(self, *, was_deleted: bool) -> None:
        """The stream is another one now. `was_deleted`: for certain, and not only no longer kept."""
        self._cached_position, self._snapshot_position = -1, 0
        if self._cache is not None:
            await self._try(self._cache.drop(self._key))
        if self._snapshots is not None and was_deleted:
            await self._try(self._snapshots.drop())

    async def _try(self, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - users bring their own caches
            self._report(error)
            return None
