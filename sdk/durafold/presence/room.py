"""`Room`: a process's connection to a room. `Seat`: a person's place in it. `Presence`: what users hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import anyio
from pydantic import ValidationError

from durafold.client import DurableStream, LiveChoice, Offset, Page, ReadStatus
from durafold.engine import Listeners, Reading, Status, leave_batch
from durafold.errors import (
    ConfigurationError,
    DurafoldError,
    InvalidAction,
    ProviderClosed,
    ServerUnavailable,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportError,
)
from durafold.presence.messages import GONE, HERE, WHO, sender_of
from durafold.presence.roster import Roster
from durafold.presence.voices import Voices
from durafold.state.json_values import NotJson
from durafold.state.models import Model, UnresolvedModel, model_of
from durafold.state.outcomes import UnknownAction

__all__ = ["MAX_TTL_S", "RETENTION_BYTES", "Presence", "Room", "Seat"]

M = TypeVar("M")

MAX_TTL_S: Final = 3600
"""The longest `ttl_s`; also the seconds after which the stream of an empty room expires."""

RETENTION_BYTES: Final = 64 * 1024
"""How much of a room's past is kept; enough for who reconnects after a moment."""

_BEATS: Final = 3
"""How often `here` is said in `ttl_s`, so that losing one or two does not make a ghost."""

_INTERVAL_S: Final = 0.05
"""The least time between two updates of one client: what is shown in between is replaced by the latest."""


