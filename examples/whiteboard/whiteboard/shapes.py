"""A whiteboard as a reducer: the shapes on it, what can happen to them, and what undoes that.

Plain Python on purpose: no Reflex, no network. Coordinates are whole units of a board of 1600 by 1000.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from durafold import Reject, reducer

WIDTH, HEIGHT = 1600, 1000
MAX_SHAPES = 400

Color = Literal["ink", "red", "amber", "green", "blue", "violet"]
Coordinate = Annotated[int, Field(ge=-WIDTH, le=2 * WIDTH)]
Id = Annotated[str, Field(min_length=1, max_length=64)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Placed(Frozen):
    """What all shapes have. `layer` says what covers what; the reducer gives it."""

    id: Id
    color: Color
    x: Coordinate
    y: Coordinate
    layer: int = 0


class Stroke(Placed):
    """A line by hand: x and y of its points in turn, as seen from the place of the shape."""

    kind: Literal["stroke"] = "stroke"
    points: list[Coordinate] = Field(max_length=800)


class Box(Placed):
    kind: Literal["box"] = "box"
    width: int = Field(ge=0, le=WIDTH)
    height: int = Field(ge=0, le=HEIGHT)


class Note(Placed):
    kind: Literal["note"] = "note"
    text: str = Field(max_length=280)


AnyShape = Stroke | Box | Note
Shape = Annotated[AnyShape, Field(discriminator="kind")]


class Board(Frozen):
    """Shapes from the lowest layer to the highest, and how many layers were given so far."""

    shapes: list[Shape] = []
    layers: int = 0

    def having(self, shapes: list[AnyShape]) -> "Board":
        return Board(shapes=shapes, layers=self.layers)


class Draw(Frozen):
    type: Literal["draw"] = "draw"
    shape: Shape


class Shift(Frozen):
    """By so much, not to a place: two people who push one shape both move it."""

    type: Literal["shift"] = "shift"
    id: Id
    dx: Coordinate
    dy: Coordinate


class Write(Frozen):
    """The text of a note."""

    type: Literal["write"] = "write"
    id: Id
    text: str = Field(max_length=280)


class Erase(Frozen):
    type: Literal["erase"] = "erase"
    id: Id


class Clear(Frozen):
    """All that is there when it happens; what others draw in the same moment stays, if it comes after."""

    type: Literal["clear"] = "clear"


class Restore(Frozen):
    """Undoes what erased shapes: as they were, on the layers where they were."""

    type: Literal["restore"] = "restore"
    shapes: list[Shape] = Field(max_length=MAX_SHAPES)


AnyAction = Draw | Shift | Write | Erase | Clear | Restore
BoardAction = Annotated[AnyAction, Field(discriminator="type")]


def undoing(before: Board, action: AnyAction) -> AnyAction | None:
    """What takes an action back, given the board that it found; None if it did nothing."""
    match action:
        case Draw(shape=shape):
            return Erase(id=shape.id)
        case Shift(id=id, dx=dx, dy=dy):
            return Shift(id=id, dx=-dx, dy=-dy)
        case Write(id=id):
            note = find(before, id)
            return Write(id=id, text=note.text) if isinstance(note, Note) else None
        case Erase(id=id):
            erased = find(before, id)
            return Restore(shapes=[erased]) if erased else None
        case Clear():
            return Restore(shapes=before.shapes) if before.shapes else None
        case Restore():
            return None  # it is itself an undoing; redoing does again what it undid


@reducer(BoardAction, inverse=undoing)
def board_reducer(board: Board, action: AnyAction) -> Board:
    match action:
        case Draw(shape=shape):
            return drawn(board, shape)
        case Shift(id=id, dx=dx, dy=dy):
            return changed(board, id, lambda shape: {"x": shape.x + dx, "y": shape.y + dy})
        case Write(id=id, text=text):
            return changed(board, id, lambda shape: {"text": text} if isinstance(shape, Note) else {})
        case Erase(id=id):
            return board.having([shape for shape in board.shapes if shape.id != id])
        case Clear():
            return board.having([])
        case Restore(shapes=shapes):
            return restored(board, shapes)


def find(board: Board, key: str) -> AnyShape | None:
    return next((shape for shape in board.shapes if shape.id == key), None)


def drawn(board: Board, shape: AnyShape) -> Board:
    """With a shape on top of all others."""
    if find(board, shape.id):
        return board
    require_room(board, 1)
    top = board.layers + 1
    return Board(shapes=[*board.shapes, shape.model_copy(update={"layer": top})], layers=top)


def restored(board: Board, shapes: list[AnyShape]) -> Board:
    """With those that are missing, each on its layer; all of them or, if they don't fit, none."""
    here = {shape.id for shape in board.shapes}
    missing = [shape for shape in shapes if shape.id not in here]
    require_room(board, len(missing))
    return board.having(sorted([*board.shapes, *missing], key=lambda shape: shape.layer))


def require_room(board: Board, shapes: int) -> None:
    """Raises Reject if so many more shapes don't fit."""
    room = MAX_SHAPES - len(board.shapes)
    if shapes <= room:
        return
    if room == 0:
        raise Reject(f"This board is full: it holds {MAX_SHAPES} shapes. Erase some, or clear it.")
    raise Reject(f"{shapes} shapes are to come back, with room for {room} on this board. Erase some first.")


def changed(board: Board, key: str, change: Callable[[AnyShape], dict[str, object]]) -> Board:
    return board.having([s.model_copy(update=change(s)) if s.id == key else s for s in board.shapes])
