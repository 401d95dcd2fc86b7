"""Group commit: one thread that commits everything that waits as one batch, then takes the next batch.

While a batch is being synced to disk, the next one gathers by itself; so the busier a store is, the more
appends share one sync, and a lone append waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from durafold_server.store.base import StoreFailure

T = TypeVar("T")

MAX_BATCH = 1024


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work, and what became of it once its batch was committed.

    `stands`: neither its outcome nor what it saw depends on whether the batch succeeds.
    """

    work: T
    future: asyncio.Future[object]
    result: object = None
    error: BaseException | None = None
    stands: bool = False


Announce = Callable[[], None]
"""Tells the event loop's side of a committed batch, before those who submitted it hear of it."""

Commit = Callable[[Sequence[Job[T]]], Announce | None]
"""Carries out a batch: sets each job's result or error. What it raises is the error of all
but those that stand."""


class GroupCommit(Generic[T]):
    """Hands batches of work to a thread of its own.

    Args:
        commit: runs on that thread, one batch at a time, in order of submission.
        name: of the thread.
    """

    def __init__(self, commit: Commit[T], *, name: str) -> None:
        self._commit = commit
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job[T]] = deque()
        self._wake = threading.Semaphore(0)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def submit(self, work: T) -> object:
        """The work's result, once its batch is committed.

        The work is carried out even if the caller is cancelled meanwhile.

        Raises:
            StoreFailure: `aclose` was called.
            BaseException: the work's own error, or the batch's.
        """
        if self._stopped:
            raise StoreFailure("the store is closed")
        job = Job(work, self._loop.create_future())
        self._waiting.append(job)
        self._wake.release()
        return await job.future

    async def aclose(self) -> None:
        """Finish all that was submitted, then end the thread. Idempotent."""
        self._stopped = True
        self._wake.release()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            batch = self._take()
            if batch:
                self._carry_out(batch)
            elif self._stopped:
                return

    def _take(self) -> list[Job[T]]:
        """Everything that waits. A wake-up of a job taken early finds an empty queue: harmless."""
        batch: list[Job[T]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            batch.append(self._waiting.popleft())
        for _ in batch[1:]:
            self._wake.acquire(blocking=False)
        return batch

    def _carry_out(self, batch: list[Job[T]]) -> None:
        announce: Announce | None = None
        try:
            announce = self._commit(batch)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, every caller must hear of it
            for job in batch:
                if not job.stands:
                    job.error = exc
        try:
            self._loop.call_soon_threadsafe(_resolve, batch, announce)
        except RuntimeError:
            # The loop is closed: nobody is left to tell.
            self._stopped = True


def _resolve(batch: list[Job[T]], announce: Announce | None) -> None:
    if announce is not None:
        announce()
    for job in batch:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
