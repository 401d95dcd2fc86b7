"""`SharedEngine`: one engine, and how many handles use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from durafold.engine import Engine

__all__ = ["SharedEngine"]

S = TypeVar("S")


@dataclass(eq=False, slots=True)
class SharedEngine(Generic[S]):
    """An engine, and how many handles use it."""

    engine: Engine[S]
    users: int = 0
