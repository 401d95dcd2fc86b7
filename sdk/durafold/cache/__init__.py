"""Caches of confirmed states, so that only what is new has to be fetched and folded.

- `memory`: what a cache is, the one in memory, and how loads of one state are shared
- `sqlite`: the one in a file, which outlives the process
"""

from __future__ import annotations

from durafold.cache.memory import (
    CacheKey,
    CacheStats,
    MemoryStateCache,
    StateCache,
    once_at_a_time,
    scope_of,
    ssr_state_cache,
)
from durafold.cache.sqlite import SqliteStateCache

__all__ = [
    "CacheKey",
    "CacheStats",
    "MemoryStateCache",
    "SqliteStateCache",
    "StateCache",
    "once_at_a_time",
    "scope_of",
    "ssr_state_cache",
]
