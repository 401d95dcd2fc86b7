"""A small application: the reducer that most tests of shared state use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from durafold.state.outcomes import Reject

__all__ = ["Add", "Break", "Finish", "Todo", "TodoAction", "Todos", "todo_reducer"]


class Todo(BaseModel):
    """One thing to do."""

    model_config = ConfigDict(frozen=True)
    text: str
    done: bool = False


class Todos(BaseModel):
    """All of them."""

    model_config = ConfigDict(frozen=True)
    items: tuple[Todo, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The texts, in order."""
        return [item.text for item in self.items]


class Add(BaseModel):
    """Add one; refused if it is there already."""

    type: Literal["add"] = "add"
    text: str


class Finish(BaseModel):
    """Mark one as done."""

    type: Literal["finish"] = "finish"
    text: str


class Break(BaseModel):
    """An action that the reducer cannot handle."""

    type: Literal["break"] = "break"


TodoAction = Annotated[Add | Finish | Break, Field(discriminator="type")]


def todo_reducer(state: Todos, action: TodoAction) -> Todos:
    """Fold one action."""
    match action:
        case Add(text=text):
            if text in state.texts:
                raise Reject(f"{text} is on the list already")
            return Todos(items=(*state.items, Todo(text=text)))
        case Finish(text=text):
            return Todos(
                items=tuple(
                    item.model_copy(update={"done": True}) if item.text == text else item
                    for item in state.items
                )
            )
        case Break():
            raise ZeroDivisionError("a bug in the reducer")
