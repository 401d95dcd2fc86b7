"""Who is at a board: what one person shows to the others, for as long as they are here."""

import random
from uuid import uuid4

from pydantic import BaseModel, Field

from whiteboard.shapes import Color, Shape

ADJECTIVES = "Amber", "Brisk", "Calm", "Clever", "Gentle", "Lucky", "Nimble", "Quiet", "Sunny", "Swift"
ANIMALS = "Badger", "Crane", "Dolphin", "Falcon", "Heron", "Lynx", "Marten", "Otter", "Panda", "Robin"
COLORS: tuple[Color, ...] = "red", "amber", "green", "blue", "violet"


class Person(BaseModel):
    """Where the pointer is, if it is on the board, and the shape in the making: nothing of it is kept."""

    key: str = Field(max_length=20)
    name: str = Field(max_length=40)
    color: Color
    at: tuple[int, int] | None = None
    drawing: Shape | None = None


def newcomer() -> Person:
    """Somebody with a name and a colour, until they say who they are."""
    name = f"{random.choice(ADJECTIVES)} {random.choice(ANIMALS)}"
    return Person(key=uuid4().hex[:8], name=name, color=random.choice(COLORS))
