"""Folding a stream step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from durafold.state.reducer import Message
from durafold.state.replica import Batch, Confirmed, Mark, fold_batch

if TYPE_CHECKING:
    from durafold.engine.definition import Definition

__all__ = ["Step", "steps_of"]

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
