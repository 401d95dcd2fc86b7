"""A shop that knows no Reflex."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from durafold import Get, atom_family, derived, reducer_atom


class Line(BaseModel):
    name: str = Field(max_length=40)
    price: int


class Cart(BaseModel):
    lines: list[Line] = []


class Put(BaseModel):
    type: Literal["put"]
    name: str = Field(max_length=40)
    price: int = Field(ge=0)


class Empty(BaseModel):
    type: Literal["empty"]


def shop(state: Cart, action: Annotated[Put | Empty, Field(discriminator="type")]) -> Cart:
    match action:
        case Put(name=name, price=price):
            return Cart(lines=[*state.lines, Line(name=name, price=price)])
        case Empty():
            return Cart()


cart = reducer_atom("cart", shop, Cart())
shelf = atom_family("shelves/{}", "empty")


@derived
def total(get: Get) -> int:
    return sum(line.price for line in get(cart).lines)
