"""`Portal`: an event loop in a background thread, for code that does not run in one.

One portal serves the whole process: `shared_portal`. It starts with its first call and stops when the process
ends. Everything here is generic: a face of another class needs `run`, `call` and `held`, and nothing else.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from durafold.errors import ConfigurationError

__all__ = ["Portal", "shared_portal"]

T = TypeVar("T")

_STOP_TIMEOUT_S: Final = 5.0


class Portal:
    """An event loop in a background thread, which starts with the first call. Any thread may use it.

    It is used in a child process after a fork too: a loop of its own starts there.

    Args:
        backend: `asyncio` or `trio`.
    """

    def __init__(self, backend: str = "asyncio") -> None:
        self._backend = backend
        self.forget()

    def forget(self) -> None:
        """Take the thread for gone, as it is in a process that was forked; the next call starts another."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call an asynchronous function in the loop and wait for its result.

        If the wait is interrupted, as Ctrl-C does with `KeyboardInterrupt`, the function is cancelled, and
        the interruption goes on when it has cleaned up.

        Raises:
            ConfigurationError: called in the loop's own thread, which would wait for itself.
            Exception: whatever the function raises.
        """
        job = _Job(function, args)
        portal = self._outside_the_loop()
        is_submitted = False
        try:
            future = portal.start_task_soon(job.run)
            is_submitted = True
            return future.result()
        except BaseException:
            if not job.ended.is_set():  # interrupted, maybe even before we learned that it was submitted
                job.is_abandoned = True
                portal.start_task_soon(job.cancel)
                if is_submitted or job.scope is not None:
                    job.ended.wait()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call an ordinary function in the loop's thread: one that uses what belongs to the loop.

        Raises:
            Exception: whatever the function raises.
        """
        portal = self._running()
        if self._is_inside:
            return function()
        return portal.start_task_soon(function).result()

    def post(self, function: Callable[[], None]) -> None:
        """Have an ordinary function called in the loop's thread soon, without waiting for it."""
        self._running().start_task_soon(function)

    def held(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """An asynchronous context manager as an ordinary one. One task of the loop enters and leaves it."""
        return self._outside_the_loop().wrap_async_context_manager(manager)

    def close(self) -> None:
        """Cancel what still runs, and stop the thread. A later call starts another."""
        with self._lock:
            portal, thread = self._portal, self._thread
            self._portal = self._thread = None
        if portal is None or thread is None or not thread.is_alive():
            return
        with suppress(RuntimeError):  # it has stopped already
            portal.start_task_soon(portal.stop, True)
        thread.join(_STOP_TIMEOUT_S)

    @property
    def _is_inside(self) -> bool:
        return threading.current_thread() is self._thread

    def _outside_the_loop(self) -> BlockingPortal:
        portal = self._running()
        if self._is_inside:
            raise ConfigurationError(
                "A blocking call was made in the thread of the event loop, where it would wait for itself",
                hint="Callbacks run there: hand the work to a thread of yours",
            )
        return portal

    def _running(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None or self._thread is None or not self._thread.is_alive():
                self._thread, self._portal = self._start()
            return self._portal

    def _start(self) -> tuple[threading.Thread, BlockingPortal]:
        started: Future[BlockingPortal] = Future()
        thread = threading.Thread(
            target=anyio.run,
            args=(_serve, started),
            kwargs={"backend": self._backend},
            name="durafold-blocking",
            daemon=True,  # it must not keep a process alive; `close` runs at exit
        )
        thread.start()
        return thread, started.result()


class _Job(Generic[T]):
    """A call that another thread waits for.

    Attributes:
        scope: to cancel it with, once it has begun.
        is_abandoned: nobody waits any more.
        ended: it has ended, and cleaned up.
    """

    def __init__(self, function: Callable[..., Awaitable[T]], args: Sequence[Any]) -> None:
        self._function = function
        self._args = args
        self.scope: anyio.CancelScope | None = None
        self.is_abandoned = False
        self.ended = threading.Event()

    async def run(self) -> T:
        try:
            with anyio.CancelScope() as self.scope:
                self.cancel()
                return await self._function(*self._args)
            raise CancelledError
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """In the loop's thread."""
        if self.is_abandoned and self.scope is not None:
            self.scope.cancel()


async def _serve(started: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


def shared_portal() -> Portal:
    """The portal of this process."""
    return _SHARED


_SHARED: Final = Portal()
atexit.register(_SHARED.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SHARED.forget)
