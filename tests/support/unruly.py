"""A reducer that does, when it is told to, what reducers should not: tests bind streams to it."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from durafold import Reject, reducer_atom

__all__ = ["SLOW_CALLS", "unruly"]

SLOW_CALLS: Final[list[Any]] = []
"""Actions that it was slow for."""


class Unwritable:
    """Has no JSON form, and cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


class Unspeakable(Exception):
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def counting(state: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    """Counts, unless it is told to do worse."""
    after = {**state, "count": state.get("count", 0) + 1}
    match action["type"]:
        case "exit":
            sys.exit(3)
        case "stop":
            raise StopIteration
        case "recurse":
            return counting(state, action)
        case "speechless":
            raise Unspeakable
        case "reject":
            raise Reject("half of an emoji: \ud83d")
        case "be slow":
            SLOW_CALLS.append(action)
            time.sleep(action["duration_s"])
        case "contain itself":
            after["self"] = after
        case "unwritable":
            after["object"] = Unwritable()
        case "half an emoji":
            after["text"] = "\ud83d"
    return after


NOTHING: Final[dict[str, Any]] = {}
unruly = reducer_atom("unruly", counting, NOTHING)
