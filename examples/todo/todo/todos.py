"""A todo list as a reducer: what it holds, what can happen to it, what follows from that, and what undoes it.

Plain Python on purpose: no Reflex, no network. The same module serves a page, a terminal and a test.

A todo stands where its rank says: a key between two others, with always room for one more in between. So what
is moved lands where it was put, also when its neighbours were moved or removed at the same time.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from durafold import reducer

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]

# Eight hexadecimal digits that count, and more behind them for what was put in between; no zero at the end of
# those, as nothing would fit before it.
HEAD = 8
Rank = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}([0-9a-f]*[1-9a-f])?$", max_length=200)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Todo(Frozen):
    id: str
    text: str
    done: bool = False
    rank: Rank


class Todos(Frozen):
    """In the order of their ranks, of which there are no two alike."""

    todos: list[Todo] = []


class Add(Frozen):
    """To the end of the list."""

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
    type: Literal["move"] = "move"
    id: str
    rank: Rank


class Remove(Frozen):
    type: Literal["remove"] = "remove"
    id: str


class Restore(Frozen):
    """Undoes a removal: the todo as it was, where it was."""

    type: Literal["restore"] = "restore"
    todo: Todo


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
        case Move(id=id), Todo(rank=rank):
            return Move(id=id, rank=rank)
        case Remove(), Todo() as todo:
            return Restore(todo=todo)
        case _:
            return None


@reducer(TodoAction, inverse=undoing)
def todo_reducer(state: Todos, action: AnyAction) -> Todos:
    match action:
        case Add(id=id, text=text):
            return state if find(state, id) else placed(state, Todo(id=id, text=text, rank=end(state)))
        case SetDone(id=id, done=done):
            return changed(state, id, {"done": done})
        case Rename(id=id, text=text):
            return changed(state, id, {"text": text})
        case Move(id=id, rank=rank):
            moved = find(state, id)
            return placed(without(state, id), moved.model_copy(update={"rank": rank})) if moved else state
        case Remove(id=id):
            return without(state, id)
        case Restore(todo=todo):
            return state if find(state, todo.id) else placed(state, todo)


def find(state: Todos, key: str) -> Todo | None:
    return next((todo for todo in state.todos if todo.id == key), None)


def changed(state: Todos, key: str, update: dict[str, object]) -> Todos:
    return Todos(todos=[t.model_copy(update=update) if t.id == key else t for t in state.todos])


def without(state: Todos, key: str) -> Todos:
    return Todos(todos=[todo for todo in state.todos if todo.id != key])


def placed(state: Todos, todo: Todo) -> Todos:
    """With a todo where its rank says; behind the one that has this rank already, if there is one."""
    before = [other for other in state.todos if other.rank <= todo.rank]
    behind = state.todos[len(before) :]
    if before and before[-1].rank == todo.rank:
        todo = todo.model_copy(update={"rank": between(todo.rank, behind[0].rank if behind else None)})
    return Todos(todos=[*before, todo, *behind])


def rank_before(state: Todos, key: str | None) -> str:
    """The rank that puts a todo right before another one; at the end if that is None or gone."""
    found = find(state, key) if key else None
    if found is None:
        return end(state)
    index = state.todos.index(found)
    return between(state.todos[index - 1].rank if index else "", found.rank)


def rank_behind(state: Todos, key: str) -> str:
    """The rank that puts a todo right behind another one; at the end if that is gone."""
    ranks = [todo.rank for todo in state.todos]
    found = find(state, key)
    if found is None or found.rank == ranks[-1]:
        return end(state)
    return between(found.rank, ranks[ranks.index(found.rank) + 1])


def end(state: Todos) -> str:
    """The rank behind all. It counts on, so that a list that only grows keeps short ranks."""
    last = state.todos[-1].rank if state.todos else "0"
    return f"{int(last[:HEAD], 16) + 1:0{HEAD}x}"


def between(low: str, high: str | None) -> str:
    """A rank between two others; None stands for no upper end."""
    rank = ""
    while True:
        place = len(rank)
        least = int(low[place], 16) if place < len(low) else 0
        most = int(high[place], 16) if high is not None and place < len(high) else 16
        if most - least > 1 and place >= HEAD - 1:
            return rank + f"{(least + most) // 2:x}"
        rank += f"{least:x}"
        if most > least:
            high = None  # whatever follows is below it
