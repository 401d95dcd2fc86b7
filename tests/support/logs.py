"""Logs without a server: messages as a replica gets them, and a reducer for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from durafold.state.outcomes import Reject, UnknownAction
from durafold.state.replica import START, Batch

__all__ = ["Id", "Line", "action", "batch", "line", "notes"]


@dataclass(frozen=True)
class Id:
    """Identity of an action."""

    client_id: str
    n: int


@dataclass(frozen=True)
class Line:
    """One message of a log."""

    kind: str
    payload: Any
    id: Id | None = None
    if_revision: int | None = None
    ts_ms: int | None = None
    seed: str | None = None


def line(kind: str, payload: Any, id: str | None = None, if_revision: int | None = None) -> Line:  # noqa: A002
    """A message; the id is written `client:n`."""
    client_id, _, n = (id or "").rpartition(":")
    return Line(kind, payload, Id(client_id, int(n)) if id else None, if_revision)


def action(payload: Any, id: str | None = None) -> Line:  # noqa: A002
    """A message for a reducer."""
    return line("action", payload, id)


def batch(*messages: Line, after: str = START, upto: str = "1") -> Batch:
    """Messages between two offsets."""
    return Batch(messages, after, upto)


def notes(state: tuple[str, ...], text: str) -> tuple[str, ...]:
    """A reducer that notes every action, and knows each way an action can go wrong."""
    if text == "boom":
        raise ValueError("no such thing")
    if text == "new":
        raise UnknownAction("new")
    if text in state:
        raise Reject(f"{text} is there already")
    return (*state, text)
