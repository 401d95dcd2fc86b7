"""`Rooms`: one presence for each room of a provider, as long as somebody is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from durafold.client import DurableStream, LiveChoice
from durafold.presence import Room, Seat, presence_key

__all__ = ["Rooms"]

M = TypeVar("M")


@dataclass(eq=False, slots=True)
class Rooms:
    """The rooms of a provider: entered with the first `Presence` of a name, left after the last.

    Attributes:
        client: who is there.
        new_id: names those who are there apart.
        open_stream: gives the stream of a key.
        live: how to wait for new data.
        report: is given what goes wrong.
        leave_timeout_s: seconds that telling the others has.
        entered: those somebody is in, by name.
    """

    client: str
    new_id: Callable[[], str]
    open_stream: Callable[[str], DurableStream]
    live: LiveChoice
    report: Callable[[Exception], None]
    leave_timeout_s: float
    entered: dict[str, Room[Any]] = field(default_factory=dict)

    def enter(self, name: str, model: type[M], ttl_s: float, tasks: TaskGroup, *, apart: bool) -> Seat[M]:
        """A seat in the room of a name.

        Raises:
            ConfigurationError: an argument cannot work, or the room is in use with another type or `ttl_s`.
        """
        room = self.entered.get(name)
        if room is None:
            room = self.entered[name] = self._new(name, model, ttl_s)
            tasks.start_soon(room.run, name=f"durafold presence {name}")
        room.require_same(model, ttl_s)
        return room.seat(apart=apart)

    def leave(self, seat: Seat[Any], tasks: TaskGroup) -> None:
        """A seat is given up: after the last, the others are told."""
        room = seat.room
        room.leave_seat(seat)
        if room.is_empty:
            del self.entered[room.room]
            tasks.start_soon(self._retire, room)

    async def left(self) -> None:
        """Tell the others in all rooms."""
        for room in list(self.entered.values()):
            await room.leave()

    def stop(self) -> None:
        """End all at once."""
        for room in self.entered.values():
            room.stop()

    def _new(self, name: str, model: type[M], ttl_s: float) -> Room[M]:
        return Room(
            name,
            self.open_stream(presence_key(name)),
            model,
            client=self.client,
            new_id=self.new_id,
            ttl_s=ttl_s,
            live=self.live,
            report=self.report,
        )

    async def _retire(self, room: Room[Any]) -> None:
        with anyio.move_on_after(self.leave_timeout_s):
            await room.leave()
