"""One stream that is bound to a reducer: its folded state, and its appends one after the other.

An append is judged by the state before it, so appends to one stream have to wait for each other; but not for
the disk. What waits is judged together in a thread, in order, each append on the state that the one before it
would leave. Then all are handed to the store, which commits them together as it does anyway, while the next
ones are judged already. Each carries the place in the stream that it was judged for. If the stream ends
elsewhere by the time the store decides, because an append before it turned out to be a duplicate, was refused
by a rule of the protocol, or could not be written, then the verdict is worth nothing: nothing is written, and
the append is judged anew, on what was committed.

An append that the reducer takes too long for is answered, and not waited for: those before it keep their
verdicts, those behind it are judged without it. Its thread still hangs, so a repetition is not judged.

So two states are kept: *committed*, the fold of what the store has confirmed, which is what readers get; and
*ahead*, that of what it was handed. When the two part ways, *ahead* is forgotten.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from durafold.state.replica import Confirmed
from durafold.wire import names
from durafold_server.attempts import Outdated
from durafold_server.protocol import decide
from durafold_server.protocol.decide import Appended
from durafold_server.protocol.errors import (
    ActionRefused,
    NotFound,
    ProtocolError,
    ReducerBusy,
    ReducerStuck,
    StorageUnavailable,
)
from durafold_server.protocol.model import Decision, Mode, Payload, StreamState
from durafold_server.protocol.requests import AppendRequest
from durafold_server.reducers.checkpoints import Folded
from durafold_server.reducers.folds import Tools, fold_upto, judge_all
from durafold_server.reducers.judging import Append, Judged
from durafold_server.reducers.registered import Registered
from durafold_server.reducers.workers import Overdue
from durafold_server.store.base import StoreFailure

__all__ = ["Lane", "closing", "not_json"]

_AT_ONCE: Final = 256
_KEPT_EVERY_BYTES: Final = 256 * 1024
_KEPT_EVERY_SIZES: Final = 4

logger = logging.getLogger(__name__)


class _Job:
    """An append that waits for its verdict, or somebody who waits for the state if there is no request."""

    __slots__ = ("due_s", "future", "is_submitted", "number", "request", "timer")

    def __init__(self, number: int, request: AppendRequest | None, due_s: float) -> None:
        self.number = number
        self.request = request
        self.due_s = due_s  # by the loop's clock: it has waited long enough then
        self.is_submitted = False
        self.timer: asyncio.TimerHandle | None = None
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def stored(self) -> bytes:
        """Its messages; none if there is nothing to judge."""
        request = self.request
        # Of another type than JSON it does not fit the stream, which the decision says.
        if request is None or request.content_type is None or not names.is_json(request.content_type):
            return b""
        return request.payload.data if isinstance(request.payload, Payload) else b""

    @property
    def producer_id(self) -> str | None:
        """Who says to have sent it."""
        claim = self.request.claim if self.request is not None else None
        return claim.producer_id if claim is not None else None

    def resolve(self, result: object) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Lane:
    """Judges the appends of one stream.

    Args:
        path: of the stream.
        reducer: what it is bound to.
        tools: what it shares with others.
    """

    def __init__(self, path: str, reducer: Registered, tools: Tools) -> None:
        self._path = path
        self._reducer = reducer
        self._tools = tools
        self._numbers = itertools.count()
        self._waiting: deque[_Job] = deque()
        self._working: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._has_landed = asyncio.Event()  # nothing is in flight
        self._has_landed.set()
        self._sent: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._judged_by_s = 0.0  # by the loop's clock: what is to be judged waits no longer than that
        self._hanging: Counter[bytes] = Counter()  # appends that the reducer has not come back from
        self._committed: Folded | None = None
        self._ahead: Folded | None = None
        self._kept: tuple[int, int] | None = None  # id and position of the state that was kept last
        self._tried_at = 0
        self._keepers = 0
        self._one_keeps = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything."""
        begun = self._in_flight or self._keepers or self._hanging
        return self._working is self._keeping is None and not begun

    @property
    def size(self) -> int:
        """What its state takes, in bytes of JSON, roughly."""
        return self._committed.size if self._committed is not None else 0

    async def append(self, request: AppendRequest) -> Appended:
        """Judge an append and carry it out.

        Raises:
            ActionRefused: the reducer refuses it.
            StateUnknown: its state cannot be known.
            ReducerBusy: it took too long, or hangs still from the same append; nothing was appended.
            ProtocolError, StoreFailure: as `StreamService.append`.
        """
        outcome: Appended = await self._queue(request)
        return outcome

    async def state(self) -> tuple[StreamState, Folded]:
        """The stream, and the fold of all that was acknowledged.

        Raises:
            NotFound, Gone, StoreFailure: as `StreamService.head`.
            ActionRefused: the stream is not JSON, or its state cannot be known.
            ReducerBusy: it took too long.
        """
        stream = await self._tools.service.head(self._path)
        committed = self._committed
        if committed is not None and self._is_current(committed, stream):
            return stream, committed
        found: tuple[StreamState, Folded] = await self._queue(None)
        return found

    async def _queue(self, request: AppendRequest | None) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(next(self._numbers), request, loop.time() + self._tools.timeout_s)
        self._waiting.append(job)
        if self._working is None:
            self._working = loop.create_task(self._work())
        job.timer = loop.call_at(job.due_s, self._give_up, job)
        try:
            return await job.future
        finally:
            job.timer.cancel()

    def _give_up(self, job: _Job) -> None:
        if job.is_submitted or job.future.done():
            return
        loop = asyncio.get_running_loop()
        if job not in self._waiting and loop.time() < self._judged_by_s:
            # Its turn has come. If it went now, it would have waited in vain, and so would the next one, and
            # the next: when more come than can be judged, nobody would be served at all.
            job.timer = loop.call_at(self._judged_by_s, self._give_up, job)
            return
        self._tools.counts.timeouts += 1
        if job in self._waiting:
            self._waiting.remove(job)  # what hangs for ever must not collect requests
        job.fail(ReducerBusy(self._tools.timeout_s))

    def _is_current(self, folded: Folded, stream: StreamState) -> bool:
        # While appends are in flight, what readers see of the stream may be a moment ahead of their landing
        # here; nobody was told of those yet.
        return folded.stream_id == stream.id and (self._in_flight > 0 or folded.at == stream.tail)

    async def aclose(self) -> None:
        """Judge nothing more, and see what is under way through."""
        self._is_closing = True
        begun = [task for task in (self._working, self._keeping) if task is not None]
        for task in begun:
            task.cancel()  # a reducer that hangs has its thread to itself
        self._fail(self._waiting, closing())
        if begun or self._sent:
            await asyncio.wait([*begun, *self._sent])

    # ---- judging ----

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self._ahead is None:
                    await self._has_landed.wait()
                jobs = self._take()
                try:
                    await self._carry_out(jobs)
                except BaseException as error:
                    self._fail(jobs, error)
                    if not isinstance(error, Exception):
                        raise  # the server is closing
        finally:
            self._working = None

    def _fail(self, jobs: Iterable[_Job], error: BaseException) -> None:
        """Whatever it is, those who wait must hear of it."""
        told = error if isinstance(error, Exception) else closing()
        for job in jobs:
            if not job.is_submitted:
                job.fail(told)

    def _take(self) -> list[_Job]:
        jobs = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        for job in jobs:
            if job.stored in self._hanging:
                job.fail(ReducerStuck("The stream's reducer has not come back from this very append yet"))
        return [job for job in jobs if not job.future.done()]

    def _put_back(self, jobs: Iterable[_Job]) -> None:
        """Have them judged anew, in the order in which they came."""
        if self._is_closing:
            self._fail(jobs, closing())
            return
        now_s = asyncio.get_running_loop().time()
        for job in jobs:
            if job.due_s <= now_s:
                self._give_up(job)
        left = [job for job in jobs if not job.future.done()]
        self._waiting = deque(sorted([*left, *self._waiting], key=lambda job: job.number))
        if self._waiting and self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def _carry_out(self, jobs: list[_Job]) -> None:
        stream = await self._tools.service.store.load(self._path)
        if not self._can_be_folded(stream):
            self._pass_on(jobs)
            return
        assert stream is not None
        before = await self._folded_so_far(stream)
        if before is None:
            self._put_back(jobs)
            return
        self._ahead = before
        appends = [job for job in jobs if job.request is not None]
        judged = await self._judge(stream, before, appends)
        if self._ahead is not before:
            # Something in flight failed: the states that they were judged by are not to be.
            self._put_back(jobs)
            return
        submitted = self._submit_all(appends, before, judged)
        self._answer([job for job in jobs if job.request is None], stream)
        self._put_back(appends[submitted:])

    def _can_be_folded(self, stream: StreamState | None) -> bool:
        try:
            living = decide.living(stream, self._tools.service.now_us())
        except ProtocolError:
            return False
        return living.mode is Mode.JSON

    def _pass_on(self, jobs: Iterable[_Job]) -> None:
        """There is nothing to judge by: say why, or let the rules of the protocol do so."""
        self._ahead = self._committed = None
        nothing = Folded(-1, -1, Confirmed(self._reducer.initial))
        for job in jobs:
            if job.request is None:
                job.fail(NotFound("There is no state; the stream was deleted, or is not application/json."))
            else:
                self._submit(job, nothing, Judged(nothing.confirmed), nothing)

    def _answer(self, lookers: Iterable[_Job], stream: StreamState) -> None:
        for job in lookers:
            job.resolve((stream, self._committed))

    async def _judge(
        self, stream: StreamState, before: Folded, jobs: Sequence[_Job]
    ) -> list[tuple[Judged, Folded]]:
        """Verdicts on the first of some appends, and the states after them."""
        if not jobs:
            return []
        began_s = time.perf_counter()
        # Once for the thread to come free, and once for the reducer.
        self._judged_by_s = asyncio.get_running_loop().time() + 2 * self._tools.timeout_s
        appends = [Append(job.stored, job.producer_id) for job in jobs]
        judged: list[tuple[Judged, Folded]] = []
        call = partial(judge_all, self._reducer, stream, before, appends, judged)
        try:
            await self._tools.workers.run(call, self._reducer.name, self._path, in_time=True)
        except Overdue as overdue:
            judged = judged.copy()  # the thread may come back and go on
            if len(judged) < len(jobs):
                self._hangs(jobs[len(judged)], overdue.back)
        finally:
            self._judged_by_s = 0.0
        self._tools.counts.judge_seconds.observe(time.perf_counter() - began_s)
        return judged

    def _hangs(self, job: _Job, back: asyncio.Future[None]) -> None:
        """The reducer has not come back from an append in time."""
        stored = job.stored
        self._hanging[stored] += 1
        back.add_done_callback(lambda _: self._hangs_no_longer(stored))
        self._tools.counts.timeouts += 1
        job.fail(ReducerBusy(self._tools.timeout_s))

    def _hangs_no_longer(self, stored: bytes) -> None:
        self._hanging -= Counter([stored])

    # ---- states ----

    async def _folded_so_far(self, stream: StreamState) -> Folded | None:
        """The state to judge the next append by; None if it must be found anew, after what is in flight."""
        ahead = self._ahead
        if ahead is not None and self._is_current(ahead, stream):
            return ahead
        self._ahead = None
        if self._in_flight:
            return None
        committed = self._committed
        if committed is None or committed.stream_id != stream.id or committed.at > stream.tail:
            committed = await self._tools.checkpoints.newest(stream, self._reducer)
            self._tried_at = committed.at if committed is not None else 0
            self._tools.counts.rebuilt += 1
        self._committed = await fold_upto(self._tools, self._reducer, stream, committed, stream.tail)
        return self._committed

    async def keep(self, stream: StreamState, position: int) -> bool:
        """See to it that a kept state reaches up to a position; False if there can be none.

        Raises:
            ProtocolError, StoreFailure: as `state`.
        """
        self._keepers += 1
        try:
            if self._kept is None:
                # That of a fork's source would do for now, but it moves on with its stream.
                kept = await self._tools.checkpoints.own(stream, self._reducer)
                self._kept = (stream.id, kept.at) if kept is not None else None
            if self._is_kept(stream.id, position):
                return True
            _, folded = await self.state()
            return await self._keep(folded)
        finally:
            self._keepers -= 1

    def _is_kept(self, stream_id: int, position: int) -> bool:
        return self._kept is not None and self._kept[0] == stream_id and self._kept[1] >= position

    async def _keep(self, folded: Folded) -> bool:
        checkpoints = self._tools.checkpoints
        async with self._one_keeps:  # or an older state could replace one that data were trimmed for
            if self._is_kept(folded.stream_id, folded.at):
                return True
            call = partial(checkpoints.record, self._reducer, folded)
            record = await self._tools.workers.run(call, self._reducer.name, self._path)
            self._tried_at = folded.at
            if record is None:
                return False
            await checkpoints.put(self._path, record)
            self._kept = folded.stream_id, folded.at
            return True

    def _keep_now_and_then(self, folded: Folded) -> None:
        """So that starting again costs no more than writing did, however long the stream is."""
        due_bytes = max(_KEPT_EVERY_BYTES, _KEPT_EVERY_SIZES * folded.measured)
        if self._keeping is None and folded.at - self._tried_at > due_bytes:
            self._tried_at = folded.at
            self._keeping = asyncio.get_running_loop().create_task(self._keep_in_background(folded))

    async def _keep_in_background(self, folded: Folded) -> None:
        try:
            await self._keep(folded)
        except (StoreFailure, ReducerStuck):
            logger.warning("the state of %s was not kept; a restart will take longer", self._path)
        finally:
            self._keeping = None

    # ---- sending ----

    def _submit_all(
        self, jobs: Sequence[_Job], before: Folded, judged: Iterable[tuple[Judged, Folded]]
    ) -> int:
        """Hand over what was judged, up to the first whose sender has given up; returns how many."""
        count = 0
        for job, (verdict, after) in zip(jobs, judged, strict=False):
            if job.future.done():
                break  # those behind it were judged as if it had been appended
            self._submit(job, before, verdict, after)
            before, count = after, count + 1
        return count

    def _submit(self, job: _Job, before: Folded, judged: Judged, after: Folded) -> None:
        assert job.request is not None
        job.is_submitted = True
        self._in_flight += 1
        self._has_landed.clear()
        self._ahead = after if after.at >= 0 else None
        # Tasks begin in the order in which they are made, so the appends reach the store in theirs.
        task = asyncio.get_running_loop().create_task(self._see_through(job, before, judged, after))
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)

    async def _see_through(self, job: _Job, before: Folded, judged: Judged, after: Folded) -> None:
        request = job.request
        assert request is not None
        check = _verdict_for(before, judged)
        try:
            outcome = await self._tools.service.append_if(request, check)
        except Outdated:
            self._ahead = None
            job.is_submitted = False
            self._put_back([job])
        except ActionRefused as refusal:
            self._tools.counts.refused[refusal.verdict] += 1
            job.fail(refusal)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the sender must hear of it
            if judged.refusal is None and job.stored:
                self._ahead = None
            job.fail(error)
        else:
            self._has_arrived(outcome, job, judged, after)
            job.resolve(outcome)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._has_landed.set()

    def _has_arrived(self, outcome: Appended, job: _Job, judged: Judged, after: Folded) -> None:
        if outcome.added_data:
            self._committed = after
            self._keep_now_and_then(after)
            self._tools.counts.accepted += judged.messages
        elif job.stored:
            self._ahead = None  # a duplicate: it changes nothing, though it was judged as if it would


def _verdict_for(before: Folded, judged: Judged) -> Callable[[StreamState | None, Decision[Any]], None]:
    """What to ask within the transaction: whether the verdict is on the stream as it is there."""

    def check(stream: StreamState | None, decided: Decision[Any]) -> None:
        if not decided.result.added_data:
            return
        if stream is None or stream.mode is not Mode.JSON:
            raise not_json()
        if (stream.id, stream.tail) != (before.stream_id, before.at):
            raise Outdated
        if judged.refusal is not None:
            raise judged.refusal

    return check


def closing() -> ProtocolError:
    """Nothing is judged any more."""
    return StorageUnavailable("The server is closing; nothing was stored.")


def not_json() -> ActionRefused:
    """A stream of this path must be JSON."""
    return ActionRefused(
        {
            "error": ActionRefused.code,
            "reason": "the stream is bound to a reducer, and so it must be application/json",
            "hint": "Nothing was stored. Create the stream with Content-Type: application/json.",
        }
    )
