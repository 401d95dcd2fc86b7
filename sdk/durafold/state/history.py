"""`History`: every state a stream has gone through, at any place at once.

Kept are the messages, and the folded state at every 256th of them (a keyframe). The state at any other place
is the keyframe before it and at most 255 folds; states share what did not change, so keyframes are small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, overload

from durafold.state.outcomes import Verdict
from durafold.state.reducer import Message, Step
from durafold.state.replica import Batch, Confirmed, FoldedBatch, fold_batch

__all__ = ["Entry", "History"]

S = TypeVar("S")

KEYFRAME_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Entry(Generic[S]):
    """One message, and what it did.

    Attributes:
        position: how many messages come before it.
        action: its payload, as it is in the log.
        id: identity of the action, `client:17`; None if another program wrote it.
        ts_ms: when it was dispatched, by the sender's clock; None if it does not say.
        before: the state that it found.
        after: the state that it left; the same object if it changed nothing.
        verdict: what became of it; `duplicate` for a second copy, which counts for nothing.
    """

    position: int
    action: Any
    id: str | None
    ts_ms: int | None
    before: S
    after: S
    verdict: Verdict | Literal["duplicate"]


class History(Sequence[Entry[S]]):
    """Every message of a stream up to its tail at the time, with the states before and after.

    It is a sequence of entries; slices are lists.

    Args:
        step: what a message does to a state.
        initial: the state before the first message.
        messages: all of them, in log order.
        offset: where the one after the last will be.
    """

    def __init__(self, step: Step[S], initial: S, messages: Sequence[Message], offset: str) -> None:
        self._step = step
        self._messages = messages
        self.offset = offset
        self._keyframes = [Confirmed(initial)]
        for first in range(0, len(messages), KEYFRAME_EVERY):
            self._keyframes.append(self._folded(self._keyframes[-1], first, first + KEYFRAME_EVERY).confirmed)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Entry[S]]:
        confirmed = self._keyframes[0]
        for position in range(len(self)):
            folded = self._folded(confirmed, position, position + 1)
            yield self._entry(position, confirmed, folded)
            confirmed = folded.confirmed

    @overload
    def __getitem__(self, index: int) -> Entry[S]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry[S]]: ...
    def __getitem__(self, index: int | slice) -> Entry[S] | list[Entry[S]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        before = self._at(position)
        return self._entry(position, before, self._folded(before, position, position + 1))

    def at(self, position: int) -> S:
        """The state after so many messages.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= position <= len(self):
            raise IndexError(f"the history has {len(self)} messages, not {position}")
        return self._at(position).state

    def _at(self, position: int) -> Confirmed[S]:
        keyframe = position // KEYFRAME_EVERY
        return self._folded(self._keyframes[keyframe], keyframe * KEYFRAME_EVERY, position).confirmed

    def _folded(self, confirmed: Confirmed[S], first: int, last: int) -> FoldedBatch[S]:
        messages = self._messages[first:last]
        return fold_batch(self._step, confirmed, Batch(messages, confirmed.offset, confirmed.offset))

    def _entry(self, position: int, before: Confirmed[S], folded: FoldedBatch[S]) -> Entry[S]:
        message = self._messages[position]
        identity = f"{message.id.client_id}:{message.id.n}" if message.id is not None else None
        verdict, after = _verdict(message, before, folded), folded.confirmed.state
        return Entry(position, message.payload, identity, message.ts_ms, before.state, after, verdict)


def _verdict(
    message: Message, before: Confirmed[Any], folded: FoldedBatch[Any]
) -> Verdict | Literal["duplicate"]:
    if folded.confirmed.revision > before.revision:
        return "applied"
    if folded.failures:
        return folded.failures[0][0].verdict
    if message.id is not None and message.id.n <= before.seen.get(message.id.client_id, -1):
        return "duplicate"
    if message.if_revision is not None and message.if_revision != before.revision:
        return "conflict"
    return "rejected"
