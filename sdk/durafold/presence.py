"""Presence: who else is here, and what each shows, such as a cursor, a name, or "is typing".

Unlike state, presence is not kept: who joins asks, everybody who shows something answers, and who is not
heard of for `ttl_s` is gone. The stream `<room>/__presence__` only carries it. Nobody reads its past, so its
server may drop that: it is created with a time-to-live, and with a retention for servers that know it.

Messages of that stream, for programs in other languages::

    {"type": "here", "payload": <what I show>, "meta": {"client": "ann-17"}}     again every third of ttl_s
    {"type": "gone", "meta": {"client": "ann-17"}}
    {"type": "who",  "meta": {"client": "ann-17"}}                               please say `here`

Everything that is received counts from the moment it is received, so clocks need not agree. `Roster` holds
these rules, without I/O; `Room` is one client's connection to a room, `Presence` what users hold of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeVar

import anyio
from pydantic import ValidationError

from durafold.client import DurableStream, LiveChoice, Offset, Page, ReadStatus
from durafold.engine import Listeners, Reading, Status
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
from durafold.state.json_values import NotJson
from durafold.state.models import Model, UnresolvedModel, model_of
from durafold.state.outcomes import UnknownAction

__all__ = ["MAX_TTL_S", "RETENTION_BYTES", "Presence", "Room", "Roster", "presence_key"]

M = TypeVar("M")

MAX_TTL_S: Final = 3600
"""The longest `ttl_s`; also the seconds after which the stream of an empty room expires."""

RETENTION_BYTES: Final = 64 * 1024
"""How much of a room's past is kept; enough for who reconnects after a moment."""

_BEATS: Final = 3
"""How often `here` is said in `ttl_s`, so that losing one or two does not make a ghost."""

_INTERVAL_S: Final = 0.05
"""The least time between two updates of one client: what is shown in between is replaced by the latest."""

_WHO: Final = "who"
_HERE: Final = "here"
_GONE: Final = "gone"


def presence_key(room: str) -> str:
    """Name of the stream that carries the presence of a room.

    Example:
        >>> presence_key("rooms/7")
        'rooms/7/__presence__'
    """
    return f"{room}/__presence__"


class Roster(Generic[M]):
    """Who is here, as far as one client has heard.

    Example:
        >>> roster = Roster(ttl_s=10)
        >>> roster.hear("ann", "reading", now_s=0), roster.hear("ann", "reading", now_s=5)
        (True, False)
        >>> roster.forget(now_s=14), dict(roster.people)
        (False, {'ann': 'reading'})
        >>> roster.forget(now_s=15), dict(roster.people)
        (True, {})

    Args:
        ttl_s: seconds after which somebody who was not heard of is gone.

    Attributes:
        people: what each client shows; another object after every change.
    """

    def __init__(self, ttl_s: float) -> None:
        self.people: Mapping[str, M] = MappingProxyType({})
        self._ttl_s = ttl_s
        self._until_s: dict[str, float] = {}

    def hear(self, client: str, shown: M, now_s: float) -> bool:
        """A client says that it is here, and what it shows. Returns whether that changes anything."""
        self._until_s[client] = now_s + self._ttl_s
        if client in self.people and self.people[client] == shown:
            return False
        self.people = MappingProxyType({**self.people, client: shown})
        return True

    def leave(self, client: str) -> bool:
        """A client says that it leaves. Returns whether it was here."""
        return self._remove({client})

    def forget(self, now_s: float) -> bool:
        """Remove those who were not heard of for too long. Returns whether there were any."""
        return self._remove({client for client, until_s in self._until_s.items() if until_s <= now_s})

    def next_s(self, now_s: float) -> float:
        """Seconds until `forget` could find somebody."""
        return max(0.0, min(self._until_s.values(), default=now_s + self._ttl_s) - now_s)

    def _remove(self, clients: set[str]) -> bool:
        if not clients & self.people.keys():
            return False
        self.people = MappingProxyType(
            {who: shown for who, shown in self.people.items() if who not in clients}
        )
        for client in clients:
            self._until_s.pop(client, None)
        return True


