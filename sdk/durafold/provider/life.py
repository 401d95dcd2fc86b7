"""`Lifetime`: how a provider is opened and left, and what ends with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus

from durafold.client import Transport
from durafold.errors import ConfigurationError, ProviderClosed
from durafold.outbox import Outbox
from durafold.provider.ambient import Entry, enter, leave
from durafold.provider.belongings import Attached
from durafold.provider.engines import Engines
from durafold.provider.rooms import Rooms

if TYPE_CHECKING:
    from durafold.provider.core import Provider

__all__ = ["Lifetime"]

_logger: Final = logging.getLogger("durafold")


class Lifetime:
    """The part of a `Provider` that opens and closes; what it offers to users is told there.

    Args:
        engines: of the provider.
        rooms: of the provider.
        outbox: to be opened and closed with it.
        transport: to be closed with it, if it is its own.
        on_error: is given what nobody awaits.
        close_timeout_s: seconds that leaving waits for the server to take what was dispatched.
    """

    def __init__(
        self,
        engines: Engines,
        rooms: Rooms,
        *,
        outbox: Outbox | None,
        transport: Transport | None,
        on_error: Callable[[Exception], None],
        close_timeout_s: float,
    ) -> None:
        self._engines = engines
        self._rooms = rooms
        self._outbox = outbox
        self._own_transport = transport
        self._on_error = on_error
        self._close_timeout_s = close_timeout_s
        self._attached: dict[Attached, None] = {}
        self._tasks: TaskGroup | None = None
        self._is_closing = False
        self._closing = anyio.Event()
        self._ambient: Entry | None = None

    # ---- what else belongs to it ----

    def attach(self, thing: Attached) -> None:
        """Have something stopped when the provider closes.

        Raises:
            ConfigurationError: the provider is not open.
            ProviderClosed: the provider was closed.
        """
        self._require_open()
        self._attached[thing] = None

    def detach(self, thing: Attached) -> None:
        """It has ended by itself."""
        self._attached.pop(thing, None)

    def start_soon(self, task: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run something that never raises as long as the provider is open at most.

        Raises:
            ConfigurationError: the provider is not open.
            ProviderClosed: the provider was closed.
        """
        self._require_open().start_soon(task, *args)

    def report(self, error: Exception) -> None:
        """Hand an error that nobody awaits to `on_error`."""
        try:
            self._on_error(error)
        except Exception:
            _logger.exception("on_error raised")

    # ---- opening and leaving ----

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open the provider and keep it open until `aclose` is called: for a task of its own.

        await task_group.start(party.run)  # open from here on
        ...
        await party.aclose()
        """
        async with self:
            task_status.started()
            await self._closing.wait()

    async def flush(self) -> None:
        """Wait until the server has durably whatever was dispatched on any key, or has refused it.

        It says nothing of refusals: those are raised by the dispatches, or go to `on_error`.
        """
        await self._engines.flushed()

    async def aclose(self) -> None:
        """Wait until what was dispatched is on the server, at most `close_timeout_s`, and stop everything.

        May be called from any task, and more than once.
        """
        self._is_closing = True
        engines = self._engines.all()
        with anyio.move_on_after(self._close_timeout_s):
            await self._engines.flushed()
            await self._rooms.left()
        self._stop()
        for engine in engines:
            await engine.ended.wait()

    def _stop(self) -> None:
        self._is_closing = True
        for thing in tuple(self._attached):
            thing.stop()
        self._engines.stop()
        self._rooms.stop()
        self._closing.set()

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("A provider can be opened only once", hint="Make a new one")
        if self._outbox is not None:
            self._outbox.open()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._ambient = enter(cast("Provider", self))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        if self._ambient is not None:
            leave(self._ambient)
        reason = await self._leave(exc)
        self._stop()
        try:
            # The task group is told of cancellation only: it would wrap any other exception in a group.
            if isinstance(reason, anyio.get_cancelled_exc_class()):
                await self._tasks.__aexit__(type(reason), reason, reason.__traceback__)
            else:
                await self._tasks.__aexit__(None, None, None)
        finally:
            if self._outbox is not None:
                self._outbox.close()
            await self._close_transport()
        if reason is not None and reason is not exc:
            raise reason

    async def _leave(self, exc: BaseException | None) -> BaseException | None:
        """Close in peace if there is peace; return what is to be raised."""
        if exc is not None:
            return exc
        try:
            await self.aclose()
        except BaseException as leaving:  # noqa: BLE001 - handed to our caller, who raises it
            return leaving
        return None

    async def _close_transport(self) -> None:
        if self._own_transport is not None:
            with anyio.CancelScope(shield=True):
                await self._own_transport.aclose()

    def _require_open(self) -> TaskGroup:
        if self._is_closing:
            raise ProviderClosed("The provider was closed", hint="Make a new one")
        if self._tasks is None:
            raise ConfigurationError(
                "The provider is not open", hint="Use it inside `async with Provider(...) as party:`"
            )
        return self._tasks
