"""`Portal`: an event loop in a background thread, for code that does not run in one.

One portal serves the whole process: `shared_portal`. It starts with its first call and stops when the process
ends. Everything here is generic: faces need `run`, `call`, `start` and `held`, and nothing else.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from contextvars import Context, copy_context
from functools import partial
from importlib import import_module
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import BlockingPortal

from durafold.errors import ConfigurationError

__all__ = ["LeasedPortal", "Portal", "Running", "shared_portal"]

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
        self._loop: _Loop | None = None

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call an asynchronous function in the loop and wait for its result.

        If the wait is interrupted, as Ctrl-C does with `KeyboardInterrupt`, the function is cancelled, and
        the interruption goes on when it has cleaned up.

        Raises:
            ConfigurationError: called in the loop's own thread, which would wait for itself, or in a thread
                with another event loop, which would stand still meanwhile.
            Exception: whatever the function raises.
        """
        loop = self._outside_the_loop()
        job = _Job(function, args)
        is_submitted = False
        try:
            loop.start(job)
            is_submitted = True
            return job.future.result()
        except BaseException:
            if not job.ended.is_set():  # interrupted, maybe even before we learned that it was submitted
                job.is_abandoned = True
                loop.portal.start_task_soon(job.cancel)
                if is_submitted or job.scope is not None:
                    job.ended.wait()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call an ordinary function in the loop's thread: one that uses what belongs to the loop.

        Raises:
            Exception: whatever the function raises.
        """
        loop = self._running()
        if self._is_inside:
            return function()
        job = _Job(_asynchronous(function), ())
        loop.start(job)
        return job.future.result()

    def post(self, function: Callable[[], None]) -> None:
        """Have an ordinary function called in the loop's thread soon, without waiting for it."""
        self._running().start(_Job(_asynchronous(function), ()))

    def start(self, function: Callable[..., Awaitable[None]]) -> Running:
        """Run an asynchronous function in the loop beside everything else, and wait until it has started.

        Args:
            function: takes `task_status`, and calls `task_status.started()`.

        Raises:
            ConfigurationError: as for `run`.
            Exception: what the function raises before it has started.
        """
        running = Running()
        self._outside_the_loop().portal.start_task(partial(running.run, function))
        return running

    def held(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """An asynchronous context manager as an ordinary one. One task of the loop enters and leaves it."""
        return self._outside_the_loop().portal.wrap_async_context_manager(manager)

    def close(self) -> None:
        """Cancel what still runs, and stop the thread. A later call starts another."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        with suppress(RuntimeError):  # it has stopped already
            loop.portal.start_task_soon(loop.portal.stop, True)
        thread.join(_STOP_TIMEOUT_S)

    def require_outside(self) -> None:
        """Check that the calling thread may wait.

        Raises:
            ConfigurationError: as for `run`.
        """
        self._outside_the_loop()

    def lease(self) -> LeasedPortal:
        """The loop that runs now, for something that lives in it and cannot move to another."""
        return LeasedPortal(self, self._running())

    def has(self, loop: _Loop) -> bool:
        """Whether a loop still runs, and in this process."""
        return self._loop is loop

    @property
    def _is_inside(self) -> bool:
        return threading.current_thread() is self._thread

    def _outside_the_loop(self) -> _Loop:
        loop = self._running()
        if self._is_inside:
            raise ConfigurationError(
                "A blocking call was made in the thread of the event loop, where it would wait for itself",
                hint="Callbacks run there: hand the work to a thread of yours",
            )
        if _is_in_an_event_loop() and not _is_at_a_prompt():
            raise ConfigurationError(
                "A blocking call was made in a thread that runs an event loop, and would hold all of it up",
                hint="Use the asynchronous API there, or make the call in a thread (asyncio.to_thread)",
            )
        return loop

    def _running(self) -> _Loop:
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._thread, self._loop = self._start()
            return self._loop

    def _start(self) -> tuple[threading.Thread, _Loop]:
        started: Future[_Loop] = Future()
        thread = threading.Thread(
            target=_run,
            args=(started, self._backend),
            name="durafold-blocking",
            daemon=True,  # it must not keep a process alive; `close` runs at exit
        )
        thread.start()
        return thread, started.result()


class LeasedPortal(Portal):
    """The loop that a portal has now. When it is gone, calls fail; a portal itself would start another.

    Args:
        portal: whose loop it is.
        loop: the loop.
    """

    def __init__(self, portal: Portal, loop: _Loop) -> None:
        super().__init__()
        self._owner = portal
        self._leased = loop

    @property
    def is_alive(self) -> bool:
        """Whether the loop is there."""
        return self._owner.has(self._leased)

    def require_alive(self) -> None:
        """Check that the loop is there.

        Raises:
            ConfigurationError: it is not.
        """
        if not self.is_alive:
            raise ConfigurationError(
                "This was opened in another process, or its event loop has ended",
                hint="After a fork, open a provider of its own in the new process",
            )

    def close(self) -> None:
        """Nothing: the loop belongs to the portal."""

    @property
    def _is_inside(self) -> bool:
        return self._owner._is_inside

    def _running(self) -> _Loop:
        self.require_alive()
        return self._leased


class Running:
    """Something that runs in the loop beside everything else; made by `Portal.start`."""

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._error: Exception | None = None
        self._ended = threading.Event()

    async def run(self, function: Callable[..., Awaitable[None]], *, task_status: TaskStatus[None]) -> None:
        """In the loop's thread."""
        try:
            with anyio.CancelScope() as self._scope:
                await function(task_status=task_status)
        except Exception as error:
            self._error = error
            raise
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Cancel it; called in the loop's thread."""
        if self._scope is not None:
            self._scope.cancel()

    def wait(self) -> None:
        """Wait until it has ended, and cleaned up.

        Raises:
            Exception: what it has ended with.
        """
        self._ended.wait()
        if self._error is not None:
            raise self._error


class _Job(Generic[T]):
    """A call that another thread may wait for.

    Attributes:
        future: its result, for that thread.
        scope: to cancel it with, once it has begun.
        is_abandoned: nobody waits any more.
        ended: it has ended, and cleaned up.
    """

    def __init__(self, function: Callable[..., Awaitable[T]], args: Sequence[Any]) -> None:
        self._function = function
        self._args = args
        self.future: Future[T] = Future()
        self.scope: anyio.CancelScope | None = None
        self.is_abandoned = False
        self.ended = threading.Event()

    async def run(self) -> None:
        """In the loop's thread, as a task. What the function raises is for the thread that waits."""
        try:
            result = await self._result()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - handed to the thread that waits
            self.fail(error)  # sys.exit() too: it must not end the loop of all others
        except BaseException:
            self.fail(CancelledError())
            raise
        else:
            self.ended.set()
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """There will be no result. The second of two such calls is one too many, and does nothing."""
        self.ended.set()
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def cancel(self) -> None:
        """In the loop's thread."""
        if self.is_abandoned and self.scope is not None:
            self.scope.cancel()

    async def _result(self) -> T:
        with anyio.CancelScope() as self.scope:
            self.cancel()
            return await self._function(*self._args)
        raise CancelledError


class _Loop:
    """A running event loop, for other threads.

    Args:
        portal: see the attribute.

    Attributes:
        portal: anyio's way to it. Each of its calls waits twice for the loop: once until the call has begun.
    """

    def __init__(self, portal: BlockingPortal) -> None:
        self.portal = portal
        self._inbox: deque[tuple[Context, _Job[Any]]] = deque()
        self._news = anyio.Event()
        self._soon = _soon_of_this_loop()
        self._has_ended = False

    def start(self, job: _Job[Any]) -> None:
        """Start a job as a task, in the context of the thread that calls, without waiting for it.

        Raises:
            RuntimeError: the loop has ended.
        """
        self._inbox.append((_context(), job))
        self._soon(self._wake)
        if self._has_ended:
            job.fail(CancelledError())

    async def serve(self) -> None:
        """In the loop's thread: start what other threads want, until this is cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    while self._inbox:
                        self._begin(tasks)
                    self._news = anyio.Event()
                    await self._news.wait()
        finally:
            self._has_ended = True
            while self._inbox:  # which may grow meanwhile
                self._inbox.popleft()[1].fail(CancelledError())

    def _begin(self, tasks: TaskGroup) -> None:
        context, job = self._inbox.popleft()
        try:
            context.run(tasks.start_soon, job.run)
        except BaseException:
            job.fail(CancelledError())  # nobody may wait for it for ever
            raise

    def _wake(self) -> None:
        self._news.set()


def _run(started: Future[_Loop], backend: str) -> None:
    try:
        anyio.run(_serve, started, backend=backend)
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)  # the thread that waits for the loop tells


async def _serve(started: Future[_Loop]) -> None:
    async with BlockingPortal() as portal:
        loop = _Loop(portal)
        started.set_result(loop)
        await loop.serve()


def _soon_of_this_loop() -> Callable[..., object]:
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:  # trio does not count as running
        return import_module("trio").lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]


def _context() -> Context:
    """A copy of the calling thread's, without the async library that runs there: here runs another loop."""
    context = copy_context()
    running_library = _if_loaded("sniffio", "current_async_library_cvar")
    if running_library is not None:
        context.run(running_library.set, None)
    return context


def _asynchronous(function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def call() -> T:
        return function()

    return call


def _is_in_an_event_loop() -> bool:
    # Asked of the libraries themselves: the context variable that anyio sets is copied into worker threads.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        in_trio_run = _if_loaded("trio.lowlevel", "in_trio_run")
        return in_trio_run is not None and bool(in_trio_run())
    return True


def _if_loaded(module: str, name: str) -> Any:
    """What a module defines, or `None`: nobody can use yet what is not there.

    It may be half there: the thread of the loop imports libraries while the caller's asks for them.
    """
    return getattr(sys.modules.get(module), name, None)


def _is_at_a_prompt() -> bool:
    # A notebook runs its cells in an event loop, and expects them to take their time.
    return hasattr(sys, "ps1")


def shared_portal() -> Portal:
    """The portal of this process."""
    return _SHARED


_SHARED: Final = Portal()
atexit.register(_SHARED.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SHARED.forget)
