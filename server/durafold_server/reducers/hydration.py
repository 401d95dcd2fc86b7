"""A folded state as an answer to GET: all that a page needs to show it and to follow the stream from there.

A state belongs to an offset, and whoever gets it reads on from that. So it may be as old as a page of the
stream may be, and is cached as pages are (PROTOCOL §10.1): by shared caches, unless access is controlled.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import msgspec

from durafold.state.json_values import NotJson
from durafold.state.snapshot import Snapshot, dump_snapshot
from durafold.wire import names
from durafold_server.protocol import caching
from durafold_server.protocol.errors import ActionRefused, ReducerBusy
from durafold_server.protocol.model import StreamState
from durafold_server.protocol.responses import HeaderList, Reply
from durafold_server.reducers.checkpoints import Folded
from durafold_server.reducers.folding import MAX_FOLD_S, Folder
from durafold_server.reducers.gate import ReducerGate
from durafold_server.reducers.registered import Registered
from durafold_server.service import StreamService, locate

__all__ = ["Hydration", "StateRequest"]

_ETAG_DIGITS: Final = 32
_MAX_BYTES: Final = 16 * 1024 * 1024
_RENDERED_BYTES: Final = 2048
"""What a kept answer takes beside its body."""


@dataclass(frozen=True, slots=True)
class StateRequest:
    """Who wants a state.

    Attributes:
        path: of the stream, canonical.
        at: offset that the state is to belong to; None for the newest.
        if_none_match: that header.
        private: shared caches must not keep the answer.
        renews: it counts as a read of the stream, which renews a TTL.
    """

    path: str
    at: str | None = None
    if_none_match: str | None = None
    private: bool = False
    renews: bool = True


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A state as it is sent; kept, because many ask for the same one."""

    folded: Folded
    closed: bool
    body: bytes
    etag: str

    @property
    def size(self) -> int:
        """What it takes in memory, about, in bytes."""
        return len(self.body) + _RENDERED_BYTES


@dataclass(frozen=True, slots=True)
class _Begun:
    """An answer that somebody works on."""

    folded: Folded
    closed: bool
    task: asyncio.Task[_Rendered]


class Hydration:
    """Answers requests for states.

    Args:
        service: the streams.
        gate: has the newest states.
    """

    def __init__(self, service: StreamService, gate: ReducerGate) -> None:
        self._service = service
        self._gate = gate
        self._folder = Folder(service)
        self._rendered: OrderedDict[str, _Rendered] = OrderedDict()
        self._kept_bytes = 0
        self._begun: dict[str, _Begun] = {}

    async def answer(self, request: StateRequest) -> Reply:
        """The state of a stream; 304 if the client has it.

        Raises:
            NotFound: nothing is bound to the path, or there is no such stream.
            InvalidOffset, Gone: `at` is no offset of it.
            NotRetained: the state at `at` can no longer be folded.
            ActionRefused: the stream is not JSON, its state cannot be known, or has no JSON form.
            ReducerBusy: it took too long; asking again goes on from there.
            StoreFailure: the stream cannot be read.
        """
        reducer = self._gate.reducer_of(request.path)
        if request.renews:
            await self._service.visit(request.path)
        stream, newest = await self._gate.state(request.path)
        position = newest.at if request.at is None else locate(stream, request.at)
        if position == newest.at:
            rendered = await self._newest(reducer, stream, newest)
        else:
            folded = await self._earlier(reducer, stream, position)
            rendered = await self._gate.run(
                partial(_render, reducer, stream, folded), reducer.name, stream.path
            )
        return _reply(request, stream, rendered)

    async def _newest(self, reducer: Registered, stream: StreamState, folded: Folded) -> _Rendered:
        closed = _is_end(stream, folded)
        known = self._rendered.get(stream.path)
        if known is None or known.folded is not folded or known.closed is not closed:
            known = await asyncio.shield(self._rendering_of(reducer, stream, folded, closed=closed))
        self._keep(stream.path, known)
        return known

    def _rendering_of(
        self, reducer: Registered, stream: StreamState, folded: Folded, *, closed: bool
    ) -> asyncio.Task[_Rendered]:
        """The work on an answer: done once, however many ask meanwhile."""
        begun = self._begun.get(stream.path)
        if begun is not None and begun.folded is folded and begun.closed is closed:
            return begun.task
        task = asyncio.get_running_loop().create_task(
            self._gate.run(partial(_render, reducer, stream, folded), reducer.name, stream.path)
        )
        begun = self._begun[stream.path] = _Begun(folded, closed, task)
        task.add_done_callback(lambda _: self._is_done(stream.path, begun))
        return task

    def _is_done(self, path: str, begun: _Begun) -> None:
        if self._begun.get(path) is begun:
            del self._begun[path]
        if not begun.task.cancelled():
            begun.task.exception()  # all who asked may have left

    def _keep(self, path: str, rendered: _Rendered) -> None:
        before = self._rendered.pop(path, None)
        self._kept_bytes += rendered.size - (before.size if before is not None else 0)
        self._rendered[path] = rendered
        while len(self._rendered) > 1 and self._kept_bytes > _MAX_BYTES:
            _, oldest = self._rendered.popitem(last=False)
            self._kept_bytes -= oldest.size

    async def _earlier(self, reducer: Registered, stream: StreamState, position: int) -> Folded:
        if not stream.start:
            found = await self._folder.fold(stream.path, reducer, stream.offset(position), None)
            if not found.complete:
                raise ReducerBusy(MAX_FOLD_S)
            if not (await self._service.head(stream.path)).start:
                return Folded(stream.id, position, replace(found.confirmed, offset=stream.offset(position)))
        # The keyframes begin where the stream does, and what it began with is gone, perhaps just now.
        return await self._gate.fold_upto(stream, position)


