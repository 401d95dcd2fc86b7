"""`use_presence` for Reflex: who else looks at a page, as an `rx.State` class.

Every tab is a person of its own, and all of them share one connection to the room. What a tab shows is kept
in its Reflex session too, so that a tab which was away for a while is who it was.

Showing something is an ordinary event and no background one: nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import reflex as rx
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json
from reflex.event import EventSpec

from durafold.errors import ConfigurationError, DurafoldError, InvalidAction
from durafold.presence import Presence, presence_key, room_of
from durafold.reflex._internals import tab_of
from durafold.reflex.classes import (
    HUB,
    FilledByApp,
    Members,
    event,
    place_of,
    state_class,
    status_of,
    toast,
    uncached,
    validated,
)
from durafold.reflex.specs import RoomSpec

if TYPE_CHECKING:
    from durafold.reflex._types import PresenceClass  # pyright: ignore[reportMissingModuleSource] - types only

__all__ = ["use_presence"]

M = TypeVar("M")


def use_presence(
    room: str,
    model: type[M],
    *,
    initial: M | Callable[[], M] | None = None,
    ttl_s: float = 15.0,
    name: str | None = None,
    parameters: FilledByApp | None = None,
    base: type[rx.State] | None = None,
) -> type[PresenceClass[M]]:
    """Who else is here, in any tab of any app or program, and what each shows: cursors, names, "is typing".

    Call it at module level; nothing is opened until the app runs.

        class Person(BaseModel):
            name: str = "Somebody"
            x: int = 0

        People = use_presence("rooms/[room]", Person, initial=Person())

        rx.text(People.count, " people here")
        rx.foreach(People.others, lambda person: rx.text(person.name))
        rx.input(on_change=lambda name: People.update({"name": name}))

    The class has these vars:

    - `others`: what the others show, in the order of their coming.
    - `count`: how many there are, this tab included if it shows something.
    - `me`: what this tab shows, or None.
    - `status`: how the room's stream is doing, as in `durafold.reflex`.

    and these events, whose values may be vars:

    - `show`: show this from now on.
    - `update`: change some fields of what this tab shows, and leave the others as they are.

    They may be sent for every move of a mouse: the latest counts, and the others hear of at most 20 a second
    (fewer where a room is crowded). Spare the browser with `People.update(...).throttle(50)`.

    Who closes a tab has left a moment later (about two seconds); where a whole app vanishes, its tabs do
    after `ttl_s`.

    Args:
        room: its name; the stream `<room>/__presence__` carries it. `[room]` in it stands for the part of the
            page's route, or of its query, that has this name: `rooms/[room]` is one room for each.
        model: type of what is shown: a pydantic model, a dataclass, `str` ... A browser can send anything;
            what is not of this type is refused.
        initial: what a tab shows from the moment that it looks; or a function that makes it, called for every
            tab. Default: a tab only looks on until it shows something.
        ttl_s: seconds after which somebody who was not heard of is gone, at most 3600. The same for all
            programs that take part.
        name: name of the class, unique in its module and the same at every start; made of the room by
            default.
        parameters: as for `use_server_state`.
        base: as for `use_server_state`.

    Raises:
        ConfigurationError: the room was declared with another type or `ttl_s`, the app runs already, or an
            argument cannot work.
    """
    key = presence_key(room)
    expected = _adapter(model)
    place = place_of(_spec(key, model, ttl_s), parameters)
    make_initial: Callable[[], M | None] = _maker(initial)

    def first(state: Any) -> M | None:
        kept: str = state._shown
        return cast("M", validated(expected, from_json(kept))) if kept else make_initial()

    def seat(state: Any) -> Presence[M]:
        def show(taken: Presence[M]) -> None:
            if (value := first(state)) is not None:
                taken.set(value)

        return HUB.sit(key, tab_of(state), place.parameters(state), show)

    def seat_if_any(state: Any) -> Presence[M] | None:
        return seat(state) if tab_of(state) and place.read(state) is not None else None

    def show_value(state: Any, value: Any) -> EventSpec | None:
        try:
            seat(state).set(validated(expected, value))
        except DurafoldError as error:
            return toast(error.message)
        state._shown = to_json(value).decode()
        return None

    def show(self: Any, value: Any) -> EventSpec | None:
        return show_value(self, value)

    def update(self: Any, changes: dict[str, Any]) -> EventSpec | None:
        try:
            return show_value(self, _merged(expected, seat(self).me, changes))
        except DurafoldError as error:
            return toast(error.message)

    kept: Members = {"_shown": "", "__annotations__": {"_shown": str}}
    members = kept | _vars(model, seat_if_any) | event(show) | event(update)
    return cast("type[PresenceClass[M]]", state_class(name, key, members, base))


def _spec(key: str, model: type[Any], ttl_s: float) -> RoomSpec:
    return RoomSpec(
        key,
        lambda party, actual, _: party.presence(room_of(actual), model, ttl_s=ttl_s),
        ("room", model, ttl_s),
        lambda party, actual: party.presence(room_of(actual), model, ttl_s=ttl_s, apart=True),
    )


def _vars(model: Any, seat: Callable[[Any], Presence[Any] | None]) -> Members:
    def var(name: str, var_type: Any, initial: Any, read: Callable[[Presence[Any]], Any]) -> Any:
        def getter(state: Any) -> Any:
            return initial if (taken := seat(state)) is None else read(taken)

        return uncached(name, var_type, initial, getter)

    return {
        "others": var("others", list[model], [], lambda taken: list(taken.others.values())),
        "count": var("count", int, 0, lambda taken: len(taken.others) + (taken.me is not None)),
        "me": var("me", model | None, None, lambda taken: taken.me),
        "status": var("status", str, "connecting", status_of),
    }


def _maker(initial: Any) -> Callable[[], Any]:
    return initial if callable(initial) else lambda: initial


def _merged(expected: TypeAdapter[Any], me: Any, changes: object) -> dict[str, Any]:
    """What a tab shows, with some fields changed. `changes` are from a browser and may be anything."""
    shown = {} if me is None else expected.dump_python(me, mode="json")
    if not isinstance(changes, Mapping) or not isinstance(shown, dict):
        raise InvalidAction("Nothing was shown: only the fields of an object can be updated")
    return {**shown, **changes}


def _adapter(model: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(model)
    except Exception as error:
        raise ConfigurationError(f"Nothing of the type {model!r} can be shown: {error}") from error
