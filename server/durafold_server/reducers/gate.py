"""What the service asks before appends to bound streams are accepted, and who has their states.

Lanes are made when somebody needs them, and forgotten, those used longest ago first, when their states take
too much memory; what they knew is found again in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from durafold.state.replica import Confirmed
from durafold_server.attempts import Outdated
from durafold_server.config import ServiceSettings
from durafold_server.metrics import ReducerCounts
from durafold_server.protocol import lifetimes
from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.errors import (
    ActionRefused,
    NotFound,
    NotRetained,
    ProtocolError,
    ReducerBusy,
    StateUnknown,
)
from durafold_server.protocol.model import Decision, Mode, StreamState
from durafold_server.protocol.requests import AppendRequest, CreateRequest, ForkRequest, initial_payload
from durafold_server.reducers.bindings import Bindings
from durafold_server.reducers.checkpoints import Checkpoints, Folded
from durafold_server.reducers.folds import Tools, fold_upto, judge_in_thread
from durafold_server.reducers.judging import Judged
from durafold_server.reducers.lanes import Lane, closing, not_json
from durafold_server.reducers.registered import Registered
from durafold_server.reducers.workers import Workers
from durafold_server.service import StreamService
from durafold_server.store.base import StoreFailure

__all__ = ["ReducerGate"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LANE_BYTES: Final = 2048
"""What a lane takes beside its state."""

_ROOM_MADE_EVERY: Final = 64


class ReducerGate:
    """The `Gate` of the streams that are bound to reducers.

    Args:
        service: whose streams; from now on it asks here.
        bindings: which stream is bound to what.
        settings: time-outs and limits.

    Attributes:
        counts: what was judged and folded.
    """

    def __init__(self, service: StreamService, bindings: Bindings, settings: ServiceSettings) -> None:
        self.counts = ReducerCounts()
        self._service = service
        self._bindings = bindings
        self._max_bytes = settings.folded_states_bytes
        self._workers = Workers(settings.reducer_timeout_s)
        self._tools = Tools(
            service,
            self._workers,
            Checkpoints(service.store, self._workers),
            self.counts,
            settings.reducer_timeout_s,
        )
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._uses = 0
        self._is_closing = False
        self._forgetting: set[asyncio.Task[None]] = set()
        service.gate = self
        service.observe(self._changed)

    def __len__(self) -> int:
        """How many states are in memory."""
        return len(self._lanes)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reducer."""
        return all(lane.is_idle for lane in self._lanes.values())

    @property
    def size(self) -> int:
        """What the states in memory take, in bytes of JSON."""
        return sum(lane.size for lane in self._lanes.values())

    def reducer_of(self, path: str) -> Registered:
        """What a stream is bound to.

        Raises:
            NotFound: nothing.
        """
        reducer = self._bindings.of(path)
        if reducer is None:
            raise NotFound("No reducer is bound to this path; bind one with --bind PATTERN=module:name.")
        return reducer

    def concerns(self, path: str) -> bool:
        """See `Gate`."""
        return self._bindings.of(path) is not None

    async def append(self, request: AppendRequest) -> Appended:
        """See `Lane.append`."""
        return await self._lane(request.path).append(request)

    async def state(self, path: str) -> tuple[StreamState, Folded]:
        """See `Lane.state`.

        Raises:
            NotFound: nothing is bound to the path, or there is no such stream.
        """
        return await self._lane(path).state()

    async def fold_upto(self, stream: StreamState, position: int) -> Folded:
        """An earlier state of a stream, from the one that is kept.

        Raises:
            InvalidOffset: the position lies inside a message.
            NotRetained: the kept one is later.
            ReducerBusy: it takes too long.
            StoreFailure: the stream cannot be read.
        """
        reducer = self.reducer_of(stream.path)
        kept = await self._tools.checkpoints.newest(stream, reducer)
        if kept is None or kept.at > position:
            raise NotRetained(stream.offset(kept.at if kept is not None else stream.tail))
        await self._service.view(stream, position)  # refuses a position inside a message
        return await self._fold_in_time(reducer, stream, kept, position)

    @property
    def overdue(self) -> Mapping[str, int]:
        """Calls of reducers that have taken too long and have not come back, by the reducers' names."""
        return self._workers.overdue

    async def run(self, call: Callable[[], T], reducer: str, path: str) -> T:
        """Carry out work on a state in a thread, since the state's types are the operator's code.

        Raises:
            ReducerBusy: it takes too long.
            Exception: what the call raises.
        """
        try:
            async with asyncio.timeout(self._tools.timeout_s):
                return await self._workers.run(call, reducer, path)
        except TimeoutError:
            self.counts.timeouts += 1
            raise ReducerBusy(self._tools.timeout_s) from None

    async def may_trim(self, stream: StreamState, position: int) -> bool:
        """See `Gate`. What is trimmed must have led to a state that is kept."""
        if self._bindings.of(stream.path) is None or stream.mode is not Mode.JSON:
            return True
        try:
            return await self._lane(stream.path).keep(stream, position)
        except ProtocolError:
            return False

    async def create(self, request: CreateRequest) -> Created:
        """Judge what a stream begins with, and create it.

        Raises:
            ActionRefused, StateUnknown, ReducerBusy: as `Lane.append`.
            ProtocolError, StoreFailure: as `StreamService.create`.
        """
        # Requests are served without a task of their own where possible, and a time-out needs one.
        return await asyncio.get_running_loop().create_task(self._create(request))

    async def _create(self, request: CreateRequest) -> Created:
        reducer = self.reducer_of(request.path)
        while True:
            begin = await self._beginning(reducer, request)
            try:
                created = await self._service.create_if(request, _verdict_for(begin), begin.fork_at)
            except Outdated:
                continue
            except ActionRefused as refusal:
                self.counts.refused[refusal.verdict] += 1
                raise
            if created.new and begin.judged is not None:
                self.counts.accepted += begin.judged.messages
            return created

    async def settled(self) -> None:
        """Wait until what was kept of deleted streams is dropped."""
        if self._forgetting:
            await asyncio.wait(self._forgetting)

    async def aclose(self) -> None:
        """See what is under way through, and judge nothing more."""
        self._is_closing = True
        for lane in list(self._lanes.values()):  # those that are idle may be forgotten meanwhile
            await lane.aclose()
        await self.settled()
        self._workers.close()

    def _lane(self, path: str) -> Lane:
        if self._is_closing:
            raise closing()
        lane = self._lanes.get(path)
        if lane is None:
            lane = self._lanes[path] = Lane(path, self.reducer_of(path), self._tools)
        self._lanes.move_to_end(path)
        self._uses += 1
        if self._uses % _ROOM_MADE_EVERY == 0:
            self._make_room()
        return lane

    def _make_room(self) -> None:
        surplus = sum(lane.size + _LANE_BYTES for lane in self._lanes.values()) - self._max_bytes
        newest = next(reversed(self._lanes))
        for path, lane in list(self._lanes.items()) if surplus > 0 else ():
            if surplus <= 0 or path == newest:
                return
            if lane.is_idle:  # one that hangs stays, but keeps no others
                surplus -= lane.size + _LANE_BYTES
                del self._lanes[path]

    async def _beginning(self, reducer: Registered, request: CreateRequest) -> _Beginning:
        """What a stream begins with, and the verdict on its first data."""
        try:
            payload = initial_payload(request, Mode.JSON)
        except ProtocolError:
            return _Beginning()  # the decision says so, in its turn
        if request.fork is not None:
            return await self._branch(reducer, request, request.fork, payload.data)
        if not payload.data:
            return _Beginning()
        return _Beginning(
            judged=await judge_in_thread(
                self._tools, reducer, request.path, Confirmed(reducer.initial), payload.data
            )
        )

    async def _branch(
        self, reducer: Registered, request: CreateRequest, fork: ForkRequest, data: bytes
    ) -> _Beginning:
        source = await self._service.store.load(fork.source_path)
        at = await self._service.fork_position(fork, source)
        if source is None or isinstance(at, ProtocolError) or source.mode is not Mode.JSON:
            return _Beginning()
        if source.start:
            await self._keep_branch(reducer, request.path, source, at)
        if not data:
            return _Beginning()
        folded = await self._fold_source(reducer, source, at)
        judged = await judge_in_thread(self._tools, reducer, request.path, folded.confirmed, data)
        return _Beginning(source.id, at, judged)

    async def _keep_branch(self, reducer: Registered, path: str, source: StreamState, at: int) -> None:
        """Keep what a fork begins with: its source moves on, and what led to it is no longer there."""
        if self._is_taken(await self._service.store.load(path)):
            return
        await self.settled()  # what was kept of an earlier fork of this path is not dropped afterwards
        try:
            folded = await self._fold_source(reducer, source, at)
        except StateUnknown:
            return
        checkpoints = self._tools.checkpoints
        record = await self._workers.run(partial(checkpoints.record, reducer, folded), reducer.name, path)
        if record is not None:
            await checkpoints.put(path, record)

    def _is_taken(self, stream: StreamState | None) -> bool:
        return stream is not None and not lifetimes.is_expired(stream, self._service.now_us())

    async def _fold_source(self, reducer: Registered, source: StreamState, at: int) -> Folded:
        kept = await self._tools.checkpoints.newest(source, reducer)
        usable = kept if kept is not None and kept.at <= at else None
        return await self._fold_in_time(reducer, source, usable, at)

    async def _fold_in_time(
        self, reducer: Registered, stream: StreamState, begin: Folded | None, position: int
    ) -> Folded:
        try:
            async with asyncio.timeout(self._tools.timeout_s):
                return await fold_upto(self._tools, reducer, stream, begin, position)
        except TimeoutError:
            self.counts.timeouts += 1
            raise ReducerBusy(self._tools.timeout_s) from None

    def _changed(self, stream: StreamState) -> None:
        if not stream.deleted or self._bindings.of(stream.path) is None:
            return
        lane = self._lanes.get(stream.path)
        if lane is not None and lane.is_idle:
            del self._lanes[stream.path]
        task = asyncio.get_running_loop().create_task(self._forget(stream))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, stream: StreamState) -> None:
        try:
            await self._tools.checkpoints.drop(stream)
        except StoreFailure:
            logger.warning("the kept state of %s was not dropped; it is of no use to others", stream.path)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What a stream begins with.

    Attributes:
        source_id: of the stream that it is forked from; only if it begins with data of its own.
        fork_at: where it branches off there.
        judged: the verdict on its first data; None without any.
    """

    source_id: int | None = None
    fork_at: int | None = None
    judged: Judged | None = None


def _verdict_for(begin: _Beginning) -> Callable[[StreamState | None, Decision[Any]], None]:
    """What to ask within the transaction that creates a stream."""

    def check(_stream: StreamState | None, decided: Decision[Any]) -> None:
        created: Created = decided.result
        if not created.new:
            return
        if created.stream.mode is not Mode.JSON:
            raise not_json()
        if begin.judged is None:
            return
        fork = created.stream.fork
        if (begin.source_id, begin.fork_at) != (
            (fork.source_id, fork.at) if fork is not None else (None, None)
        ):
            raise Outdated
        if begin.judged.refusal is not None:
            raise begin.judged.refusal

    return check
