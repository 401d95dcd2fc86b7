"""What a stream was before: all its messages, read anew, and the states between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

from durafold.client import DurableStream, Offset, Page
from durafold.engine.batches import batch_of
from durafold.engine.definition import Definition
from durafold.errors import StateError
from durafold.state.history import History
from durafold.state.replica import Batch, Confirmed, fold_batch
from durafold.wire.envelope import Envelopes
from durafold.wire.offsets import NOW, START

__all__ = ["batches_until", "read_history", "state_at"]

S = TypeVar("S")

MAX_READS: Final = 100
"""How often a stream is read to find a place in it. Two or three are enough unless the stream holds the same
message many times over and others append without a pause."""


async def read_history(stream: DurableStream, definition: Definition[S]) -> History[S]:
    """Read the whole stream, with every state that it has gone through.

    Raises:
        StreamGone: the server no longer keeps the beginning.
        DurafoldError: it does not answer, or refuses.
    """
    messages: list[Any] = []
    offset: Offset = START
    async for page in stream.pages():
        page.require_beginning()
        messages += page.json()
        offset = page.next_offset
    return History(definition.step, definition.initial, Envelopes(messages), offset)


async def state_at(stream: DurableStream, definition: Definition[S], offset: Offset) -> S:
    """The state at an offset of the stream.

    Raises:
        StreamGone: the server no longer keeps the beginning.
        BadRequest: the stream has no such offset.
        DurafoldError: the server does not answer, or refuses.
    """
    confirmed = Confirmed(definition.initial)
    async for batch in batches_until(stream, offset, Page.require_beginning):
        confirmed = fold_batch(definition.step, confirmed, batch).confirmed
    return confirmed.state


async def batches_until(
    stream: DurableStream, until: Offset | None, look_at: Callable[[Page], None]
) -> AsyncGenerator[Batch]:
    """The messages of a JSON stream from its start to an offset, which may lie within a page.

    What others append meanwhile is not among them.

    Args:
        stream: the stream.
        until: the offset; None or `NOW` for the tail.
        look_at: is given every page first.

    Raises:
        BadRequest: the stream has no such offset.
        StateError: it takes too many reads to find the offset; see `MAX_READS`.
        DurafoldError: what else reading raises.
    """
    if until == START:
        return
    if until == NOW:
        until = None
    offset = START
    for _ in range(MAX_READS):
        async for page in stream.pages(offset):
            look_at(page)
            batch = batch_of(page)
            if until is not None and page.next_offset > until:  # PROTOCOL §8: offsets sort as strings
                batch = Batch(batch.messages[: await _count_before(stream, page, until)], page.offset, until)
            yield batch
            offset = Offset(batch.next_offset)
            if offset == until:
                return
        if until is None:
            return
        await stream.read(until)  # is it an offset of this stream at all? Then there is more by now
    if until is not None:
        raise _not_found(until)


async def _count_before(stream: DurableStream, page: Page, until: Offset) -> int:
    """How many messages of a page lie before an offset within it.

    Only a server can tell. What it gives from the offset on begins with a message of the page: if the page
    has that only once, it is found. Otherwise what comes behind the offset is counted, from the offset and
    from the page on, until both have arrived at the same place.
    """
    messages = page.json()
    ahead_count, ahead_offset = 0, page.next_offset  # messages behind the page, and how far they reach
    behind_count, behind_offset = 0, until
    for _ in range(MAX_READS):
        if behind_offset == ahead_offset:
            return len(messages) + ahead_count - behind_count
        if behind_offset > ahead_offset:
            found = await stream.read(ahead_offset)
            ahead_count, ahead_offset = ahead_count + len(found.json()), found.next_offset
            continue
        found = await stream.read(behind_offset)
        following = found.json()
        if behind_offset == until and following and messages.count(following[0]) == 1:
            return messages.index(following[0])
        behind_count, behind_offset = behind_count + len(following), found.next_offset
    raise _not_found(until)


def _not_found(until: Offset) -> StateError:
    return StateError(
        f"It cannot be told what lies before the offset {until!r}: too much is written meanwhile",
        hint="Try again when others write less",
    )
