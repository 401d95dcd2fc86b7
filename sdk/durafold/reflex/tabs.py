"""The connected tabs: what each looks at, where it sits, and telling it to refresh.

Reflex does not say when a tab goes away, and need not: a tab that comes back always hydrates first, which
reads the vars and so joins again. Tabs without a socket are therefore simply forgotten: at the next change,
whenever another tab joins, and by a sweep now and then.

A tab that sits in a room is seen by others. It is looked for often, and it may be without a socket for a
moment, so that reloading a page is no leaving and coming back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import reflex as rx
from anyio.abc import TaskGroup

from durafold.presence import Presence
from durafold.reflex import _internals

__all__ = ["LEAVE_AFTER_S", "Tabs"]

logger = logging.getLogger("durafold.reflex")

LEAVE_AFTER_S: Final = 1.5
"""How long a tab that sits in a room may be without a socket before it has left."""


@dataclass(slots=True)
class _Tab:
    """A connected tab. A change makes it stale, and one refresh serves all changes before it.

    Attributes:
        looks_at: the key that it last read, for every declaration.
        seats: its places in rooms, each with the room's key, for every declaration.
        gone_since_s: when it was first found without a socket, if it is.
    """

    token: str
    looks_at: dict[str, str] = field(default_factory=dict)
    seats: dict[str, tuple[str, Presence[Any]]] = field(default_factory=dict)
    gone_since_s: float | None = None
    is_stale: bool = False
    is_refreshing: bool = False

    def stand_up(self, declared: str) -> None:
        """Leave the room of a declaration, if it sits in one."""
        if (seat := self.seats.pop(declared, None)) is not None:
            seat[1].close()


class Tabs:
    """The tabs of a running app.

    Args:
        app: the Reflex app.
        tasks: where refreshing runs.
    """

    def __init__(self, app: rx.App, tasks: TaskGroup) -> None:
        self._app = app
        self._tasks = tasks
        self._tabs: dict[str, _Tab] = {}

    @property
    def tokens(self) -> frozenset[str]:
        """Client tokens of the tabs that are refreshed when something changes."""
        return frozenset(self._tabs)

    @property
    def have_seats(self) -> bool:
        """Whether any tab sits in a room."""
        return any(tab.seats for tab in self._tabs.values())

    @property
    def wanted(self) -> frozenset[str]:
        """Keys that some tab looks at."""
        return frozenset(key for tab in self._tabs.values() for key in tab.looks_at.values())

    def looked_at(self, token: str) -> frozenset[str]:
        """Keys that one tab looks at."""
        tab = self._tabs.get(token)
        return frozenset(tab.looks_at.values()) if tab else frozenset()

    def look(self, token: str, declared: str, actual: str | None) -> None:
        """Remember what a tab looks at; with `actual` None, at nothing of that declaration."""
        tab = self._tabs.get(token)
        if tab is None:
            self.forget_gone()
            tab = self._tabs[token] = _Tab(token)
        if declared in tab.seats and tab.seats[declared][0] != actual:
            tab.stand_up(declared)
        if actual is None:
            tab.looks_at.pop(declared, None)
        else:
            tab.looks_at[declared] = actual

    def seat(self, token: str, declared: str, join: Callable[[], Presence[Any]]) -> Presence[Any]:
        """The place of a tab in the room that it looks at, taken now with `join` if it has none."""
        tab = self._tabs[token]
        if declared not in tab.seats:
            tab.seats[declared] = (tab.looks_at[declared], join())
        return tab.seats[declared][1]

    def tell(self, key: str) -> int:
        """A key changed: tabs that look at it are refreshed. Returns how many these are."""
        self.forget_gone()
        looking = [
            tab for tab in self._tabs.values() if tab.gone_since_s is None and key in tab.looks_at.values()
        ]
        for tab in looking:
            tab.is_stale = True
            if not tab.is_refreshing:
                tab.is_refreshing = True
                self._tasks.start_soon(_refresh, self._app, tab)
        return len(looking)

    def forget_gone(self) -> None:
        """Forget tabs without a socket; those that sit in a room, some time after they lost it."""
        connected, now_s = _internals.connected_tabs(self._app), anyio.current_time()
        for tab in list(self._tabs.values()):
            if tab.token in connected:
                tab.gone_since_s = None
            elif not tab.seats:
                self._forget(tab)
            elif tab.gone_since_s is None:
                tab.gone_since_s = now_s
            elif now_s >= tab.gone_since_s + LEAVE_AFTER_S:
                self._forget(tab)

    def _forget(self, tab: _Tab) -> None:
        del self._tabs[tab.token]
        for declared in list(tab.seats):
            tab.stand_up(declared)


async def _refresh(app: rx.App, tab: _Tab) -> None:
    """Refresh one tab until no change is left. A slow one delays nobody else: each has a task of its own."""
    try:
        while tab.is_stale:
            tab.is_stale = False
            await _internals.refresh(app, tab.token)
    except Exception:
        # It hydrates in full when it returns, so nothing is lost.
        logger.exception("Could not refresh the tab %s", tab.token)
    finally:
        tab.is_refreshing = False
