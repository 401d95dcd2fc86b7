"""What a cache of confirmed states is, and the one in memory.

An entry is a snapshot: state, offset, revision, de-duplication marks. Its key names the stream, what folded
it (the fingerprint: another reducer or version simply finds nothing), and whose it is (the scope: with
authentication, one user's state must never be served to another).

States are kept and handed out as they are, without copies: treat them as immutable, as everywhere.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, cast

import anyio
from anyio.lowlevel import RunVar
from pydantic_core import to_json

from durafold.client import Headers, Params
from durafold.state.models import PLAIN, Model
from durafold.state.snapshot import Snapshot

__all__ = [
    "CacheKey",
    "CacheStats",
    "MemoryStateCache",
    "StateCache",
    "once_at_a_time",
    "scope_of",
    "ssr_state_cache",
]

T = TypeVar("T")

_BYTES_PER_SEEN_CLIENT: Final = 100
_BYTES_PER_ENTRY: Final = 1000


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What a cached state belongs to.

    Attributes:
        base_url: where the server's streams are.
        path: the stream's key.
        fingerprint: of the reducer and its types.
        scope: whose state it is; empty for everybody's.
        states: how the state travels as JSON, for caches outside the process; not part of the identity.
    """

    base_url: str
    path: str
    fingerprint: str
    scope: str
    states: Model = field(default=PLAIN, compare=False, repr=False)


class StateCache(Protocol):
    """Where confirmed states are kept. Losing an entry costs time, never correctness."""

    async def load(self, key: CacheKey) -> Snapshot[Any] | None:
        """The entry of a key, or None."""

    async def save(self, key: CacheKey, snapshot: Snapshot[Any]) -> None:
        """Keep a snapshot, in place of what was there."""

    async def drop(self, key: CacheKey) -> None:
        """Forget the entry of a key: its stream was deleted."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How a cache is doing.

    Attributes:
        size: number of entries.
        size_bytes: roughly how much memory they take.
        paths: the streams they belong to.
        hits: how often an entry was found.
        misses: how often not.
        evictions: how many entries were dropped to make room.
    """

    size: int
    size_bytes: int
    paths: tuple[str, ...]
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True, slots=True)
class _Entry:
    snapshot: Snapshot[Any]
    size_bytes: int
    expires_at_s: float


class MemoryStateCache:
    """Keeps states in memory; the one that was not used for the longest time goes first.

    Any event loop and thread may use it.

    Args:
        max_bytes: how much the entries may take together, measured by their JSON form.
        ttl_s: seconds after which an entry that was not saved again is dropped.
        clock: a clock in seconds that never goes back.

    Examples:
        >>> cache = MemoryStateCache(max_bytes=1_000_000, ttl_s=60)
        >>> loaded = await load_stream_with_reducer(url, "cached", set_state_reducer, 0, cache=cache)
        >>> cache.stats().misses
        1
    """

    def __init__(
        self,
        max_bytes: int = 64 * 1024 * 1024,
        ttl_s: float = 3600.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._size_bytes = self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    async def load(self, key: CacheKey) -> Snapshot[Any] | None:
        """The entry of a key, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.expires_at_s <= self._clock():
                self._remove(key)
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return entry.snapshot

    async def save(self, key: CacheKey, snapshot: Snapshot[Any]) -> None:
        """Keep a snapshot in place of what was there.

        One that alone is larger than the cache may be is not kept, nor one whose size cannot be measured.
        """
        size_bytes = _size_bytes(snapshot)
        with self._lock:
            self._remove(key)
            if size_bytes is not None and size_bytes <= self._max_bytes:
                self._entries[key] = _Entry(snapshot, size_bytes, self._clock() + self._ttl_s)
                self._size_bytes += size_bytes
                self._make_room()

    async def drop(self, key: CacheKey) -> None:
        """Forget the entry of a key."""
        with self._lock:
            self._remove(key)

    def stats(self) -> CacheStats:
        """How the cache is doing."""
        with self._lock:
            paths = tuple(dict.fromkeys(key.path for key in self._entries))
            return CacheStats(
                len(self._entries), self._size_bytes, paths, self._hits, self._misses, self._evictions
            )

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._size_bytes = 0

    def delete(self, path: str) -> None:
        """Forget all entries of a stream, whatever folded them and whosever they are."""
        with self._lock:
            for key in [key for key in self._entries if key.path == path]:
                self._remove(key)

    def _make_room(self) -> None:
        while self._size_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self._evictions += 1

    def _remove(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes


def _size_bytes(snapshot: Snapshot[Any]) -> int | None:
    try:
        state = to_json(snapshot.state, fallback=repr, inf_nan_mode="constants", bytes_mode="base64")
    except ValueError:  # it contains itself, for example
        return None
    return _BYTES_PER_ENTRY + len(state) + _BYTES_PER_SEEN_CLIENT * len(snapshot.seen)


ssr_state_cache: Final = MemoryStateCache()
"""The cache that `load_stream_with_reducer` and `load_streams` use unless they are given another."""


def scope_of(scope: str | None, headers: Headers | None, params: Params | None) -> str | None:
    """Whose states a client may see, as part of cache keys.

    Args:
        scope: what the user says.
        headers: as the user gave them.
        params: likewise.

    Returns:
        `scope` if given; empty without headers and params; a digest of them if they are plain strings. None
        if they are functions: whose they are is then unknown, and nothing may be cached.
    """
    if scope is not None:
        return scope
    if not headers and not params:
        return ""
    given = (headers or {}, params or {})
    plain = [sorted(values.items()) for values in given if isinstance(values, Mapping)]
    if len(plain) < len(given) or not all(isinstance(value, str) for items in plain for _, value in items):
        return None
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Flight:
    """Calls for one key: at most one runs, and those that wait share the next."""

    lock: anyio.Lock
    users: int = 0
    started: int = 0
    finished: int = 0
    result: Any = None


# By event loop: locks must not be shared between loops.
_flights: RunVar[dict[object, _Flight]] = RunVar("durafold_flights")


async def once_at_a_time(key: object, call: Callable[[], Awaitable[T]]) -> T:
    """Run `call`, or share the result of a run of the same key that began after this call was made.

    A run that is under way already is not shared: it may have read before something that its caller has
    written since. So any number of simultaneous calls cost two runs.
    """
    flights = _flights.get({})
    _flights.set(flights)
    flight = flights.setdefault(key, _Flight(anyio.Lock()))
    running = flight.started
    flight.users += 1
    try:
        async with flight.lock:
            if flight.finished > running:
                return cast("T", flight.result)
            flight.started += 1
            run = flight.started
            result = flight.result = await call()
            flight.finished = run
            return result
    finally:
        flight.users -= 1
        if not flight.users:
            del flights[key]
