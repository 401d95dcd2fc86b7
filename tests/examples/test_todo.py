"""The todo app: its reducer, and two tabs of the running app."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis.strategies import lists, permutations

pytest.importorskip("reflex", reason="the Reflex examples need: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from support.examples import EXAMPLES
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_app")

HERE: Final = EXAMPLES / "todo"
MODULE: Final = "todo.todo"


def load_todos() -> Any:
    spec = importlib.util.spec_from_file_location("example_todos", HERE / "todo" / "todos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


todos: Final = load_todos()

ABC: Final = todos.Todos(
    todos=[todos.Todo(id=key, text=key.upper(), rank=f"0000000{place}") for place, key in enumerate("abc", 1)]
)


def ids(state: Any) -> str:
    return "".join(todo.id for todo in state.todos)


def move(state: Any, key: str, before: str | None) -> Any:
    """The action of somebody who sees this list and puts a todo before another one."""
    return todos.Move(id=key, rank=todos.rank_before(todos.without(state, key), before))


@pytest.mark.parametrize(
    "action",
    [
        todos.Add(id="d", text="D"),
        todos.SetDone(id="b", done=True),
        todos.Rename(id="b", text="other"),
        move(ABC, "a", None),
        move(ABC, "c", "a"),
        todos.Remove(id="a"),
        todos.Remove(id="c"),
    ],
    ids=repr,
)
def test_the_inverse_of_an_action_restores_the_list(action: Any) -> None:
    changed = todos.todo_reducer(ABC, action)

    restored = todos.todo_reducer(changed, todos.undoing(ABC, action))

    assert changed != ABC
    assert restored == ABC


def test_undoing_a_removal_keeps_what_others_did_meanwhile() -> None:
    without_b = todos.todo_reducer(ABC, todos.Remove(id="b"))
    and_c_first = todos.todo_reducer(without_b, move(without_b, "c", "a"))

    restored = todos.todo_reducer(and_c_first, todos.undoing(ABC, todos.Remove(id="b")))

    assert ids(restored) == "cab"


def test_a_todo_lands_where_it_was_put_though_its_neighbour_was_moved_away_at_the_same_time() -> None:
    mine, theirs = move(ABC, "c", "b"), move(ABC, "b", "a")

    either_way = [
        todos.todo_reducer(todos.todo_reducer(ABC, first), second)
        for first, second in ((mine, theirs), (theirs, mine))
    ]

    assert [ids(state) for state in either_way] == ["bac", "bac"]


def test_two_todos_put_in_one_place_at_the_same_time_stand_beside_each_other() -> None:
    abcd = todos.todo_reducer(ABC, todos.Add(id="d", text="D"))
    mine, theirs = move(abcd, "c", "b"), move(abcd, "d", "b")

    after_both = todos.todo_reducer(todos.todo_reducer(abcd, mine), theirs)

    assert ids(after_both) == "acdb"
    assert ids(todos.todo_reducer(after_both, move(after_both, "a", "d"))) == "cadb"


def move_pair(state: Any, pair: tuple[str, str]) -> Any:
    return todos.todo_reducer(state, move(state, *pair))


def move_letter(order: str, pair: tuple[str, str]) -> str:
    key, before = pair
    return order.replace(key, "").replace(before, key + before)


@given(lists(permutations("abcdefgh").map(lambda keys: (keys[0], keys[1])), max_size=60))
def test_a_todo_can_always_be_put_before_any_other(pairs: list[tuple[str, str]]) -> None:
    added = [todos.Add(id=key, text=key) for key in "abcdefgh"]

    state = reduce(move_pair, pairs, reduce(todos.todo_reducer, added, todos.Todos()))

    assert ids(state) == reduce(move_letter, pairs, "abcdefgh")


def test_an_action_on_a_todo_that_is_gone_changes_nothing_and_has_no_inverse() -> None:
    action = todos.Rename(id="gone", text="x")

    assert todos.todo_reducer(ABC, action) == ABC
    assert todos.undoing(ABC, action) is None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReflexApp]:
    directory: Path = tmp_path_factory.mktemp("todo")
    with ReflexApp(f"http://127.0.0.1:{free_port()}/v1/stream", directory, source=HERE) as app:
        yield app


@pytest.fixture
def here(app: ReflexApp) -> Iterator[ReflexTab]:
    """A tab that shows an empty list."""
    with ReflexTab(app.url, MODULE) as tab:
        tab.wait_for(lambda: tab.shown["TodoList.status"] == "live")
        yield tab
        for todo in tab.shown["TodoList.value"]["todos"]:
            tab.send("TodoList.dispatch", action={"type": "remove", "id": todo["id"]})
        tab.wait_for(lambda: tab.shown["TodoList.value"]["todos"] == [])


def rows(tab: ReflexTab) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = tab.shown["Page.rows"]
    return shown


def shows(tab: ReflexTab, *texts: str) -> None:
    """Wait until a tab shows these todos, all of them confirmed."""
    tab.wait_for(
        lambda: [(row["text"], row["is_unsaved"]) for row in rows(tab)] == [(text, False) for text in texts]
    )


def add(tab: ReflexTab, *texts: str) -> None:
    for text in texts:
        tab.send("TodoList.Page.add", form={"text": text})
        tab.wait_for(lambda text=text: text in [row["text"] for row in rows(tab)])


def test_every_tab_undoes_what_was_done_in_it(app: ReflexApp, here: ReflexTab) -> None:
    with ReflexTab(app.url, MODULE) as there:
        add(here, "mine")
        shows(there, "mine")
        add(there, "yours")
        shows(here, "mine", "yours")
        here.send("TodoList.undo")
        shows(here, "yours")
        shows(there, "yours")
        assert (here.shown["TodoList.can_undo"], here.shown["TodoList.can_redo"]) == (False, True)
        assert (there.shown["TodoList.can_undo"], there.shown["TodoList.can_redo"]) == (True, False)

        here.send("TodoList.redo")

        shows(there, "yours", "mine")
        shows(here, "yours", "mine")


def test_a_filter_is_of_one_tab_and_places_are_among_what_it_shows(app: ReflexApp, here: ReflexTab) -> None:
    with ReflexTab(app.url, MODULE) as there:
        add(here, "a", "b", "c")
        first, second, third = (row["id"] for row in rows(here))
        here.send("TodoList.dispatch", action={"type": "set_done", "id": second, "done": True})
        here.send("TodoList.Page.show", which="open")
        shows(here, "a", "c")

        here.send("TodoList.Page.place", key=third, before=first)

        shows(here, "c", "a")
        shows(there, "c", "a", "b")
        here.send("TodoList.Page.place", key=third, before="")
        shows(here, "a", "c")
        shows(there, "a", "c", "b")


def test_editing_in_place_keeps_the_text_that_is_not_empty(here: ReflexTab) -> None:
    add(here, "old")
    key = rows(here)[0]["id"]

    here.send("TodoList.Page.edit", key=key)
    here.send("TodoList.Page.rename", key=key, text=" new ")
    shows(here, "new")
    here.send("TodoList.Page.edit", key=key)
    here.wait_for(lambda: here.shown["Page.editing"] == key)
    here.send("TodoList.Page.rename", key=key, text="  ")
    here.wait_for(lambda: here.shown["Page.editing"] == "")

    shows(here, "new")


def test_an_empty_todo_is_refused_with_a_message(here: ReflexTab) -> None:
    here.send("TodoList.Page.add", form={"text": "  "})

    here.wait_for(lambda: any("at least 1 character" in toast for toast in here.toasts))
    assert rows(here) == []


def test_every_tab_sees_who_is_here_and_which_todo_they_change(app: ReflexApp, here: ReflexTab) -> None:
    with ReflexTab(app.url, MODULE) as there:
        add(here, "ours")
        key = rows(here)[0]["id"]
        here.wait_for(lambda: here.shown["People.count"] == 2)

        there.send("TodoList.Page.edit", key=key)
        here.wait_for(lambda: here.shown["People.others"][0]["editing"] == key)
        there.send("TodoList.Page.rename", key=key, text="ours, both")

        here.wait_for(lambda: here.shown["People.others"][0]["editing"] == "")
        shows(here, "ours, both")
    here.wait_for(lambda: here.shown["People.count"] == 1)