def _is_end(stream: StreamState, folded: Folded) -> bool:
    return stream.closed and folded.at == stream.tail


def _render(reducer: Registered, stream: StreamState, folded: Folded) -> _Rendered:
    """In a thread: it takes as long as the state is large."""
    closed = _is_end(stream, folded)
    body = msgspec.json.encode(_document(reducer, folded, closed=closed)) + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    return _Rendered(folded, closed, body, f'"{digest[:_ETAG_DIGITS]}"')


def _document(reducer: Registered, folded: Folded, *, closed: bool) -> dict[str, Any]:
    """What a snapshot says, so that the SDK could hydrate from it, and how it came about."""
    confirmed = folded.confirmed
    snapshot = Snapshot(
        confirmed.state,
        confirmed.offset,
        confirmed.revision,
        confirmed.position,
        confirmed.seen,
        reducer.fingerprint,
        confirmed.losers,
    )
    try:
        dumped = dump_snapshot(snapshot, reducer.states)
    except NotJson as exc:
        raise ActionRefused(
            {
                "error": "no_json_form",
                "reason": str(exc),
                "hint": "Give the state a type that pydantic can write as JSON and read back.",
            }
        ) from exc
    return {
        "reducer": reducer.name,
        "version": reducer.version,
        **dumped,
        "closed": closed,
        "fault_count": confirmed.fault_count,
    }


def _reply(request: StateRequest, stream: StreamState, rendered: _Rendered) -> Reply:
    headers: HeaderList = [
        (b"content-type", names.JSON_CONTENT_TYPE.encode()),
        (b"stream-next-offset", rendered.folded.confirmed.offset.encode()),
    ]
    if rendered.folded.at == stream.tail:
        headers.append((b"stream-up-to-date", b"true"))
    if rendered.closed:
        headers.append((b"stream-closed", b"true"))
    if rendered.folded.confirmed.fault_count:
        # As everywhere, nothing is kept past a message that could not be folded: a corrected reducer heals.
        return Reply(200, [*headers, (b"cache-control", caching.NO_STORE.encode())], rendered.body)
    policy = caching.HISTORICAL_PRIVATE if request.private else caching.HISTORICAL
    headers += [(b"etag", rendered.etag.encode()), (b"cache-control", policy.encode())]
    if caching.matches(request.if_none_match, rendered.etag):
        return Reply(304, headers)
    return Reply(200, headers, rendered.body)
