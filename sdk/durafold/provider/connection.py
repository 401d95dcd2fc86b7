"""`Connection`: how the streams of a provider are doing, in one word, as something to read and to follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from durafold.engine import Engine, Listeners, Reading, Status, worst
from durafold.errors import ConnectFailed, ProviderClosed
from durafold.provider.defaults import log_outage
from durafold.provider.shared import SharedEngine

__all__ = ["Connection", "ConnectionReading", "Connections"]

QUIET_OUTAGE_S: Final = 1.5
"""How long no connection can be made before that is logged."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How all streams in use are doing: as the one that is worst off.

    Attributes:
        status: in one word, as every handle has one. `live` when all of them are, or none is in use; streams
            that were closed for good do not count, they have nothing to connect to. `closed` when the
            provider was closed.
        key: the stream that is worst off; None when nothing is wrong.
        reason: what keeps it from being `live`, if that is known: `ConnectFailed`, `Unauthorized` ...
        next_attempt_at: when it is tried again, in seconds since 1970 by the provider's clock, if it waits
            for that. It lies in the past while an attempt is under way.
    """

    status: Status
    key: str | None = None
    reason: Exception | None = None
    next_attempt_at: float | None = None


class Connections:
    """What stands behind `Provider.connection`.

    Args:
        shared: the engines in use, by key.
        report: is given what a listener raises.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        shared: Mapping[str, SharedEngine[Any]],
        report: Callable[[Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self.listeners = Listeners(report)
        self.offset = None
        self._shared = shared
        self._present = Connection("live")
        self._version = 0
        self._announced = 0
        self._has_ended = False
        self._clock = clock
        self._outage_since: float | None = None
        self._is_outage_noted = False

    @property
    def view(self) -> Connection:
        """The present value; the same object until it changes."""
        self._refresh()
        return self._present

    @property
    def version(self) -> int:
        """Grows whenever the value changes."""
        self._refresh()
        return self._version

    @property
    def status(self) -> Status:
        """The value's."""
        return self.view.status

    @property
    def error(self) -> Exception | None:
        """The value's reason."""
        return self.view.reason

    @property
    def has_ended(self) -> bool:
        """Whether the provider was closed."""
        return self._has_ended

    async def ready(self) -> None:
        """Wait until all streams in use are followed.

        Raises:
            DurafoldError: the server refuses to serve one of them.
            ProviderClosed: the provider was closed before.
        """
        while (present := self.view).status not in ("live", "degraded"):
            if present.status == "failed" and present.reason is not None:
                raise present.reason
            if self._has_ended:
                raise ProviderClosed("The provider was closed")
            await self.listeners.changed()

    def watch(self, engine: Engine[Any]) -> None:
        """A stream is in use from now on."""
        before = _condition(engine)

        def look() -> None:  # after every change of the stream: most change nothing here
            nonlocal before
            now = _condition(engine)
            if now != before:
                before = now
                self._note_outage(engine)
                self.look()

        engine.listeners.add(look, progress=True)

    def settle(self) -> None:
        """Count what has changed by now as announced."""
        if not self.listeners.is_watched:
            self._refresh()
            self._announced = self._version

    def look(self) -> None:
        """Something may have changed: a stream's condition, or which are in use."""
        if not self.listeners.is_watched:
            return
        self._refresh()
        if self._announced != self._version:
            self._announced = self._version
            self.listeners.notify(value=True)

    def end(self) -> None:
        """The provider was closed."""
        self._has_ended = True
        self.look()

    def _note_outage(self, engine: Engine[Any]) -> None:
        """Log that the server is away: who forgot to start it has nothing else to see.

        Not at once: an app that is its own server connects before it listens, and restarts are short.
        """
        if engine.status in ("live", "degraded"):
            self._outage_since, self._is_outage_noted = None, False
        elif isinstance(engine.trouble, ConnectFailed) and not self._is_outage_noted:
            now = self._clock()
            self._outage_since = now if self._outage_since is None else self._outage_since
            if now - self._outage_since >= QUIET_OUTAGE_S:
                self._is_outage_noted = True
                log_outage(engine.trouble)

    def _refresh(self) -> None:
        present = Connection("closed") if self._has_ended else self._worst()
        if present != self._present:
            self._present = present
            self._version += 1

    def _worst(self) -> Connection:
        engines = {key: shared.engine for key, shared in self._shared.items()}
        statuses: dict[str, Status] = {key: engine.status for key, engine in engines.items()}
        open_: dict[str, Status] = {key: status for key, status in statuses.items() if status != "closed"}
        status = worst(open_.values())
        if status == "live":
            return Connection("live")
        afflicted = [key for key, other in open_.items() if other == status]
        key = min(afflicted, key=lambda key: _soonest(engines[key]))
        _, reason, next_attempt_at = _condition(engines[key])
        return Connection(status, key, reason, next_attempt_at)


class ConnectionReading(Reading[Connection]):
    """What users hold of it."""

    def __init__(self, connections: Connections) -> None:
        super().__init__("connection", connections, lambda: None)
        self._connections = connections

    def subscribe(self, callback: Callable[[], None], *, progress: bool = False) -> Callable[[], None]:
        """See `Reading.subscribe`."""
        self._connections.settle()  # what changed before is no news
        return super().subscribe(callback, progress=progress)


def _condition(engine: Engine[Any]) -> tuple[Status, Exception | None, float | None]:
    return engine.status, engine.trouble, engine.next_attempt_at


def _soonest(engine: Engine[Any]) -> float:
    return math.inf if engine.next_attempt_at is None else engine.next_attempt_at