class Room(Generic[M]):
    """One process in a room: listens, says what its people show, and forgets ghosts.

    Made by `Provider.presence`.

    Args:
        room: its name.
        stream: what carries it.
        model: type of what people show.
        client: the id of this process; its people's ids are this one, or begin with it and a dot.
        new_id: makes an id for one more person.
        ttl_s: see `Provider.presence`.
        live: how to wait for new data.
        report: is given errors that nobody awaits.

    Attributes:
        room: as given.
        error: why the server does not serve the room, while it does not.
        has_ended: whether it was left.

    Raises:
        ConfigurationError: the type or `ttl_s` cannot work.
    """

    def __init__(
        self,
        room: str,
        stream: DurableStream,
        model: type[M],
        *,
        client: str,
        new_id: Callable[[], str],
        ttl_s: float,
        live: LiveChoice,
        report: Callable[[Exception], None],
    ) -> None:
        self.room = room
        self.error: Exception | None = None
        self.has_ended = False
        self._stream = stream
        self._declared = (model, _checked_ttl(ttl_s))
        self._codec = _codec(model)
        self._client = client
        self._new_id = new_id
        self._ttl_s = ttl_s
        self._live: LiveChoice = live
        self._report = report
        self._seats: dict[str, Seat[M]] = {}
        self._roster: Roster[M] = Roster(ttl_s)
        self._voices: Voices[M] = Voices(client)
        self._attempts = 0
        self._reading: ReadStatus = "connecting"
        self._due = anyio.Event()
        self._joined = anyio.Event()
        self._turn = anyio.Lock()
        self._scope = anyio.CancelScope()

    # ---- seats ----

    @property
    def is_empty(self) -> bool:
        """Whether nobody of this process uses it."""
        return not self._seats

    def seat(self, *, apart: bool) -> Seat[M]:
        """One more use of this process's own seat; or a seat of its own for one more person."""
        who = self._new_id() if apart else self._client
        seat = self._seats.get(who)
        if seat is None:
            seat = self._seats[who] = Seat(self, who, Listeners(self._report))
        seat.users += 1
        return seat

    def leave_seat(self, seat: Seat[M]) -> None:
        """One use less; with the last, who sat there leaves, which the others are told soon."""
        seat.users -= 1
        if seat.users:
            return
        self._seats.pop(seat.who, None)
        if self._voices.leave(seat.who):
            self._due.set()
            self._announce(value=True, progress=False)
        seat.end()

    def require_same(self, model: type[Any], ttl_s: float) -> None:
        """Check that somebody else in this process means the same room.

        Raises:
            ConfigurationError: another type or `ttl_s` is in use.
        """
        if self._declared != (model, ttl_s):
            raise ConfigurationError(
                f"The presence of {self.room!r} is in use as {self._declared}, not {(model, ttl_s)}",
                hint="Use one type and one ttl_s for a room",
            )

    # ---- for seats ----

    @property
    def joined(self) -> bool:
        """Whether the others were asked."""
        return self._joined.is_set()

    @property
    def status(self) -> Status:
        """How its stream is doing."""
        if self.has_ended:
            return "closed"
        if self.error is not None:
            return "failed"
        if not self.joined:
            return "connecting"
        return "reconnecting" if self._reading in ("connecting", "reconnecting") else "live"

    def shown_by(self, who: str) -> M | None:
        """What somebody of this process shows."""
        return self._voices.people.get(who)

    def others_than(self, who: str) -> Mapping[str, M]:
        """What everybody else shows, in this process and elsewhere."""
        if not self._voices.people.keys() - {who}:
            return self._roster.people
        everybody = {**self._roster.people, **self._voices.people}
        everybody.pop(who, None)
        return MappingProxyType(everybody)

    def show(self, seat: Seat[M], value: M) -> None:
        """Say soon what somebody shows from now on; see `Presence.set`."""
        try:
            shown = self._codec.dump(value)
        except NotJson as exc:
            raise InvalidAction(f"Nothing was shown: {exc}", stream=self.room) from exc
        self._voices.show(seat.who, value, shown)
        self._due.set()
        for other in tuple(self._seats.values()):
            other.announce(value=other is not seat)

    # ---- life ----

    async def run(self) -> None:
        """Be in the room until `stop` or `leave`."""
        leave_batch()
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen)
                    tasks.start_soon(self._speak)
                    tasks.start_soon(self._forget_ghosts)
        finally:
            self.stop()

    async def leave(self) -> None:
        """Say that everybody of this process leaves, and stop. Where the server is away, `ttl_s` does it."""
        try:
            async with self._turn:
                for who in tuple(self._voices.people):
                    self._voices.leave(who)
                leaving = [message for message in self._voices.take() if message["type"] == GONE]
                if leaving and self.joined:
                    await self._stream.append_many(leaving)
        except DurafoldError:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """End at once, without saying so."""
        if not self.has_ended:
            self.has_ended = True
            self._scope.cancel()
            self._announce(value=False, progress=True)

    # ---- listening ----

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except DurafoldError as error:
                self._note(error)
                await anyio.sleep(self._delay_s())
            else:
                self._scope.cancel()  # somebody closed the stream: nothing will come any more
                return

    async def _follow(self) -> None:
        follower = self._stream.follow(await self._tail(), live=self._live, on_status=self._status_changed)
        async with follower:
            async for page in follower:
                self._take(page)

    async def _tail(self) -> Offset:
        """Where the present begins. Whoever comes later sees our question, or asks us."""
        try:
            info = await self._stream.create(ttl_s=MAX_TTL_S, retention_bytes=RETENTION_BYTES)
        except StreamConflict:  # made by another version, with a time-to-live of its own
            info = await self._stream.head()
        self._voices.ask()
        self._voices.repeat()
        self._due.set()
        return info.next_offset

    def _take(self, page: Page) -> None:
        changes = [self._hear(message) for message in page.json()]
        self._attempts, self.error = 0, None
        is_new = not self.joined
        if is_new:
            self._joined.set()
        self._announce(value=any(changes), progress=is_new)

    def _hear(self, message: Any) -> bool:
        """Heed one message; returns whether it changes who is here."""
        client = sender_of(message)
        if client is None:
            return False
        kind = message.get("type")
        if self._is_ours(client):
            if kind == GONE and client in self._voices.people:
                self._answer()  # who left a moment ago is back, and the leaving was said last
            return False
        if kind == HERE:
            return self._hear_here(client, message.get("payload"))
        if kind == WHO and self._voices.people:
            self._answer()
        return kind == GONE and self._roster.leave(client)

    def _answer(self) -> None:
        """Say soon who of this process is here."""
        self._voices.repeat()
        self._due.set()

    def _is_ours(self, client: str) -> bool:
        return client == self._client or client.startswith(f"{self._client}.")

    def _hear_here(self, client: str, payload: Any) -> bool:
        try:
            return self._roster.hear(client, self._codec.parse(payload), anyio.current_time())
        except (ValidationError, UnknownAction):
            return False  # of another version of the program
        except Exception as error:  # noqa: BLE001 - of the user's model: it must not end the provider's streams
            self._report(error)
            return False

    def _status_changed(self, status: ReadStatus) -> None:
        self._reading = status
        self._announce(value=False, progress=True)

    def _note(self, error: DurafoldError) -> None:
        """A refusal is a failure; that the stream has expired, or no way leads to it, is not."""
        passing = (StreamNotFound, StreamGone, TransportError, ServerUnavailable, TooManyRequests)
        self._reading = "reconnecting"
        if not isinstance(error, passing):
            is_news, self.error = self.error is None, error
            if is_news:
                self._report(error)
        self._announce(value=False, progress=True)

    def _announce(self, *, value: bool, progress: bool) -> None:
        if value or progress:
            for seat in tuple(self._seats.values()):
                seat.announce(value=value)

    async def _forget_ghosts(self) -> None:
        while True:
            await anyio.sleep(self._roster.next_s(anyio.current_time()))
            self._announce(value=self._roster.forget(anyio.current_time()), progress=False)

    # ---- speaking ----

    async def _speak(self) -> None:
        """Say what is due, the latest only, and from time to time that everybody is still here."""
        beat_s = self._ttl_s / _BEATS
        next_beat_s = anyio.current_time() + beat_s
        while True:
            await self._joined.wait()
            with anyio.CancelScope(deadline=next_beat_s):
                await self._due.wait()
            if anyio.current_time() >= next_beat_s:
                self._voices.repeat()
                next_beat_s = anyio.current_time() + beat_s
            self._due = anyio.Event()
            try:
                await self._say()
            except DurafoldError:
                self._due.set()
                await anyio.sleep(min(self._delay_s(), beat_s))
            await anyio.sleep(min(_INTERVAL_S, beat_s))

    async def _say(self) -> None:
        async with self._turn:
            if not (messages := self._voices.take()):
                return
            try:
                await self._stream.append_many(messages)
            except DurafoldError:
                self._voices.put_back(messages)
                raise

    def _delay_s(self) -> float:
        self._attempts += 1
        return self._stream.settings.backoff.delay_s(self._attempts - 1, random.random())  # noqa: S311 - jitter


