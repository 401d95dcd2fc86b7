"""An app for the adapter's tests, with one of everything that can be declared."""

import reflex as rx
from pydantic import BaseModel, Field

from durafold.reflex import (
    DurableState,
    mount,
    use_atom,
    use_connection,
    use_presence,
    use_server_state,
)
from party.backstage import Counts
from party.shop import Cart, cart, shelf, total


class Person(BaseModel):
    name: str = Field(default="Somebody", max_length=40)
    x: int = 0


class Account(rx.State):
    """Who is signed in. Only its own events change that."""

    user: str = ""

    @rx.event
    def sign_in(self, user: str, password: str) -> None:
        self.user = user if password == f"{user}'s secret" else ""


People = use_presence("rooms/[room]", Person, initial=Person(), ttl_s=20, name="People")
Onlookers = use_presence("stage", Person, name="Onlookers")
Shelf = use_atom(shelf, parameter="room", name="Shelf")
Total = use_atom(total)
Connection = use_connection()
Notes = use_server_state(
    "nothing",
    "notes/[user]",
    parameters={"user": lambda state: state.user or None},
    base=Account,
    name="Notes",
)


class Backstage(Counts, rx.State):
    """Tests ask it."""


class Shop(DurableState[Cart], store=cart):
    cheap: int = 10

    @rx.var(cache=False)
    def bargains(self) -> list[str]:
        return [line.name for line in self.value.lines if line.price <= self.cheap]

    @rx.event
    def restock(self) -> list[rx.event.EventCallback[()]]:
        return [Shop.dispatch({"type": "put", "name": name, "price": 1}) for name in ("salt", "oil")]


def index() -> rx.Component:
    return rx.text(People.count, " people here, ", Total.value)


app = mount(rx.App())
app.add_page(index, route="/")
app.add_page(index, route="/rooms/[room]")
