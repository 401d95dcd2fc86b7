"""Threads to run the operator's reducers in: a slow one holds up its own stream, and nobody else.

A thread cannot be stopped from outside. One that never comes back is lost, and so it must neither be shared
with other work nor keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

__all__ = ["MAX_WORKERS", "Workers"]

T = TypeVar("T")

MAX_WORKERS: Final = 16
"""They compete for one interpreter, so more would only help to survive more reducers that hang."""

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Workers:
    """Runs calls in threads of its own, each made when it is first needed."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._is_closed = False
        self._places = asyncio.Semaphore(MAX_WORKERS)

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result. A caller that is cancelled leaves the thread to finish by itself.

        Raises:
            Exception: whatever the call raises.
            RuntimeError: what it raises is nothing that a future can carry, such as `SystemExit`.
        """
        await self._places.acquire()
        worker = self._idle.pop() if self._idle else _Worker(self._is_free)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        worker.calls.put((call, future))
        return await future

    def close(self) -> None:
        """End threads that have nothing to do, and the others when they come back. Idempotent."""
        self._is_closed = True
        for worker in self._idle:
            worker.calls.put(None)
        self._idle = []

    def _is_free(self, worker: _Worker) -> None:
        if self._is_closed:
            worker.calls.put(None)
        else:
            self._idle.append(worker)
        self._places.release()


class _Worker:
    """One thread.

    Attributes:
        calls: what it is to do; None to end.
    """

    def __init__(self, is_free: Callable[[_Worker], None]) -> None:
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._is_free = is_free
        threading.Thread(target=self._run, name="durafold-reducer", daemon=True).start()

    def _run(self) -> None:
        while (next_ := self.calls.get()) is not None:
            call, future = next_
            result: Any = None
            error: Exception | None = None
            try:
                result = call()
            except BaseException as exc:  # noqa: BLE001 - the caller shall hear of it, whatever it is
                error = _deliverable(exc)
            try:
                future.get_loop().call_soon_threadsafe(self._deliver, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell
            del next_, call, future, result, error  # nothing is kept alive while there is nothing to do

    def _deliver(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        self._is_free(self)
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
