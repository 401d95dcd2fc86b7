"""A shop's stock, which must not go below zero: a reducer that streams of a test's server are bound to."""

from __future__ import annotations

import threading
from typing import Any, Final, Literal

from pydantic import BaseModel

from durafold import reducer, reducer_atom

__all__ = ["HANGING", "Receive", "Stock", "StockAction", "Take", "durafold_bindings", "stock"]

HANGING: Final = threading.Event()
"""What a `wait` action waits for; set it, and the reducer goes on."""


class Stock(BaseModel):
    """How much of a thing there is, and how much was taken in all."""

    count: int = 0
    taken: int = 0


class Receive(BaseModel):
    """More of it has come."""

    type: Literal["receive"] = "receive"
    count: int


class Take(BaseModel):
    """Somebody wants some."""

    type: Literal["take"] = "take"
    count: int = 1


class Wait(BaseModel):
    """Somebody wants the reducer to hang."""

    type: Literal["wait"] = "wait"


class Break(BaseModel):
    """Somebody wants the reducer to fail."""

    type: Literal["break"] = "break"


StockAction = Receive | Take | Wait | Break


def _not_below_zero(state: Stock, action: StockAction) -> str | None:
    if isinstance(action, Take) and action.count > state.count:
        return f"only {state.count} left"
    return None


@reducer(StockAction, guard=_not_below_zero)
def stock(state: Stock, action: StockAction) -> Stock:
    """Counts."""
    match action:
        case Receive(count=count):
            return Stock(count=state.count + count, taken=state.taken)
        case Take(count=count):
            return Stock(count=state.count - count, taken=state.taken + count)
        case Wait():
            HANGING.wait()
            return state
        case Break():
            raise RuntimeError("this reducer is broken")


@reducer(StockAction, guard=_not_below_zero, version="2", name=stock.name)
def stock_2(state: Stock, action: StockAction) -> Stock:
    """The same, in another version."""
    return stock(state, action)


opening = reducer_atom("shops/opening", stock, Stock(count=100))
not_a_reducer: Any = 5
durafold_bindings = {"stock/**": stock, "shops/opening": opening}
