"""Which subscriptions care for a path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from durafold_server.protocol import registry
from durafold_server.subscriptions.patterns import Pattern

_MAX_REMEMBERED: Final = 4096


class Index:
    """Subscription ids by explicit path and by pattern.

    Streams change far more often than subscriptions do, so what patterns match is remembered per path.
    """

    def __init__(self) -> None:
        self._paths: defaultdict[str, set[str]] = defaultdict(set)
        self._patterns: dict[str, tuple[Pattern, set[str]]] = {}
        self._remembered: dict[str, tuple[str, ...]] = {}

    def interested(self, path: str) -> Iterable[str]:
        """Ids of the subscriptions that link a path explicitly or by pattern; an id may come twice."""
        return (*self._paths.get(path, ()), *self._matching(path))

    def add_path(self, path: str, subscription_id: str) -> None:
        """A subscription links a path explicitly."""
        self._paths[path].add(subscription_id)

    def remove_path(self, path: str, subscription_id: str) -> None:
        """It no longer does."""
        ids = self._paths.get(path)
        if ids is not None:
            ids.discard(subscription_id)
            if not ids:
                del self._paths[path]

    def add_pattern(self, pattern: Pattern, subscription_id: str) -> None:
        """A subscription links what matches a pattern."""
        self._patterns.setdefault(pattern.text, (pattern, set()))[1].add(subscription_id)
        self._remembered.clear()

    def remove_pattern(self, pattern: Pattern, subscription_id: str) -> None:
        """It no longer does."""
        _, ids = self._patterns.get(pattern.text, (pattern, set[str]()))
        ids.discard(subscription_id)
        if not ids:
            self._patterns.pop(pattern.text, None)
        self._remembered.clear()

    def _matching(self, path: str) -> tuple[str, ...]:
        if path == registry.PATH:
            return ()  # else a worker that creates a stream for every wake would never sleep again
        known = self._remembered.get(path)
        if known is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            known = tuple(
                subscription_id
                for pattern, ids in self._patterns.values()
                if pattern.matches(path)
                for subscription_id in ids
            )
            self._remembered[path] = known
        return known
