"""Threads to run the operator's reducers in: a slow one holds up its own stream, and nobody else.

A thread cannot be stopped from outside. One that never comes back is lost, and so it must neither be shared
with other work nor keep the process from ending. A call that has taken too long is *overdue*: its place is
given to another call, and it is no longer waited for where that is not wanted. So that this does not cost a
thread for every attempt, a stream, and a reducer, may only have so many calls that are overdue: from then on
they are not called at all, until one of these comes back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from durafold_server.protocol.errors import ReducerStuck

__all__ = ["MAX_OVERDUE", "MAX_OVERDUE_OF_STREAM", "MAX_WORKERS", "Overdue", "Workers"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WORKERS: Final = 16
"""Calls at once that are not overdue. They compete for one interpreter, so more would not be quicker."""

MAX_OVERDUE: Final = 16
"""Calls of one reducer that may be overdue before it is called no more."""

MAX_OVERDUE_OF_STREAM: Final = 4
"""The same of one stream."""


class Overdue(Exception):
    """A call has taken too long.

    Attributes:
        back: done when the call has come back after all.
    """

    def __init__(self, back: asyncio.Future[None]) -> None:
        super().__init__("a reducer has taken too long")
        self.back = back


@dataclass(slots=True, eq=False)
class _Errand:
    """A call in a thread, what it is for, and what is known of it."""

    call: Callable[[], Any]
    reducer: str
    path: str
    in_time: bool
    future: asyncio.Future[Any]
    began_s: float
    timer: asyncio.TimerHandle | None = None
    back: asyncio.Future[None] | None = None  # as soon as it is overdue


class Workers:
    """Runs calls in threads of its own, each made when it is first needed.

    Args:
        timeout_s: from then on a call is overdue.

    Attributes:
        overdue: calls that are, by the names of their reducers.
    """

    def __init__(self, timeout_s: float) -> None:
        self.overdue: Counter[str] = Counter()
        self._overdue_of_stream: Counter[str] = Counter()
        self._timeout_s = timeout_s
        self._idle: list[_Worker] = []
        self._is_closed = False
        self._places = asyncio.Semaphore(MAX_WORKERS)

    async def run(self, call: Callable[[], T], reducer: str, path: str, *, in_time: bool = False) -> T:
        """The call's result. A caller that is cancelled leaves the thread to finish by itself.

        Args:
            call: what to do.
            reducer: name of the reducer that it calls.
            path: of the stream that it is for.
            in_time: do not wait for it once it is overdue.

        Raises:
            Exception: whatever the call raises.
            Overdue: it has taken too long, and is not waited for.
            ReducerStuck: too many calls of the reducer, or for the stream, are overdue.
            RuntimeError: what it raises is nothing that a future can carry, such as `SystemExit`.
        """
        await self._places.acquire()
        try:
            self._refuse_more(reducer, path)
        except ReducerStuck:
            self._places.release()
            raise
        worker = self._idle.pop() if self._idle else _Worker(self._is_back)
        loop = asyncio.get_running_loop()
        errand = _Errand(call, reducer, path, in_time, loop.create_future(), loop.time())
        errand.timer = loop.call_later(self._timeout_s, self._is_late, errand)
        worker.errands.put(errand)
        result: T = await errand.future
        return result

    def close(self) -> None:
        """End threads that have nothing to do, and the others when they come back. Idempotent."""
        self._is_closed = True
        for worker in self._idle:
            worker.errands.put(None)
        self._idle = []

    def _refuse_more(self, reducer: str, path: str) -> None:
        if self.overdue[reducer] >= MAX_OVERDUE:
            raise ReducerStuck(f"{MAX_OVERDUE} calls of the reducer {reducer} have not come back")
        if self._overdue_of_stream[path] >= MAX_OVERDUE_OF_STREAM:
            raise ReducerStuck(f"{MAX_OVERDUE_OF_STREAM} calls of this stream's reducer have not come back")

    def _is_late(self, errand: _Errand) -> None:
        logger.warning(
            "the reducer %s has not come back for %g s, judging or folding %s; others do not wait for it",
            errand.reducer,
            self._timeout_s,
            errand.path,
        )
        errand.back = asyncio.get_running_loop().create_future()
        self.overdue[errand.reducer] += 1
        self._overdue_of_stream[errand.path] += 1
        self._places.release()
        if errand.in_time and not errand.future.done():
            errand.future.set_exception(Overdue(errand.back))

    def _is_back(self, worker: _Worker, errand: _Errand) -> None:
        assert errand.timer is not None
        errand.timer.cancel()
        if errand.back is None:
            self._places.release()
        else:
            self._is_back_late(errand, errand.back)
        if self._is_closed or len(self._idle) >= MAX_WORKERS:
            worker.errands.put(None)
        else:
            self._idle.append(worker)

    def _is_back_late(self, errand: _Errand, back: asyncio.Future[None]) -> None:
        took_s = asyncio.get_running_loop().time() - errand.began_s
        logger.warning(
            "the reducer %s has come back from %s after %.1f s", errand.reducer, errand.path, took_s
        )
        self.overdue -= Counter([errand.reducer])  # names whose number is 0 are dropped
        self._overdue_of_stream -= Counter([errand.path])
        back.set_result(None)


class _Worker:
    """One thread.

    Attributes:
        errands: what it is to do; None to end.
    """

    def __init__(self, is_back: Callable[[_Worker, _Errand], None]) -> None:
        self.errands: SimpleQueue[_Errand | None] = SimpleQueue()
        self._is_back = is_back
        threading.Thread(target=self._run, name="durafold-reducer", daemon=True).start()

    def _run(self) -> None:
        while (errand := self.errands.get()) is not None:
            result: Any = None
            error: Exception | None = None
            try:
                result = errand.call()
            except BaseException as exc:  # noqa: BLE001 - the caller shall hear of it, whatever it is
                error = _deliverable(exc)
            try:
                errand.future.get_loop().call_soon_threadsafe(self._deliver, errand, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell
            del errand, result, error  # nothing is kept alive while there is nothing to do

    def _deliver(self, errand: _Errand, result: Any, error: Exception | None) -> None:
        self._is_back(self, errand)
        future = errand.future
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _deliverable(error: BaseException) -> Exception:
    """The error as a future can carry it, without ending the event loop that waits for it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    told = RuntimeError(f"code that ran in a thread raised {type(error).__name__}")
    told.__cause__ = error
    return told
