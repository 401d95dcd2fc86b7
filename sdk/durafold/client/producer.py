"""`IdempotentProducer`: sends what its outbox hands out, exactly once and in order."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.abc
import anyio.lowlevel

from durafold.client import replies
from durafold.client.encoding import encoder_for, join_messages
from durafold.client.exchange import public_url
from durafold.client.outbox import Batch, Outbox, Settled
from durafold.client.stream import DurableStream
from durafold.client.values import AppendResult, CloseResult
from durafold.errors import (
    BufferFull,
    ConfigurationError,
    ConnectFailed,
    DurafoldError,
    ProducerClosed,
    SequenceConflict,
    ServerUnavailable,
    StreamClosed,
    TooManyRequests,
    TransportError,
)
from durafold.wire import names
from durafold.wire.headers import check_header_value

__all__ = ["Delivery", "IdempotentProducer"]

_logger: Final = logging.getLogger("durafold.client")

KIB: Final = 1024
MIB: Final = 1024 * KIB
_MAX_UNSEEN: Final = 100

_APPENDS_PER_TURN: Final = 8192
"""How many appends in a row may pass before other tasks get a turn, the one that sends among them."""


class Delivery:
    """What becomes of one message. Await it for the result, or for the error to be raised.

    Not awaiting it is fine: `IdempotentProducer.flush` raises errors that nobody has seen.
    """

    __slots__ = ("_done", "_is_seen", "_on_done", "_outcome")

    def __init__(self, on_done: Callable[[Delivery], None] | None = None) -> None:
        self._on_done = on_done
        self._is_seen = on_done is not None
        self._outcome: AppendResult | DurafoldError | None = None
        self._done: anyio.Event | None = None  # made by the first that waits: most deliveries never need it

    @property
    def done(self) -> bool:
        """Whether the message was delivered or has failed."""
        return self._outcome is not None

    @property
    def error(self) -> DurafoldError | None:
        """What the message failed with, if it has failed. Looking at it counts as having seen it."""
        self._is_seen = True
        return self._outcome if isinstance(self._outcome, DurafoldError) else None

    @property
    def result(self) -> AppendResult | None:
        """What the server said, if the message was delivered."""
        return self._outcome if isinstance(self._outcome, AppendResult) else None

    def __await__(self) -> Generator[Any, Any, AppendResult]:
        return self._delivered().__await__()

    async def _delivered(self) -> AppendResult:
        await self.wait_done()
        self._is_seen = True
        outcome = self._outcome
        if isinstance(outcome, DurafoldError):
            # Many messages can fail with one error; it shall not collect the tracebacks of all who await.
            raise outcome.with_traceback(None)
        assert outcome is not None
        return outcome

    async def wait_done(self) -> None:
        """Wait until the message was delivered or has failed, without raising what it failed with."""
        if not self.done:
            self._done = self._done or anyio.Event()
            await self._done.wait()

    def settle(self, outcome: AppendResult | DurafoldError) -> None:
        """Called by the producer, once."""
        self._outcome = outcome
        if self._done is not None:
            self._done.set()
        if self._on_done is not None:
            self._call(self._on_done)

    @property
    def is_unseen_failure(self) -> bool:
        """Whether it has failed and nobody has asked."""
        return not self._is_seen and isinstance(self._outcome, DurafoldError)

    def _call(self, on_done: Callable[[Delivery], None]) -> None:
        try:
            on_done(self)
        except Exception:
            _logger.exception("on_done of a delivery raised")


class IdempotentProducer:
    """Appends messages to a stream exactly once and in order, through lost answers and server restarts.

        async with IdempotentProducer(stream, "sensor-7", epoch=boot_count) as producer:
            delivery = producer.append_nowait({"celsius": 21.5})  # returns at once
            await producer.append({"celsius": 21.6})  # waits only while the buffer is full
            result = await delivery  # durable from here on

    What waits while a request is under way goes out together as the next batch. A request without an answer
    is repeated until there is one, with growing and random pauses, for ever: the server drops repetitions
    (PROTOCOL §5.2.1).

    What the server refuses falls into two kinds:

    - The message's fault (400, 401 even with newly evaluated headers, 403, 409 for the content type, 413,
      422): that message's delivery fails, and the others go on. If a batch of several was refused for its
      content (400, 413, 422), halves of it are sent until the guilty one is found.
    - The stream's or producer's fault (404, 410, closed, `FencedError`, `ProducerTaken`, numbers that the
      server has forgotten): every undelivered message fails with it, and appending raises it, until
      `restart`. So does a refusal that leaves open whether an earlier attempt of the same message was
      accepted.

    Two processes must not use one `producer_id` at a time, and each start of a process must take a higher
    `epoch` than any before: a server takes other messages under used numbers for repetitions and drops them.
    If that happens to the first batch, it is noticed and becomes a `FencedError`.

    The epoch grows by itself in one case: a message was refused while an earlier request of this producer may
    still be on its way. Keep `epoch` if you want to continue after it.

    Entering the context starts a task group; leaving it waits until everything was delivered or has failed.
    If it is left because it is cancelled, what is undelivered fails with `ProducerClosed`.

    Args:
        stream: the stream to append to. If it does not know its content type, entering the context asks the
            server for it.
        producer_id: who writes: a stable, unique name of printable ASCII.
        epoch: which life of this producer it is, from 0.
        max_batch_bytes: a batch takes no further message when it would grow larger.
        linger_s: seconds to wait for more messages before a batch that is not full is sent.
        max_in_flight: largest number of unanswered requests.
        max_buffered_bytes: largest size of undelivered messages. A message that is larger by itself is taken
            when nothing else waits.
        auto_claim: when fenced, take over: move to the epoch behind the other's and send again. It happens
            once, and once more after each `restart`; and not if a message could be written twice.

    Raises:
        ConfigurationError: an argument is out of range.
    """

    def __init__(
        self,
        stream: DurableStream,
        producer_id: str,
        *,
        epoch: int = 0,
        max_batch_bytes: int = 1 * MIB,
        linger_s: float = 0.0,
        max_in_flight: int = 5,
        max_buffered_bytes: int = 16 * MIB,
        auto_claim: bool = False,
    ) -> None:
        _check(producer_id, epoch, max_batch_bytes, max_in_flight)
        self._stream = stream
        self._producer_id = producer_id
        self._linger_s = linger_s
        self._max_buffered_bytes = max_buffered_bytes
        self._content_type = ""
        self._encode = encoder_for("")
        self._outbox: Outbox[Delivery] = Outbox(
            lambda parts: join_messages(parts, self._content_type),
            epoch=epoch,
            max_batch_bytes=max_batch_bytes,
            max_in_flight=max_in_flight,
            auto_claim=auto_claim,
        )
        self._tasks: anyio.abc.TaskGroup | None = None
        self._is_open = False
        self._unseen: list[Delivery] = []
        self._waiting_count = 0  # tasks that wait until everything is done
        self._appended_count = 0
        self._append_turn = anyio.Lock(fast_acquire=True)
        self._work = anyio.Event()  # something may be sent
        self._room = anyio.Event()  # something was delivered
        self._hurry = anyio.Event()  # do not linger

    @property
    def epoch(self) -> int:
        """Present Producer-Epoch."""
        return self._outbox.epoch

    @property
    def next_seq(self) -> int:
        """Producer-Seq that the next new batch gets."""
        return self._outbox.next_seq

    @property
    def pending_count(self) -> int:
        """Number of messages that were neither delivered nor have failed."""
        return self._outbox.pending_count

    @property
    def in_flight_count(self) -> int:
        """Number of requests that wait for their answer."""
        return self._outbox.in_flight_count

    @property
    def failure(self) -> DurafoldError | None:
        """Why nothing can be delivered any more, until `restart`; None while all is well."""
        return self._outbox.failure

    # ---- appending ----

    def append_nowait(
        self,
        data: Any = None,
        *,
        encoded: bytes | None = None,
        on_done: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """Enqueue a message behind all others, without waiting.

        Args:
            data: for a JSON stream any JSON value, which is one message; for others bytes or str.
            encoded: the message as ready bytes, instead of `data`; for a JSON stream the text of one value.
            on_done: called with the delivery when it is done. What it raises is only logged.

        Raises:
            BufferFull: too much waits already.
            ProducerClosed: the producer is not open.
            ConfigurationError: the data does not go with the content type, has no JSON form, or is empty.
            DurafoldError: `failure`, if there is one; `StreamClosed` once `close_stream` was called.
        """
        message = self.encode(data, encoded)
        if not self._has_room(message):
            raise self.buffer_full(self._outbox.buffered_bytes)
        return self._enqueue(message, Delivery(on_done))

    async def append(
        self,
        data: Any = None,
        *,
        encoded: bytes | None = None,
        on_done: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """Enqueue a message behind all others, and wait for room in the buffer if there is none.

        Args:
            data: as for `append_nowait`, and so are the others.
            encoded: as for `append_nowait`.
            on_done: as for `append_nowait`.

        Raises:
            ProducerClosed: the producer is not open.
            ConfigurationError: as for `append_nowait`.
            DurafoldError: as for `append_nowait`.
        """
        message = self.encode(data, encoded)
        self._appended_count += 1
        is_quick = self._appended_count % _APPENDS_PER_TURN and not self._append_turn.locked()
        if is_quick and self._has_room(message):
            return self._enqueue(message, Delivery(on_done))
        return await self._append_in_turn(message, on_done)

    async def _append_in_turn(self, message: bytes, on_done: Callable[[Delivery], None] | None) -> Delivery:
        """Wait for those who came before, for room, and once for whatever else wants to run."""
        async with self._append_turn:
            await anyio.lowlevel.checkpoint()
            while not self._has_room(message):
                self._room = anyio.Event()
                await self._room.wait()
            self.check_open()
            return self._enqueue(message, Delivery(on_done))

    def post(self, message: bytes, delivery: Delivery) -> None:
        """Enqueue a message behind all others, with a delivery of the caller's, who also counts the bytes.

        Args:
            message: what `encode` made.
            delivery: fails with what `append_nowait` would raise.
        """
        try:
            self.check_open()
        except DurafoldError as exc:
            self._settle([Settled([delivery], exc)])
        else:
            self._enqueue(message, delivery)

    async def flush(self) -> None:
        """Wait until everything appended so far was delivered or has failed.

        Raises:
            DurafoldError: the first failure that nobody has seen: its delivery was not awaited or looked at,
                and had no `on_done`.
        """
        await self._wait_done()
        unseen, self._unseen = self._unseen, []
        first = next((delivery.error for delivery in unseen if delivery.is_unseen_failure), None)
        if first is not None:
            raise first.with_traceback(None)

    async def close_stream(self, data: Any = None) -> CloseResult:
        """Close the stream behind everything appended so far (PROTOCOL §5.2.1, §5.3), exactly once.

        Args:
            data: a last message, appended in the same step. None for none.

        Raises:
            ProducerClosed: the producer is not open.
            DurafoldError: why the stream could not be closed; as for `Delivery`.
        """
        self.check_open()
        delivery = Delivery()
        self._outbox.put(b"" if data is None else self.encode(data, None), delivery, closes=True)
        self._work.set()
        self._hurry.set()
        result = await delivery
        return CloseResult(result.next_offset, already_closed=result.already_closed)

    def restart(self, epoch: int | None = None) -> None:
        """Leave the failed state under another epoch, so that appends are taken again.

        After a `FencedError` this takes the id back from the other process only with
        `epoch=error.current_epoch + 1`, which then is fenced in turn; a fresh producer id is the better way.

        Args:
            epoch: the new epoch. Default: one more.

        Raises:
            ConfigurationError: messages are undelivered, or the epoch is not higher.
        """
        self._outbox.restart(epoch)

    # ---- life ----

    async def aclose(self) -> None:
        """Take no more messages, and wait until all were delivered or have failed.

        Raises:
            DurafoldError: as for `flush`.
        """
        self._is_open = False
        await self.flush()

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("A producer can be entered only once", hint="Make a new one")
        self._content_type = self._stream.content_type or await self._stream.known_content_type()
        self._encode = encoder_for(self._content_type)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._send_batches)
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        tasks = self._tasks
        assert tasks is not None
        error = await self._leave(exc)
        self._stop()
        # The task group is told of cancellation only: it would wrap any other exception in a group.
        if isinstance(error, anyio.get_cancelled_exc_class()):
            if await tasks.__aexit__(type(error), error, error.__traceback__):
                return True
        else:
            await tasks.__aexit__(None, None, None)
        if error is not None and error is not exc:
            raise error
        return False

    async def _leave(self, exc: BaseException | None) -> BaseException | None:
        """Wait for what is undelivered, unless there is a reason to hurry; return what is to be raised."""
        try:
            if exc is None:
                await self.aclose()
            elif isinstance(exc, Exception):
                self._is_open = False
                await self._wait_done()
        except BaseException as leaving:  # noqa: BLE001 - handed to our caller, who raises it
            return leaving
        return exc

    def _stop(self) -> None:
        assert self._tasks is not None
        self._is_open = False
        self._tasks.cancel_scope.cancel()
        if self._outbox.pending_count:
            error = ProducerClosed("The producer was stopped before the message was confirmed")
            self._settle(self._outbox.fail(error))

    # ---- the buffer ----

    def encode(self, data: Any, encoded: bytes | None) -> bytes:
        """The bytes of a message; the arguments are those of `append_nowait`.

        Raises:
            DurafoldError: as for `append_nowait`, except `BufferFull`.
        """
        self.check_open()
        message = self._encode(data) if encoded is None else encoded
        if not message:
            raise ConfigurationError("An empty message cannot be appended")
        return message

    def check_open(self) -> None:
        """Nothing, if messages are taken.

        Raises:
            DurafoldError: as for `append_nowait`, except `BufferFull`.
        """
        if not self._is_open:
            raise ProducerClosed("The producer is not open", hint="Use it inside `async with`")
        if self._outbox.failure is not None:
            raise self._outbox.failure.with_traceback(None)
        if self._outbox.is_closing:
            raise StreamClosed(
                "close_stream() was called, so nothing may follow", stream=public_url(self._stream.url)
            )

    def buffer_full(self, buffered_bytes: int) -> BufferFull:
        """The error that says that so many bytes wait."""
        return BufferFull(
            f"{buffered_bytes} bytes wait to be sent already",
            stream=public_url(self._stream.url),
            hint="Use `append(...)`, which waits for room",
        )

    def _has_room(self, message: bytes) -> bool:
        buffered_bytes = self._outbox.buffered_bytes
        return not buffered_bytes or buffered_bytes + len(message) <= self._max_buffered_bytes

    def _enqueue(self, message: bytes, delivery: Delivery) -> Delivery:
        outbox = self._outbox
        if not outbox.has_queue:  # otherwise the sender knows, or waits for something to be settled first
            self._work.set()
        outbox.put(message, delivery)
        if outbox.has_full_batch:
            self._hurry.set()
        return delivery

    async def _wait_done(self) -> None:
        self._hurry.set()
        self._waiting_count += 1
        try:
            for delivery in list(self._outbox.tokens()):
                if not delivery.done:
                    await delivery.wait_done()
        finally:
            self._waiting_count -= 1

    def _settle(self, settled: Iterable[Settled[Delivery]]) -> None:
        for group in settled:
            outcome = group.outcome
            for delivery in group.tokens:
                delivery.settle(outcome)
            if isinstance(outcome, DurafoldError):
                self._note_unseen(group.tokens)
        self._room.set()

    def _note_unseen(self, failed: Iterable[Delivery]) -> None:
        unseen = (delivery for delivery in failed if delivery.is_unseen_failure)
        self._unseen += islice(unseen, _MAX_UNSEEN - len(self._unseen))

    # ---- sending ----

    async def _send_batches(self) -> None:
        assert self._tasks is not None
        while True:
            self._work = anyio.Event()
            await self._linger()
            while (batch := self._outbox.take()) is not None:
                self._tasks.start_soon(self._send, batch)
            await self._work.wait()

    async def _linger(self) -> None:
        outbox = self._outbox
        if not self._linger_s or not outbox.has_queue or outbox.has_full_batch or self._waiting_count:
            return
        self._hurry = anyio.Event()
        with anyio.move_on_after(self._linger_s):
            await self._hurry.wait()

    async def _send(self, batch: Batch[Delivery]) -> None:
        """One attempt, and the rest after it if it failed for a reason that may pass."""
        try:
            reply = await self._stream.post_once(self._batch_headers(batch), batch.body)
            result = replies.append_result(reply, by_producer=True)
        except DurafoldError as exc:
            self._settle(self._failed(batch, exc))
            if batch.state == "resting":
                await anyio.sleep(self._rest_s(batch, exc))
                self._outbox.rested(batch)
        else:
            highest_seq = reply.integer(names.PRODUCER_SEQ)
            self._settle(self._outbox.accepted(batch, result, highest_seq))
        self._work.set()

    def _batch_headers(self, batch: Batch[Delivery]) -> dict[str, str]:
        headers = {
            names.PRODUCER_ID: self._producer_id,
            names.PRODUCER_EPOCH: str(batch.epoch),
            names.PRODUCER_SEQ: str(batch.seq),
        }
        if batch.body:
            headers["Content-Type"] = self._content_type
        if batch.closes:
            headers[names.STREAM_CLOSED] = "true"
        return headers

    def _failed(self, batch: Batch[Delivery], error: DurafoldError) -> list[Settled[Delivery]]:
        if isinstance(error, SequenceConflict):
            return self._outbox.overtook(batch, error)
        if isinstance(error, ConnectFailed | TooManyRequests):
            return self._outbox.unanswered(batch, is_doubtful=False)
        if isinstance(error, TransportError | ServerUnavailable):
            return self._outbox.unanswered(batch, is_doubtful=True)
        return self._outbox.refused(batch, error)

    def _rest_s(self, batch: Batch[Delivery], error: DurafoldError) -> float:
        retry_after_s = getattr(error, "retry_after_s", None)
        backoff = self._stream.settings.backoff
        return backoff.delay_s(batch.failures - 1, random.random(), retry_after_s)  # noqa: S311


def _check(producer_id: str, epoch: int, max_batch_bytes: int, max_in_flight: int) -> None:
    if not producer_id:
        raise ConfigurationError("A producer id must not be empty")
    check_header_value(producer_id, f"The producer id {producer_id!r}")
    if not 0 <= epoch <= names.MAX_SAFE_INTEGER:
        raise ConfigurationError(f"An epoch must be between 0 and 2**53 - 1, but is {epoch}")
    if max_batch_bytes < 1 or max_in_flight < 1:
        raise ConfigurationError("max_batch_bytes and max_in_flight must be at least 1")
