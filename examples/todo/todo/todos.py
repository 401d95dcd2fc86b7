"""A todo list as a reducer: what it holds, what can happen to it, what follows from that, and what undoes it.

Plain Python on purpose: no Reflex, no network. The same module serves a page, a script and a test.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from durafold import reducer

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Todo(Frozen):
    id: str
    text: str
    done: bool = False


class Todos(Frozen):
    todos: list[Todo] = []


class Add(Frozen):
    type: Literal["add"] = "add"
    id: str = Field(min_length=1, max_length=64)
    text: Text


class SetDone(Frozen):
    """Says what it shall be, not that it shall change: two people who both tick a todo agree."""

    type: Literal["set_done"] = "set_done"
    id: str
    done: bool


class Rename(Frozen):
    type: Literal["rename"] = "rename"
    id: str
    text: Text


class Move(Frozen):
    """To the place before another todo, or to the end. A place by name holds when others move things too."""

    type: Literal["move"] = "move"
    id: str
    before: str | None


class Remove(Frozen):
    type: Literal["remove"] = "remove"
    id: str


class Restore(Frozen):
    """Undoes a removal: the todo as it was, where it was."""

    type: Literal["restore"] = "restore"
    todo: Todo
    before: str | None


AnyAction = Add | SetDone | Rename | Move | Remove | Restore
TodoAction = Annotated[AnyAction, Field(discriminator="type")]


def undoing(before: Todos, action: AnyAction) -> AnyAction | None:
    """What takes an action back, given the list that it found; None if it did nothing."""
    match action, find(before, action.todo.id if isinstance(action, Restore) else action.id):
        case Add(id=id), None:
            return Remove(id=id)
        case Restore(todo=todo), None:
            return Remove(id=todo.id)
        case SetDone(id=id), Todo(done=done):
            return SetDone(id=id, done=done)
        case Rename(id=id), Todo(text=text):
            return Rename(id=id, text=text)
        case Move(id=id), Todo():
            return Move(id=id, before=follower(before, id))
        case Remove(id=id), Todo() as todo:
            return Restore(todo=todo, before=follower(before, id))
        case _:
            return None


@reducer(TodoAction, inverse=undoing)
def todo_reducer(state: Todos, action: AnyAction) -> Todos:
    todos = state.todos
    match action:
        case Add(id=id, text=text):
            return state if find(state, id) else Todos(todos=[*todos, Todo(id=id, text=text)])
        case SetDone(id=id, done=done):
            return changed(state, id, {"done": done})
        case Rename(id=id, text=text):
            return changed(state, id, {"text": text})
        case Move(id=id, before=before):
            moved = find(state, id)
            return placed(without(state, id), moved, before) if moved and before != id else state
        case Remove(id=id):
            return without(state, id)
        case Restore(todo=todo, before=before):
            return state if find(state, todo.id) else placed(state, todo, before)


def find(state: Todos, key: str) -> Todo | None:
    return next((todo for todo in state.todos if todo.id == key), None)


def follower(state: Todos, key: str) -> str | None:
    """Which todo comes behind one."""
    ids = [todo.id for todo in state.todos]
    return dict(pairwise(ids)).get(key)


def changed(state: Todos, key: str, update: dict[str, object]) -> Todos:
    return Todos(todos=[t.model_copy(update=update) if t.id == key else t for t in state.todos])


def without(state: Todos, key: str) -> Todos:
    return Todos(todos=[todo for todo in state.todos if todo.id != key])


def placed(state: Todos, todo: Todo, before: str | None) -> Todos:
    """With a todo before another one; at the end if that is gone."""
    ids = [other.id for other in state.todos]
    index = ids.index(before) if before in ids else len(ids)
    return Todos(todos=[*state.todos[:index], todo, *state.todos[index:]])
