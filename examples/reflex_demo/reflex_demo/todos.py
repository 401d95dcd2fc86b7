"""A todo list as a reducer: what it holds, what can happen to it, and what follows from that.

Plain Python on purpose: no Reflex, no network. The same module serves a page, a script and a test.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Todo(Frozen):
    id: int
    text: str
    done: bool = False


class Todos(Frozen):
    todos: list[Todo] = []
    next_id: int = 1


class Add(Frozen):
    type: Literal["add"] = "add"
    text: Text


class Toggle(Frozen):
    type: Literal["toggle"] = "toggle"
    id: int


class Remove(Frozen):
    type: Literal["remove"] = "remove"
    id: int


TodoAction = Annotated[Add | Toggle | Remove, Field(discriminator="type")]


def todo_reducer(state: Todos, action: Add | Toggle | Remove) -> Todos:
    match action:
        case Add(text=text):
            added = Todo(id=state.next_id, text=text)
            return Todos(todos=[*state.todos, added], next_id=state.next_id + 1)
        case Toggle(id=id):
            todos = [t.model_copy(update={"done": not t.done}) if t.id == id else t for t in state.todos]
            return state.model_copy(update={"todos": todos})
        case Remove(id=id):
            return state.model_copy(update={"todos": [t for t in state.todos if t.id != id]})
