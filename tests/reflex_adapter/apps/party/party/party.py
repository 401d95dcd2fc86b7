"""An app for the adapter's tests, with one of everything that can be declared."""

import reflex as rx
from pydantic import BaseModel, Field

from durafold.reflex import mount, use_presence


class Person(BaseModel):
    name: str = Field(default="Somebody", max_length=40)
    x: int = 0


People = use_presence("rooms/[room]", Person, initial=Person(), ttl_s=20, name="People")
Onlookers = use_presence("stage", Person, name="Onlookers")


def index() -> rx.Component:
    return rx.text(People.count, " people here")


app = mount(rx.App())
app.add_page(index, route="/")
app.add_page(index, route="/rooms/[room]")
