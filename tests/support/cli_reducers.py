"""Reducers that the command line is given by name: `--reducer support.cli_reducers:basket`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from durafold import Reject, atom, reducer_atom

__all__ = [
    "Basket",
    "basket",
    "cupboard",
    "impossible",
    "letters",
    "optional",
    "prices",
    "sums",
    "total",
]


class Basket(BaseModel):
    """What is in it."""

    items: list[str] = Field(default_factory=list)


class Add(BaseModel):
    """Put something in."""

    type: Literal["add"] = "add"
    item: str


class Drop(BaseModel):
    """Take something out."""

    type: Literal["drop"] = "drop"
    item: str


def basket(state: Basket, action: Add | Drop) -> Basket:
    """Keeps a basket; what is not there cannot be dropped."""
    if isinstance(action, Add):
        return Basket(items=[*state.items, action.item])
    if action.item not in state.items:
        raise Reject(f"there is no {action.item}")
    return Basket(items=[item for item in state.items if item != action.item])


def total(state: int, action: int) -> int:
    """Adds numbers up."""
    return state + action


prices = atom("prices", {"eggs": 3})
cupboard = atom("cupboard", Basket())
sums = reducer_atom("sums", total, 100)
optional = atom("optional", None)


def letters(state: Any, action: Any) -> Any:
    """Says nothing about types."""
    return f"{state or ''}{action}"


class Nothing(BaseModel):
    """A state that cannot be made of nothing."""

    needed: str


def impossible(state: Nothing, action: Any) -> Nothing:
    """Never gets to run."""
    return state
