"""A guestbook as a reducer: what it holds, what can happen to it, and what follows from that."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=280)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]

KEY = "guestbook"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Entry(Frozen):
    name: str
    text: str


class Guestbook(Frozen):
    entries: list[Entry] = []


class Sign(Frozen):
    type: Literal["sign"] = "sign"
    name: Name
    text: Line


def guestbook_reducer(state: Guestbook, action: Sign) -> Guestbook:
    return Guestbook(entries=[*state.entries, Entry(name=action.name, text=action.text)])
