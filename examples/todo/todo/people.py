"""Who has the list open: what one window shows to the others, for as long as it is open."""

import random
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, Field

ADJECTIVES = "Amber", "Brisk", "Calm", "Clever", "Gentle", "Lucky", "Nimble", "Quiet", "Sunny", "Swift"
ANIMALS = "Badger", "Crane", "Dolphin", "Falcon", "Heron", "Lynx", "Marten", "Otter", "Panda", "Robin"

Color = Literal["red", "amber", "grass", "blue", "violet"]
COLORS: tuple[Color, ...] = "red", "amber", "grass", "blue", "violet"


class Person(BaseModel):
    key: str = Field(max_length=20)
    name: str = Field(max_length=40)
    color: Color
    editing: str = Field(default="", max_length=64)
    """The id of the todo whose text this person is changing."""


def newcomer() -> Person:
    """Somebody with a name and a colour, until they say who they are."""
    name = f"{random.choice(ADJECTIVES)} {random.choice(ANIMALS)}"
    return Person(key=uuid4().hex[:8], name=name, color=random.choice(COLORS))
