"""The whiteboard: its reducer, and tabs in the rooms of the running app."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("reflex", reason="the Reflex examples need: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from durafold import Reject
from support.examples import EXAMPLES
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_app")

HERE: Final = EXAMPLES / "whiteboard"
MODULE: Final = "whiteboard.whiteboard"


def load_shapes() -> Any:
    spec = importlib.util.spec_from_file_location("example_shapes", HERE / "whiteboard" / "shapes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shapes: Final = load_shapes()


def note(key: str, text: str = "") -> Any:
    return shapes.Note(id=key, color="amber", x=10, y=20, text=text)


def with_notes(*keys: str) -> Any:
    return reduce(shapes.board_reducer, [shapes.Draw(shape=note(key)) for key in keys], shapes.Board())


def ids(board: Any) -> str:
    return "".join(shape.id for shape in board.shapes)


ABC: Final = with_notes("a", "b", "c")


@pytest.mark.parametrize(
    "action",
    [
        shapes.Draw(shape=note("d")),
        shapes.Shift(id="b", dx=5, dy=-7),
        shapes.Write(id="b", text="other"),
        shapes.Erase(id="a"),
        shapes.Clear(),
    ],
    ids=lambda action: str(action.type),
)
def test_the_inverse_of_an_action_restores_the_board(action: Any) -> None:
    changed = shapes.board_reducer(ABC, action)

    restored = shapes.board_reducer(changed, shapes.undoing(ABC, action))

    assert changed.shapes != ABC.shapes
    assert restored.shapes == ABC.shapes


def test_undoing_a_clear_keeps_what_was_drawn_meanwhile_on_top() -> None:
    cleared = shapes.board_reducer(ABC, shapes.Clear())
    drawn = shapes.board_reducer(cleared, shapes.Draw(shape=note("d")))

    restored = shapes.board_reducer(drawn, shapes.undoing(ABC, shapes.Clear()))

    assert ids(restored) == "abcd"


def test_a_full_board_refuses_another_shape() -> None:
    full = with_notes(*map(str, range(shapes.MAX_SHAPES)))

    with pytest.raises(Reject, match="This board is full"):
        shapes.board_reducer(full, shapes.Draw(shape=note("one more")))


def test_a_full_board_refuses_what_undoing_an_erasure_brings_back() -> None:
    full = with_notes(*map(str, range(shapes.MAX_SHAPES)))
    erased = shapes.board_reducer(full, shapes.Erase(id="7"))
    full_again = shapes.board_reducer(erased, shapes.Draw(shape=note("meanwhile")))

    with pytest.raises(Reject, match="This board is full"):
        shapes.board_reducer(full_again, shapes.undoing(full, shapes.Erase(id="7")))


def test_a_clear_is_not_half_undone_on_a_board_with_too_little_room() -> None:
    most = with_notes(*map(str, range(shapes.MAX_SHAPES - 1)))
    drawn = shapes.board_reducer(shapes.board_reducer(most, shapes.Clear()), shapes.Draw(shape=note("a")))
    drawn_more = shapes.board_reducer(drawn, shapes.Draw(shape=note("b")))

    with pytest.raises(Reject, match="399 shapes are to come back, with room for 398"):
        shapes.board_reducer(drawn_more, shapes.undoing(most, shapes.Clear()))


def test_shapes_that_are_back_already_need_no_room() -> None:
    full = with_notes(*map(str, range(shapes.MAX_SHAPES)))

    restored = shapes.board_reducer(full, shapes.undoing(full, shapes.Erase(id="7")))

    assert restored == full


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReflexApp]:
    directory: Path = tmp_path_factory.mktemp("whiteboard")
    with ReflexApp(f"http://127.0.0.1:{free_port()}/v1/stream", directory, source=HERE) as app:
        yield app


def shown(tab: ReflexTab) -> list[str]:
    return [shape["id"] for shape in tab.shown["Shapes.value"]["shapes"]]


def test_a_shape_is_drawn_on_one_board_and_not_on_others(app: ReflexApp) -> None:
    with (
        ReflexTab(app.url, MODULE, query={"room": "red"}) as here,
        ReflexTab(app.url, MODULE, query={"room": "red"}) as there,
        ReflexTab(app.url, MODULE, query={"room": "blue"}) as elsewhere,
    ):
        here.send("Shapes.dispatch", action={"type": "draw", "shape": note("mine").model_dump()})
        there.wait_for(lambda: shown(there) == ["mine"])
        elsewhere.send("Shapes.dispatch", action={"type": "draw", "shape": note("other").model_dump()})
        elsewhere.wait_for(lambda: shown(elsewhere) == ["other"])

        there.send("Shapes.dispatch", action={"type": "clear"})
        here.wait_for(lambda: shown(here) == [])
        there.send("Shapes.undo")
        here.wait_for(lambda: shown(here) == ["mine"])
        assert shown(elsewhere) == ["other"]


def test_others_see_a_pointer_and_what_it_draws_until_it_leaves(app: ReflexApp) -> None:
    with ReflexTab(app.url, MODULE, query={"room": "busy"}) as here:
        with ReflexTab(app.url, MODULE, query={"room": "busy"}) as there:
            here.wait_for(lambda: here.shown["People.count"] == 2)
            drawing = note("draft", "half a wo").model_dump()

            there.send("People.update", changes={"at": [30, 40], "drawing": drawing})

            here.wait_for(lambda: here.shown["People.others"][0]["at"] == [30, 40])
            assert here.shown["People.others"][0]["drawing"]["text"] == "half a wo"
            assert here.shown["People.others"][0]["name"] == there.shown["People.me"]["name"]
        here.wait_for(lambda: here.shown["People.others"] == [])
        assert shown(here) == []
