"""Keeps the `__registry__` stream: begins it, has changes recorded with their cause, and tidies it up.

What its messages say is in `protocol/registry.py`. It is either complete or not there: a server that keeps
none removes it at its start, before any stream can change, and one that keeps it makes it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from durafold_server.clock import Clock
from durafold_server.protocol import lifetimes
from durafold_server.protocol import registry as rules
from durafold_server.protocol.model import Decide, R, ReadKey, StreamState
from durafold_server.protocol.registry import Carried
from durafold_server.store.base import StoreFailure, StreamStore

_KEY: Final = ReadKey(rules.PATH)
_STREAMS_PER_PAGE: Final = 1000
_PURGED_AT_ONCE: Final = 256
_TIDIED_AT_ONCE_BYTES: Final = 64 * 1024
_SMALL_BYTES: Final = 64 * 1024
_TIMES_TOO_BIG: Final = 4
_USUAL_MESSAGE_BYTES: Final = 256


class Registry:
    """The registry of one store's streams.

    Args:
        store: where it is kept, and what it is about.
        clock: microseconds since 1970, for expiry.
        enabled: whether there is to be one.
    """

    def __init__(self, store: StreamStore, clock: Clock, *, enabled: bool) -> None:
        self._store = store
        self._clock = clock
        self._enabled = enabled
        self._has_started = False
        self._starting = asyncio.Lock()
        self._message_bytes = _USUAL_MESSAGE_BYTES

    async def start(self) -> None:
        """Make it if it is missing, or remove it if it is not to be kept. Idempotent.

        Raises:
            StoreFailure: the store cannot be read or written, or a client's stream has its name.
        """
        if not self._has_started:
            async with self._starting:
                await self._start()

    async def _start(self) -> None:
        if self._has_started:
            return  # whoever had the lock before did it
        if self._enabled:
            await self._begin()
        else:
            await self._end()
        self._has_started = True

    async def transact(self, keys: Sequence[ReadKey], decide: Decide[R]) -> R:
        """As `StreamStore.transact`, for decisions that may create, close or remove streams.

        Raises:
            ProtocolError, StoreFailure: as `StreamStore.transact`.
        """
        await self.start()
        if not self._enabled:
            return await self._store.transact(keys, decide)
        return await self._store.transact([*keys, _KEY], rules.recording(decide))

    async def tidy(self) -> None:
        """Once most of it is about streams that are gone, let go of what no longer holds.

        Raises:
            StoreFailure: it is tried again at the next call.
        """
        registry = await self._store.load(rules.PATH)
        if not self._enabled or registry is None or not registry.internal:
            return
        if registry.tail - registry.start <= _SMALL_BYTES:
            return
        needed = self._message_bytes * await self._store.count_streams()
        if registry.tail - registry.start > _TIMES_TOO_BIG * needed:
            await self._carry_all_forward(registry)

    async def _carry_all_forward(self, registry: StreamState) -> None:
        """Let the registry begin where it ends now, so that whoever has read it all loses nothing."""
        messages = size = 0
        end = registry.tail
        while registry.start < end:
            carried = await self._carry_forward(registry, end)
            if carried.registry.start == registry.start:
                return  # somebody else is at it
            registry = carried.registry
            messages, size = messages + carried.messages, size + carried.bytes
        self._message_bytes = size // messages + 1 if messages else _USUAL_MESSAGE_BYTES

    async def _carry_forward(self, registry: StreamState, until: int) -> Carried:
        """Go through some of the oldest messages; returns the registry without them."""
        page = await self._store.read(
            registry.id,
            registry.start,
            until=until,
            max_bytes=_TIDIED_AT_ONCE_BYTES,
            framed=True,
        )
        keys = [_KEY, *(ReadKey(path) for path in rules.paths_in(page.data))]
        return await self._store.transact(keys, rules.carried_forward(registry, page.end))

    async def _begin(self) -> None:
        registry = await self._store.load(rules.PATH)
        if registry is None:
            await self._store.transact([_KEY], rules.begun(await self._living()))
        elif not registry.internal:
            raise StoreFailure(
                f"a client created the stream {rules.PATH}, a name that the server wants for its own list of "
                "streams: start with --no-registry, and delete that stream or go on without a registry"
            )

    async def _living(self) -> list[StreamState]:
        living: list[StreamState] = []
        after: str | None = None
        while page := await self._store.list_streams("", after, _STREAMS_PER_PAGE):
            now_us = self._clock()
            living += [s for s in page if not s.deleted and not lifetimes.is_expired(s, now_us)]
            after = page[-1].path
        return living

    async def _end(self) -> None:
        removed = await self._store.transact([_KEY], rules.ended)
        while removed is not None and not await self._store.purge(removed.id, limit=_PURGED_AT_ONCE):
            pass
