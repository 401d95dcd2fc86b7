"""A reducer that does, when it is told to, what reducers should not: tests bind streams to it."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final

from pydantic import BaseModel, field_serializer, field_validator

from durafold import Reject, reducer_atom
from support.stock import HANGING

__all__ = ["SLOW_CALLS", "VALIDATED_IN", "WRITTEN", "durafold_bindings", "named", "unruly"]

SLOW_CALLS: Final[list[Any]] = []
"""Actions that it was slow for."""

VALIDATED_IN: Final[set[threading.Thread]] = set()
"""Threads that `Named` was validated in."""


WRITTEN: Final[list[str]] = []
"""Names as often as they were written."""


class Named(BaseModel):
    """A state that takes notes of where it is read."""

    name: str = ""

    @field_validator("name")
    @classmethod
    def noted(cls, name: str) -> str:
        """The name as it is."""
        VALIDATED_IN.add(threading.current_thread())
        return name

    @field_serializer("name")
    def written(self, name: str) -> str:
        """The name as it is, perhaps much later."""
        WRITTEN.append(name)
        if name == "hang":
            HANGING.wait()
        return name


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
        case "spin":
            while not HANGING.is_set():
                pass
        case "contain itself":
            after["self"] = after
        case "unwritable":
            after["object"] = Unwritable()
        case "half an emoji":
            after["text"] = "\ud83d"
    return after


def naming(state: Named, action: dict[str, Any]) -> Named:
    """The name that was given last."""
    return Named(name=action["name"])


named = reducer_atom("named", naming, Named())
NOTHING: Final[dict[str, Any]] = {}
unruly = reducer_atom("unruly", counting, NOTHING)
durafold_bindings = {"odd/named/*": named, "odd/*": unruly}
