"""Folding a stream step by step, and up to a place in the middle of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durafold.state.reducer import Message
from durafold.state.replica import Batch, Confirmed, Mark, fold_batch
from durafold.wire.envelope import from_message

if TYPE_CHECKING:
    from durafold.client import DurableStream, Offset, Page
    from durafold.engine.definition import Definition

__all__ = ["Step", "batch_of", "batches_until", "steps_of"]

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One message folded.

    Attributes:
        message: what was folded.
        offset: where the page begins that it came in.
        verdict: what became of it; `duplicate` for a second copy.
        reason: why it changed nothing, if it did not.
        before: the state before it.
        after: the fold up to it.
    """

    message: Message
    offset: str
    verdict: str
    reason: str | None
    before: S
    after: Confirmed[S]


def steps_of(definition: Definition[S], confirmed: Confirmed[S], batch: Batch) -> Iterator[Step[S]]:
    """A batch folded message by message."""
    for index, message in enumerate(batch.messages, 1):
        next_offset = batch.next_offset if index == len(batch.messages) else confirmed.offset
        step = _step(definition, confirmed, message, batch.offset, next_offset)
        yield step
        confirmed = step.after


def _step(
    definition: Definition[S], confirmed: Confirmed[S], message: Message, offset: str, next_offset: str
) -> Step[S]:
    watched = {(message.id.client_id, message.id.n)} if message.id is not None else frozenset[Mark]()
    folded = fold_batch(definition.step, confirmed, Batch([message], confirmed.offset, next_offset), watched)
    verdict, reason = "applied", None
    if folded.failures:
        fault, _ = folded.failures[0]
        verdict, reason = fault.verdict, fault.reason
    elif folded.settled:
        outcome = folded.settled[0].outcome
        verdict, reason = outcome.verdict, str(outcome.error) if outcome.error is not None else None
    elif message.id is not None:
        verdict = "duplicate"
    elif folded.confirmed.revision == confirmed.revision:
        verdict = "rejected"
    return Step(message, offset, verdict, reason, confirmed.state, folded.confirmed)


def batch_of(page: Page, messages: Sequence[Any] | None = None, next_offset: str | None = None) -> Batch:
    """A page as a batch to fold.

    Args:
        page: the page.
        messages: its first messages, if not all of them are to be folded.
        next_offset: where those end.
    """
    found = page.json() if messages is None else messages
    return Batch([from_message(message) for message in found], page.offset, next_offset or page.next_offset)


async def batches_until(
    stream: DurableStream, until: Offset | None, warn: Callable[[str], None]
) -> AsyncGenerator[Batch]:
    """The messages of a JSON stream up to an offset, which may lie within a page, or up to the tail.

    Only a server can tell where in a page an offset lies. So what comes behind it is counted: from the offset
    and from the page on, until both have arrived at the same place.

    Args:
        stream: the stream.
        until: the offset; None for the tail.
        warn: is told if the server no longer keeps the beginning.

    Raises:
        DurafoldError: what reading raises.
    """
    async for page in stream.pages():
        if page.lacks_beginning:
            warn("The beginning of the stream is no longer kept: this is folded from what is left of it")
        if until is None or page.next_offset <= until:  # PROTOCOL §8: offsets sort as strings
            yield batch_of(page)
            if page.next_offset == until:
                return
            continue
        messages = page.json()
        yield batch_of(page, messages[: len(messages) - await _count_behind(stream, page, until)], until)
        return


async def _count_behind(stream: DurableStream, page: Page, until: Offset) -> int:
    """How many messages of a page lie behind an offset within it."""
    ahead_count, ahead_offset = 0, page.next_offset  # messages behind the page, and how far they reach
    behind_count, behind_offset = 0, until
    while ahead_offset != behind_offset:
        if behind_offset < ahead_offset:
            found = await stream.read(behind_offset)
            behind_count, behind_offset = behind_count + len(found.json()), found.next_offset
        else:
            found = await stream.read(ahead_offset)
            ahead_count, ahead_offset = ahead_count + len(found.json()), found.next_offset
    return behind_count - ahead_count