class Room(Generic[M]):
    """One client in a room: listens, says what it shows, and forgets ghosts. Made by `Provider.presence`.

    Args:
        room: its name.
        stream: what carries it.
        model: type of what clients show.
        client: the id of this one.
        ttl_s: see `Provider.presence`.
        live: how to wait for new data.
        report: is given errors that nobody awaits.

    Attributes:
        room: as given.
        users: how many handles there are; counted by the provider.
        me: what this client shows; None if nothing.
        listeners: who is told of changes.
        error: why the server does not serve the room, while it does not.
        version: grows with every change of `view`.
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
        ttl_s: float,
        live: LiveChoice,
        report: Callable[[Exception], None],
    ) -> None:
        self.room = room
        self.users = 0
        self.me: M | None = None
        self.listeners = Listeners(report)
        self.error: Exception | None = None
        self.version = 0
        self.has_ended = False
        self._stream = stream
        self._declared = (model, _checked_ttl(ttl_s))
        self._codec = _codec(model)
        self._client = client
        self._ttl_s = ttl_s
        self._live: LiveChoice = live
        self._report = report
        self._roster: Roster[M] = Roster(ttl_s)
        self._shown: Any = None
        self._asks = False
        self._attempts = 0
        self._reading: ReadStatus = "connecting"
        self._due = anyio.Event()
        self._joined = anyio.Event()
        self._turn = anyio.Lock()
        self._scope = anyio.CancelScope()

    # ---- for readers ----

    @property
    def view(self) -> Mapping[str, M]:
        """What the others show, by client id."""
        return self._roster.people

    @property
    def offset(self) -> Offset | None:
        """None: where its stream is says nothing about who is here."""
        return None

    @property
    def status(self) -> Status:
        """How its stream is doing."""
        if self.has_ended:
            return "closed"
        if self.error is not None:
            return "failed"
        if not self._joined.is_set():
            return "connecting"
        return "reconnecting" if self._reading in ("connecting", "reconnecting") else "live"

    async def ready(self) -> None:
        """Wait until the room was joined, and the others asked.

        Raises:
            DurafoldError: the server refuses to serve it.
            ProviderClosed: it was left before.
        """
        while not self._joined.is_set():
            if self.error is not None:
                raise self.error
            self._require_open()
            await self.listeners.changed()

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

    def show(self, value: M) -> None:
        """Say soon what this client shows from now on; see `Presence.set`."""
        self._require_open()
        try:
            shown = self._codec.dump(value)
        except NotJson as exc:
            raise InvalidAction(f"Nothing was shown: {exc}", stream=self.room) from exc
        self.me, self._shown = value, shown
        self._due.set()
        self.listeners.notify(value=False)

    def _require_open(self) -> None:
        if self.has_ended:
            raise ProviderClosed(f"The room {self.room!r} was left", hint="Open its presence again")

    # ---- life ----

    async def run(self) -> None:
        """Be in the room until `stop` or `leave`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen)
                    tasks.start_soon(self._speak)
                    tasks.start_soon(self._forget_ghosts)
        finally:
            self.stop()

    async def leave(self) -> None:
        """Say that this client leaves, and stop. Where the server cannot be told, `ttl_s` does it."""
        try:
            async with self._turn:
                was_here, self._shown = self._shown is not None and self._joined.is_set(), None
                if was_here:
                    await self._stream.append(self._message(_GONE))
        except DurafoldError:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """End at once, without saying so."""
        if not self.has_ended:
            self.has_ended = True
            self._scope.cancel()
            self.listeners.notify(value=False)

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
        self._asks = True
        return info.next_offset

    def _take(self, page: Page) -> None:
        changes = [self._hear(message) for message in page.json()]
        self._attempts, self.error = 0, None
        is_new = not self._joined.is_set()
        if is_new:
            self._joined.set()
        if self._asks:
            self._due.set()
        self._announce(value=any(changes), progress=is_new)

    def _hear(self, message: Any) -> bool:
        """Heed one message; returns whether it changes who is here."""
        client = _sender(message)
        if client is None or client == self._client:
            return False
        kind = message.get("type")
        if kind == _HERE:
            return self._hear_here(client, message.get("payload"))
        if kind == _WHO and self._shown is not None:
            self._due.set()
        return kind == _GONE and self._roster.leave(client)

    def _hear_here(self, client: str, payload: Any) -> bool:
        try:
            shown = self._codec.parse(payload)
        except (ValidationError, UnknownAction):
            return False  # of another version of the program
        return self._roster.hear(client, shown, anyio.current_time())

    def _status_changed(self, status: ReadStatus) -> None:
        self._reading = status
        self.listeners.notify(value=False)

    def _note(self, error: DurafoldError) -> None:
        """A refusal is a failure; that the stream has expired, or no way leads to it, is not."""
        passing = (StreamNotFound, StreamGone, TransportError, ServerUnavailable, TooManyRequests)
        self._reading = "reconnecting"
        if not isinstance(error, passing):
            is_news, self.error = self.error is None, error
            if is_news:
                self._report(error)
        self.listeners.notify(value=False)

    def _announce(self, *, value: bool, progress: bool) -> None:
        self.version += value
        if value or progress:
            self.listeners.notify(value=value)

    async def _forget_ghosts(self) -> None:
        while True:
            await anyio.sleep(self._roster.next_s(anyio.current_time()))
            self._announce(value=self._roster.forget(anyio.current_time()), progress=False)

    # ---- speaking ----

    async def _speak(self) -> None:
        """Say what is due, the latest only, and from time to time that this client is still here."""
        while True:
            await self._joined.wait()
            with anyio.move_on_after(self._ttl_s / _BEATS):
                await self._due.wait()
            self._due = anyio.Event()
            try:
                await self._say()
            except DurafoldError:
                self._due.set()
                await anyio.sleep(min(self._delay_s(), self._ttl_s / _BEATS))
            await anyio.sleep(min(_INTERVAL_S, self._ttl_s / _BEATS))

    async def _say(self) -> None:
        async with self._turn:
            messages = [self._message(_WHO)] if self._asks else []
            if self._shown is not None:
                messages.append({**self._message(_HERE), "payload": self._shown})
            if messages:
                await self._stream.append_many(messages)
            self._asks = False

    def _message(self, kind: Literal["who", "here", "gone"]) -> dict[str, Any]:
        return {"type": kind, "meta": {"client": self._client}}

    def _delay_s(self) -> float:
        self._attempts += 1
        return self._stream.settings.backoff.delay_s(self._attempts - 1, random.random())  # noqa: S311 - jitter


