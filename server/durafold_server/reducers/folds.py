"""Reducers run over a stream's data, in threads: what was appended is folded, what is to be is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from durafold.state.replica import Batch, Confirmed, fold_batch
from durafold_server.metrics import ReducerCounts
from durafold_server.protocol.errors import ReducerBusy, StateUnknown
from durafold_server.protocol.model import StreamState
from durafold_server.reducers.checkpoints import Checkpoints, Folded
from durafold_server.reducers.judging import Append, Judged, envelopes_of, judge
from durafold_server.reducers.registered import Registered
from durafold_server.reducers.workers import Workers
from durafold_server.service import StreamService

__all__ = ["Tools", "fold_upto", "judge_all", "judge_in_thread"]

_AT_ONCE_S: Final = 0.05
"""Longer than this, those that were judged do not wait for the others that came with them."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What everything that folds on a server shares.

    Attributes:
        service: the streams.
        workers: threads to run reducers in.
        checkpoints: folded states that were kept.
        counts: what is judged and folded.
        timeout_s: how long an append waits to be judged.
    """

    service: StreamService
    workers: Workers
    checkpoints: Checkpoints
    counts: ReducerCounts
    timeout_s: float


def judge_all(
    reducer: Registered,
    stream: StreamState,
    before: Folded,
    appends: Sequence[Append],
    judged: list[tuple[Judged, Folded]],
) -> None:
    """Judge appends one after the other, as many as a short while allows, and one at least; in a thread.

    Verdicts, and the states after them, go to `judged` one by one: they hold even if the next one hangs.
    """
    deadline_s = time.monotonic() + _AT_ONCE_S
    for append in appends:
        verdict, before = _judge_one(reducer, stream, before, append)
        judged.append((verdict, before))
        if time.monotonic() > deadline_s:
            return


def _judge_one(
    reducer: Registered, stream: StreamState, before: Folded, append: Append
) -> tuple[Judged, Folded]:
    if not append.stored:
        return Judged(before.confirmed), before
    end = before.at + len(append.stored)
    verdict = judge(reducer, before.confirmed, append, stream.offset(end))
    if verdict.refusal is not None:
        return verdict, before
    return verdict, before.followed_by(verdict.confirmed, end)


async def judge_in_thread(
    tools: Tools, reducer: Registered, path: str, before: Confirmed[Any], stored: bytes
) -> Judged:
    """`judge`, for what begins a stream.

    Raises:
        ReducerBusy: it took too long.
    """
    call = partial(judge, reducer, before, Append(stored), before.offset)
    try:
        async with asyncio.timeout(tools.timeout_s):
            return await tools.workers.run(call, reducer.name, path)
    except TimeoutError:
        tools.counts.timeouts += 1
        raise ReducerBusy(tools.timeout_s) from None


async def fold_upto(
    tools: Tools, reducer: Registered, stream: StreamState, begin: Folded | None, position: int
) -> Folded:
    """The fold of a stream up to a position, page by page, from a state before it.

    Args:
        tools: what is shared.
        reducer: to fold with.
        stream: the stream.
        begin: a fold of its beginning; None if there is none yet.
        position: where to stop, between two messages.

    Raises:
        StateUnknown: there is none, and the stream's beginning is no longer kept.
        ReducerStuck: the reducer does not come back.
        ProtocolError, StoreFailure: as `StreamService.view`.
    """
    if begin is None:
        if stream.start:
            raise _state_unknown(stream)
        begin = Folded(stream.id, 0, Confirmed(reducer.initial, offset=stream.offset(0)))
    folded = begin
    while folded.at < position:
        view = await tools.service.view(stream, folded.at)
        data = view.data[: position - folded.at]
        call = partial(_fold_page, reducer, stream, folded, data)
        folded = await tools.workers.run(call, reducer.name, stream.path)
        tools.counts.folded_bytes += len(data)
    return folded


def _fold_page(reducer: Registered, stream: StreamState, before: Folded, data: bytes) -> Folded:
    """In a thread. What cannot be folded is passed over, as every replica does."""
    end = before.at + len(data)
    batch = Batch(envelopes_of(data), before.confirmed.offset, stream.offset(end))
    confirmed = fold_batch(reducer.step, before.confirmed, batch).confirmed
    return before.followed_by(confirmed, end)


def _state_unknown(stream: StreamState) -> StateUnknown:
    """The beginning of a stream is gone, and no state that it led to was kept."""
    return StateUnknown(
        {
            "error": StateUnknown.code,
            "reason": f"the stream begins at {stream.offset(stream.start)}, so its state cannot be folded, "
            "and the server has kept none for this version of the reducer",
            "hint": "Nothing was stored. Bind a stream before it is trimmed, and let it keep its data "
            "(Stream-Retention-Bytes: 0) when the reducer's version changes.",
        }
    )
