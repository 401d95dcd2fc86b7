"""The one clock of a store: microseconds since 1970 that never repeat and never go back."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]


def system_clock() -> int:
    """Microseconds since 1970 by the machine's clock."""
    return time.time_ns() // 1000


class StrictClock:
    """A clock that only ever grows, whatever the machine's does.

    Args:
        source: the clock behind it.
        floor: a time already used; the next one is greater.
    """

    def __init__(self, source: Clock = system_clock, floor: int = 0) -> None:
        self._source = source
        self._last = floor

    def __call__(self) -> int:
        """The time now, greater than any this object returned before."""
        self._last = max(self._source(), self._last + 1)
        return self._last