class Seat(Generic[M]):
    """One person's place in a room; for readers, the source of who the others are.

    Attributes:
        room: where it is.
        who: the id that the person has for others.
        listeners: who is told of changes.
        users: how many handles of it there are.
        version: grows with every change of `view`.
    """

    def __init__(self, room: Room[M], who: str, listeners: Listeners) -> None:
        self.room = room
        self.who = who
        self.listeners = listeners
        self.users = 0
        self.version = 0
        self._is_left = False
        self._seen: tuple[int, Mapping[str, M]] = (-1, MappingProxyType({}))

    @property
    def view(self) -> Mapping[str, M]:
        """What the others show, by their ids; the same object until it changes."""
        if self._seen[0] != self.version:
            self._seen = (self.version, self.room.others_than(self.who))
        return self._seen[1]

    @property
    def offset(self) -> Offset | None:
        """None: where its stream is says nothing about who is here."""
        return None

    @property
    def status(self) -> Status:
        """How the room is doing; closed once this seat was left."""
        return "closed" if self.has_ended else self.room.status

    @property
    def error(self) -> Exception | None:
        """Why the server does not serve the room, while it does not."""
        return self.room.error

    @property
    def has_ended(self) -> bool:
        """Whether it was left."""
        return self._is_left or self.room.has_ended

    async def ready(self) -> None:
        """Wait until the room was joined, and the others asked.

        Raises:
            DurafoldError: the server refuses to serve it.
            ProviderClosed: it was left before.
        """
        while not self.room.joined:
            if self.error is not None:
                raise self.error
            self.require_open()
            await self.listeners.changed()

    def require_open(self) -> None:
        """Check that it was not left.

        Raises:
            ProviderClosed: it was.
        """
        if self.has_ended:
            raise ProviderClosed(f"The room {self.room.room!r} was left", hint="Open its presence again")

    def announce(self, *, value: bool) -> None:
        """Tell those who listen of a change."""
        self.version += value
        self.listeners.notify(value=value)

    def end(self) -> None:
        """It was left."""
        self._is_left = True
        self.listeners.notify(value=False)


class Presence(Reading[Mapping[str, M]], Generic[M]):
    """Who else is in a room. `value`, `changes` and `subscribe` are about the others, without oneself.

    Closing it, or leaving the provider, tells the others at once. What a client shows that was killed, or
    lost its connection, vanishes after `ttl_s`.

    Examples:
        >>> room = party.presence("rooms/8", dict)
        >>> room.set({"x": 3, "y": 4})
        >>> dict(room.others)  # nobody else is here
        {}
    """

    def __init__(self, seat: Seat[M], release: Callable[[], None]) -> None:
        super().__init__(seat.room.room, seat, release)
        self._seat = seat

    @property
    def others(self) -> Mapping[str, M]:
        """What the others show, by client id; the same as `value`."""
        return self._seat.view

    @property
    def me(self) -> M | None:
        """What this client shows; None before `set`, when it only looks on."""
        return self._seat.room.shown_by(self._seat.who)

    def set(self, value: M) -> None:
        """Show something to the others from now on.

        It may be called as often as you like (for every move of a mouse): at most 20 updates a second are
        sent, always the latest.

        Args:
            value: of the room's type; a dict that matches it will do.

        Raises:
            InvalidAction: it does not match the type, or has no JSON form.
            ProviderClosed: the room was left.
        """
        self._seat.require_open()
        self._seat.room.show(self._seat, value)


def _checked_ttl(ttl_s: float) -> float:
    if not 0 < ttl_s <= MAX_TTL_S:
        raise ConfigurationError(f"ttl_s must be more than 0 and at most {MAX_TTL_S}, but is {ttl_s}")
    return ttl_s


def _codec(model: type[Any]) -> Model:
    try:
        return model_of(None, model)
    except UnresolvedModel as exc:
        raise ConfigurationError(f"Nothing of this type can be shown: {exc}") from exc
