"""What an idempotent producer has not delivered yet, and every decision about it (PROTOCOL §5.2.1).

No I/O, no clock, no tasks: `producer` sends what `take` hands out and reports what became of it.

Messages wait in a queue until a batch takes them. A batch gets the next sequence number and keeps it, and its
bytes, until the server has given an answer that settles it: a server drops other bytes under used numbers
without a word. What follows from that:

- *Retry.* No answer means that the server may have acted or not. The same request is repeated until an answer
  comes; the server recognises a repetition.
- *Overtaking.* Several batches may be on their way. If one arrives before its predecessor, the server
  answers 409 with the number it expects; the batch is sent again when it is the first in line.
- *Refusal.* A refused batch leaves its number unused, so the batches behind it move up. That is safe only
  while no request with those numbers can still be on its way. Therefore a refusal is dealt with when nothing
  is in flight, and if an attempt was ever left without an answer, the producer moves to its next epoch, which
  shuts out whatever is still travelling.
- *Trouble.* While anything is unusual (no answer, a refusal, a new epoch), only the first batch is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from durafold.client.values import AppendResult
from durafold.errors import (
    BadRequest,
    ConfigurationError,
    DurafoldError,
    FencedError,
    Forbidden,
    PayloadTooLarge,
    SequenceConflict,
    StreamClosed,
    StreamConflict,
    Unauthorized,
    Unprocessable,
)
from durafold.wire.offsets import Offset

__all__ = ["Batch", "Outbox", "Settled"]

T = TypeVar("T")

# Refusals that concern what was sent: some message of the batch is to blame, the others may be fine.
_ABOUT_CONTENT: Final = (BadRequest, PayloadTooLarge, Unprocessable)
# Refusals that concern the request: all messages of the batch share them, but later batches may fare better.
_ABOUT_REQUEST: Final = (Unauthorized, Forbidden, StreamConflict)
# Refusals that the same bytes might not meet at another time.
_CHANGEABLE: Final = (*_ABOUT_REQUEST, Unprocessable)


class _Message(NamedTuple, Generic[T]):  # a tuple: there may be hundreds of thousands
    data: bytes
    token: T
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """What became of some messages: `outcome` is a result or the error that they failed with."""

    tokens: Sequence[T]
    outcome: AppendResult | DurafoldError


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """One request: some messages under one sequence number.

    Attributes:
        messages: in order.
        body: their bytes, ready to send.
        closes: close the stream in the same step.
        epoch: Producer-Epoch.
        seq: Producer-Seq.
        state: `ready` to be sent; `sent` and unanswered; `resting` before another attempt; `waiting` to be
            first in line; or `refused`.
        failures: attempts in a row that failed for reasons that may pass.
        is_doubtful: an attempt ended without an answer, so that the server may have acted, or may yet.
        is_suspect: a part of a batch that was refused.
        was_denied: the last answer was 401, and one more attempt with newly made headers is due.
        first_unsettled: the lowest unsettled number when it was sent last.
        refusal: why it was refused.
    """

    messages: Sequence[_Message[T]]
    body: bytes
    closes: bool
    epoch: int
    seq: int
    state: Literal["ready", "sent", "resting", "waiting", "refused"] = "ready"
    failures: int = 0
    is_doubtful: bool = False
    is_suspect: bool = False
    was_denied: bool = False
    first_unsettled: int = 0
    refusal: DurafoldError | None = None

    @property
    def tokens(self) -> list[T]:
        """What the messages were put in with."""
        return [message.token for message in self.messages]

    @property
    def size_bytes(self) -> int:
        """Size of its messages."""
        return sum(len(message.data) for message in self.messages)


class Outbox(Generic[T]):
    """The undelivered messages of one producer.

    Args:
        join: makes a body of messages.
        epoch: first Producer-Epoch.
        max_batch_bytes: a batch takes no further message when it would grow larger.
        max_in_flight: largest number of unsettled batches.
        auto_claim: when fenced, move to the epoch behind the other's; once, and again only after `restart`.

    Attributes:
        epoch: present Producer-Epoch.
        next_seq: Producer-Seq of the next batch.
        failure: why nothing can be delivered any more, until `restart`.
        buffered_bytes: size of all undelivered messages.
        is_closing: a close was put in, so that nothing may follow.
    """

    def __init__(
        self,
        join: Callable[[Sequence[bytes]], bytes],
        *,
        epoch: int,
        max_batch_bytes: int,
        max_in_flight: int,
        auto_claim: bool = False,
    ) -> None:
        self._join = join
        self._max_batch_bytes = max_batch_bytes
        self._max_in_flight = max_in_flight
        self._auto_claim = auto_claim
        self._queue: deque[_Message[T]] = deque()
        self._window: deque[Batch[T]] = deque()  # numbered and not settled, in order
        self._may_claim = auto_claim
        self._highest_sent_seq = -1
        self.failure: DurafoldError | None = None
        self._queued_bytes = 0  # of what no batch has taken yet
        self.buffered_bytes = 0
        self.is_closing = False
        self._begin_epoch(epoch)

    # ---- what is in it ----

    def put(self, data: bytes, token: T, *, closes: bool = False) -> None:
        """Add a message behind all others; `closes`: it ends the stream, and may be empty."""
        size_bytes = len(data)
        self._queue.append(_Message(data, token, closes))
        self._queued_bytes += size_bytes
        self.buffered_bytes += size_bytes
        if closes:
            self.is_closing = True

    @property
    def pending_count(self) -> int:
        """Number of undelivered messages."""
        return len(self._queue) + sum(len(batch.messages) for batch in self._window)

    @property
    def in_flight_count(self) -> int:
        """Number of requests that wait for their answer."""
        return sum(batch.state == "sent" for batch in self._window)

    @property
    def has_full_batch(self) -> bool:
        """Whether waiting for more messages would not make the next batch larger."""
        return self._queued_bytes >= self._max_batch_bytes or self.is_closing

    @property
    def has_queue(self) -> bool:
        """Whether messages wait that no batch has taken yet."""
        return bool(self._queue)

    def tokens(self) -> Iterator[T]:
        """The tokens of all undelivered messages, in order."""
        for batch in self._window:
            yield from batch.tokens
        for message in self._queue:
            yield message.token

    # ---- what to send ----

    def take(self) -> Batch[T] | None:
        """The batch to send now, which then counts as sent; None if there is none for the moment."""
        batch = self._next()
        if batch is not None:
            batch.state = "sent"
            batch.first_unsettled = self._window[0].seq
            self._highest_sent_seq = max(self._highest_sent_seq, batch.seq)
        return batch

    def _next(self) -> Batch[T] | None:
        if not self._window:
            return self._new_batch()
        head = self._window[0]
        if head.state in ("ready", "waiting"):
            return head
        if self._sends_only_head:
            return None
        ready = next((batch for batch in self._window if batch.state == "ready"), None)
        if ready is None and len(self._window) < self._max_in_flight:
            return self._new_batch()
        return ready

    @property
    def _sends_only_head(self) -> bool:
        is_unusual = any(batch.is_suspect or batch.state == "refused" for batch in self._window)
        return self._is_troubled or not self._is_established or is_unusual

    def _new_batch(self) -> Batch[T] | None:
        if not self._queue:
            return None
        messages = self._whole_queue() if self._fits_one_batch else self._first_of_queue()
        batch = self._batch(messages, self.next_seq)
        self._queued_bytes -= batch.size_bytes
        self.next_seq += 1
        self._window.append(batch)
        return batch

    @property
    def _fits_one_batch(self) -> bool:
        return self._queued_bytes <= self._max_batch_bytes and not self.is_closing

    def _whole_queue(self) -> list[_Message[T]]:
        messages = list(self._queue)
        self._queue.clear()
        return messages

    def _first_of_queue(self) -> list[_Message[T]]:
        messages = [self._queue.popleft()]
        size_bytes = len(messages[0].data)
        while self._queue and not self._queue[0].closes and not messages[0].closes:
            size_bytes += len(self._queue[0].data)
            if size_bytes > self._max_batch_bytes:
                break
            messages.append(self._queue.popleft())
        return messages

    def _batch(self, messages: Sequence[_Message[T]], seq: int) -> Batch[T]:
        parts = [message.data for message in messages if message.data]
        body = self._join(parts) if parts else b""
        return Batch(messages, body, messages[-1].closes, self.epoch, seq)

    # ---- what became of it ----

    def accepted(self, batch: Batch[T], result: AppendResult, highest_seq: int | None) -> list[Settled[T]]:
        """The server has the batch, now or from an earlier attempt.

        Args:
            batch: it.
            result: what the server said.
            highest_seq: the answer's Producer-Seq, the highest number that it has accepted.
        """
        if batch not in self._window:
            return []
        if self._is_somebody_elses(batch, result, highest_seq):
            return self.refused(batch, _numbers_used_elsewhere(self.epoch))
        self._is_established = True
        self._is_troubled = False
        return [self._remove(batch, result), *self._deal_with_refusals()]

    def _is_somebody_elses(self, batch: Batch[T], result: AppendResult, highest_seq: int | None) -> bool:
        """Whether the answer is about another process's batch under the same id, epoch and number.

        The server does not compare bytes: it would take our messages for repetitions, and drop them.
        """
        if highest_seq is not None and highest_seq > self._highest_sent_seq:
            return True
        return result.duplicate and not self._is_established and not batch.is_doubtful

    def overtook(self, batch: Batch[T], error: SequenceConflict) -> list[Settled[T]]:
        """The server answered that a number before this batch's is missing."""
        if batch not in self._window:
            return []
        expected_seq = error.expected_seq
        if expected_seq is None or not batch.first_unsettled <= expected_seq < batch.seq:
            return self.refused(batch, _numbers_forgotten(error))
        batch.state = "waiting"
        return self._deal_with_refusals()

    def unanswered(self, batch: Batch[T], *, is_doubtful: bool) -> list[Settled[T]]:
        """The attempt failed for a reason that may pass; the batch rests until `rested`.

        Args:
            batch: it.
            is_doubtful: the server may have acted all the same.
        """
        if batch not in self._window:
            return []
        batch.state = "resting"
        batch.failures += 1
        batch.is_doubtful = batch.is_doubtful or is_doubtful
        self._is_troubled = True
        return self._deal_with_refusals()

    def rested(self, batch: Batch[T]) -> None:
        """The batch may be sent again."""
        if batch.state == "resting":
            batch.state = "ready"

    def refused(self, batch: Batch[T], error: DurafoldError) -> list[Settled[T]]:
        """The server will not have the batch."""
        if batch not in self._window:
            return []
        if isinstance(error, Unauthorized) and not batch.was_denied:
            batch.was_denied = True
            batch.state = "ready"
        else:
            batch.state = "refused"
            batch.refusal = error
        return self._deal_with_refusals()

    def fail(self, error: DurafoldError) -> list[Settled[T]]:
        """Nothing can be delivered any more: everything undelivered fails with the error."""
        self.failure = error
        tokens = list(self.tokens())
        self._window.clear()
        self._queue.clear()
        self._queued_bytes = self.buffered_bytes = 0
        return [Settled(tokens, error)]

    def restart(self, epoch: int | None) -> None:
        """Leave the failed state, under another epoch.

        Raises:
            ConfigurationError: messages are undelivered, or the epoch is not higher.
        """
        if self.pending_count:
            raise ConfigurationError(
                "A producer with undelivered messages cannot change its epoch: they could be written twice",
                hint="Await flush() first",
            )
        if epoch is not None and epoch <= self.epoch:
            raise ConfigurationError(f"The epoch must be higher than {self.epoch}, but is {epoch}")
        self._begin_epoch(self.epoch + 1 if epoch is None else epoch)
        self.failure = None
        self.is_closing = False
        self._may_claim = self._auto_claim

    # ---- refusals ----

    def _deal_with_refusals(self) -> list[Settled[T]]:
        settled: list[Settled[T]] = []
        while self._window and self._window[0].state == "refused" and not self.in_flight_count:
            settled += self._deal_with(self._window[0])
        return settled

    def _deal_with(self, head: Batch[T]) -> list[Settled[T]]:
        error = head.refusal
        assert error is not None
        is_doubtful = any(batch.is_doubtful for batch in self._window)
        if isinstance(error, FencedError) and self._may_claim and not is_doubtful:
            return self._claim(error)
        if isinstance(error, StreamClosed) and head.closes and not head.body:
            # PROTOCOL §5.3: closing is idempotent, whoever closed it.
            closed = AppendResult(_offset(error), closed=True, already_closed=True)
            return [self._remove(head, closed)]
        if not isinstance(error, _ABOUT_CONTENT + _ABOUT_REQUEST):
            return self.fail(error)
        if is_doubtful and isinstance(error, _CHANGEABLE):
            return self.fail(error)
        return self._leave_out(head, error, is_doubtful=is_doubtful)

    def _claim(self, error: FencedError) -> list[Settled[T]]:
        self._may_claim = False
        self._begin_epoch(error.current_epoch + 1)
        self._renumber(0)
        return []

    def _leave_out(self, head: Batch[T], error: DurafoldError, *, is_doubtful: bool) -> list[Settled[T]]:
        """Take the refused batch out; of several messages, send halves to find the one to blame."""
        settled = []
        if len(head.messages) > 1 and isinstance(error, _ABOUT_CONTENT):
            if isinstance(error, PayloadTooLarge):
                self._max_batch_bytes = max(1, head.size_bytes // 2)
            self._window.popleft()
            self._window.extendleft(reversed(self._halves(head)))
        else:
            settled = [self._remove(head, error)]
        if is_doubtful:
            self._begin_epoch(self.epoch + 1)
        self._renumber(0 if is_doubtful else head.seq)
        return settled

    def _halves(self, batch: Batch[T]) -> list[Batch[T]]:
        middle = len(batch.messages) // 2
        halves = [self._batch(part, 0) for part in (batch.messages[:middle], batch.messages[middle:])]
        for half in halves:
            half.is_suspect = True
        return halves

    def _renumber(self, first_seq: int) -> None:
        """Number what is unsettled from here on. Nothing of it is in flight, so none of it was accepted."""
        for seq, batch in enumerate(self._window, first_seq):
            batch.epoch, batch.seq = self.epoch, seq
            batch.is_doubtful = False
            if batch.state != "resting":
                batch.state = "ready"
        self.next_seq = first_seq + len(self._window)
        self._highest_sent_seq = first_seq - 1

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.next_seq = 0
        self._highest_sent_seq = -1
        self._is_established = False  # until a batch of this epoch was accepted
        self._is_troubled = False

    def _remove(self, batch: Batch[T], outcome: AppendResult | DurafoldError) -> Settled[T]:
        self._window.remove(batch)
        self.buffered_bytes -= batch.size_bytes
        if batch.closes:
            self._end(outcome)
        return Settled(batch.tokens, outcome)

    def _end(self, outcome: AppendResult | DurafoldError) -> None:
        self.is_closing = False
        if isinstance(outcome, AppendResult):
            self.failure = StreamClosed(
                "This producer has closed the stream", final_offset=outcome.next_offset
            )


def _offset(error: StreamClosed) -> Offset | None:
    return None if error.final_offset is None else Offset(error.final_offset)


def _numbers_used_elsewhere(epoch: int) -> FencedError:
    return FencedError(
        f"Another process has written under this producer id and epoch {epoch}",
        current_epoch=epoch,
        hint="Give each process an id of its own, and each start of it a higher epoch",
    )


def _numbers_forgotten(error: SequenceConflict) -> SequenceConflict:
    return SequenceConflict(
        f"The server has lost what it knew about this producer ({error.message})",
        expected_seq=error.expected_seq,
        received_seq=error.received_seq,
        stream=error.stream,
        hint="Compare what the stream holds with what you sent, then call restart()",
    )