class Presence(Reading[Mapping[str, M]], Generic[M]):
    """Who else is in a room. `value`, `changes` and `subscribe` are about the others, without oneself.

    Closing it, or leaving the provider, tells the others at once. What a client shows that was killed, or
    lost its connection, vanishes after `ttl_s`.
    """

    def __init__(self, room: Room[M], release: Callable[[], None]) -> None:
        super().__init__(room.room, room, release)
        self._room = room

    @property
    def others(self) -> Mapping[str, M]:
        """What the others show, by client id; the same as `value`."""
        return self._room.view

    @property
    def me(self) -> M | None:
        """What this client shows; None before `set`, when it only looks on."""
        return self._room.me

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
        self._room.show(value)


def _sender(message: Any) -> str | None:
    meta = message.get("meta") if isinstance(message, dict) else None
    client = meta.get("client") if isinstance(meta, dict) else None
    return client if isinstance(client, str) else None


def _checked_ttl(ttl_s: float) -> float:
    if not 0 < ttl_s <= MAX_TTL_S:
        raise ConfigurationError(f"ttl_s must be more than 0 and at most {MAX_TTL_S}, but is {ttl_s}")
    return ttl_s


def _codec(model: type[Any]) -> Model:
    try:
        return model_of(None, model)
    except UnresolvedModel as exc:
        raise ConfigurationError(f"Nothing of this type can be shown: {exc}") from exc
