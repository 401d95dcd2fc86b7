"""A module with one declared reducer among other things."""

from __future__ import annotations

from durafold import reducer

__all__ = ["double", "halve"]


@reducer(version="3")
def double(state: int, action: None) -> int:
    """Twice what was."""
    return state * 2


def halve(state: int, action: None) -> int:
    """Not declared."""
    return state // 2
