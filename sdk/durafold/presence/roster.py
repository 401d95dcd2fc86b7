"""`Roster`: who is in a room, as far as one process has heard. Rules only: no I/O; time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

__all__ = ["Roster"]

M = TypeVar("M")


class Roster(Generic[M]):
    """Who is here, as far as one client has heard.

    Examples:
        >>> roster = Roster(ttl_s=10)
        >>> roster.hear("ann", "reading", now_s=0), roster.hear("ann", "reading", now_s=5)
        (True, False)
        >>> roster.forget(now_s=14), dict(roster.people)
        (False, {'ann': 'reading'})
        >>> roster.forget(now_s=15), dict(roster.people)
        (True, {})

    Args:
        ttl_s: seconds after which somebody who was not heard of is gone.

    Attributes:
        people: what each client shows; another object after every change.
    """

    def __init__(self, ttl_s: float) -> None:
        self.people: Mapping[str, M] = MappingProxyType({})
        self._ttl_s = ttl_s
        self._until_s: dict[str, float] = {}

    def hear(self, client: str, shown: M, now_s: float) -> bool:
        """A client says that it is here, and what it shows. Returns whether that changes anything."""
        self._until_s[client] = now_s + self._ttl_s
        if client in self.people and self.people[client] == shown:
            return False
        self.people = MappingProxyType({**self.people, client: shown})
        return True

    def leave(self, client: str) -> bool:
        """A client says that it leaves. Returns whether it was here."""
        return self._remove({client})

    def forget(self, now_s: float) -> bool:
        """Remove those who were not heard of for too long. Returns whether there were any."""
        return self._remove({client for client, until_s in self._until_s.items() if until_s <= now_s})

    def next_s(self, now_s: float) -> float:
        """Seconds until `forget` could find somebody."""
        return max(0.0, min(self._until_s.values(), default=now_s + self._ttl_s) - now_s)

    def _remove(self, clients: set[str]) -> bool:
        if not clients & self.people.keys():
            return False
        self.people = MappingProxyType(
            {who: shown for who, shown in self.people.items() if who not in clients}
        )
        for client in clients:
            self._until_s.pop(client, None)
        return True
