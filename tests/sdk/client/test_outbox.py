"""The decisions behind `IdempotentProducer`, alone and against models of a server and of a bad network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durafold.client.outbox import Batch, Outbox, Settled
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
    StreamGone,
    StreamNotFound,
    Unauthorized,
    Unprocessable,
)
from durafold.wire.offsets import Offset

OK = AppendResult(Offset("1"))
DUPLICATE = AppendResult(None, duplicate=True)
MALFORMED = BadRequest("malformed", status=400)


def outbox(*messages: str, established: bool = True, **options: Any) -> Outbox[str]:
    """An outbox with one-letter messages; `established`: a batch under number 0 was accepted before."""
    box: Outbox[str] = Outbox(b"".join, **{"epoch": 0, "max_batch_bytes": 100, "max_in_flight": 3, **options})
    if established:
        box.put(b"0", "0")
        box.accepted(sent(box), OK, 0)
    put(box, *messages)
    return box


def put(box: Outbox[str], *messages: str) -> None:
    for message in messages:
        box.put(message.encode(), message)


def sent(box: Outbox[str]) -> Batch[str]:
    batch = box.take()
    assert batch is not None
    return batch


def numbers(batch: Batch[str]) -> tuple[int, int, bytes]:
    return batch.epoch, batch.seq, batch.body


def gap(expected: int) -> SequenceConflict:
    return SequenceConflict("gap", expected_seq=expected)


# ---- batches ----


def test_what_waits_goes_out_as_one_batch() -> None:
    assert numbers(sent(outbox("a", "b", "c"))) == (0, 1, b"abc")


def test_a_batch_does_not_outgrow_its_limit() -> None:
    box = outbox("a", "b", "c", max_batch_bytes=2)

    assert [sent(box).body, sent(box).body] == [b"ab", b"c"]


def test_a_message_above_the_limit_goes_alone() -> None:
    box = outbox("long", "b", max_batch_bytes=2)

    assert [sent(box).body, sent(box).body] == [b"long", b"b"]


def test_no_more_batches_than_allowed_are_in_flight() -> None:
    box = outbox("a", "b", "c", "d", max_batch_bytes=1)

    assert [sent(box).seq for _ in range(3)] == [1, 2, 3]
    assert box.take() is None
    assert box.in_flight_count == 3
    assert box.pending_count == 4


def test_nothing_follows_the_first_batch_of_an_epoch_before_it_is_accepted() -> None:
    box = outbox("a", "b", established=False, max_batch_bytes=1)
    first = sent(box)
    assert box.take() is None

    box.accepted(first, OK, 0)

    assert sent(box).body == b"b"


def test_delivered_bytes_leave_the_buffer() -> None:
    box = outbox("abc", "d")
    assert box.buffered_bytes == 4

    settled = box.accepted(sent(box), OK, 1)

    assert settled == [Settled(["abc", "d"], OK)]
    assert box.buffered_bytes == 0
    assert box.pending_count == 0


# ---- retries ----


def test_a_batch_without_an_answer_is_repeated_byte_for_byte_although_more_waits() -> None:
    box = outbox("a")
    batch = sent(box)
    put(box, "b")
    box.unanswered(batch, is_doubtful=True)
    assert box.take() is None

    box.rested(batch)

    assert numbers(sent(box)) == (0, 1, b"a")
    assert box.accepted(batch, DUPLICATE, 1) == [Settled(["a"], DUPLICATE)]


def test_in_trouble_only_the_first_batch_is_sent() -> None:
    box = outbox("a", "b", "c", max_batch_bytes=1)
    first, second = sent(box), sent(box)
    box.unanswered(first, is_doubtful=True)
    box.unanswered(second, is_doubtful=True)
    box.rested(first)
    box.rested(second)

    assert box.take() is first
    assert box.take() is None

    box.accepted(first, OK, 1)
    assert box.take() is second
    assert sent(box).body == b"c"


def test_a_batch_that_overtook_another_is_sent_again_in_its_turn() -> None:
    box = outbox("a", "b", max_batch_bytes=1)
    first, second = sent(box), sent(box)
    assert box.overtook(second, gap(1)) == []
    assert box.take() is None

    box.accepted(first, OK, 1)

    assert box.take() is second


def test_a_late_answer_about_a_gap_that_has_closed_since_is_understood() -> None:
    box = outbox("a", "b", max_batch_bytes=1)
    first, second = sent(box), sent(box)
    box.accepted(first, OK, 1)

    assert box.overtook(second, gap(1)) == []
    assert box.take() is second


@pytest.mark.parametrize("expected", [0, 5])
def test_a_gap_that_is_not_ours_means_that_the_server_has_forgotten_us(expected: int) -> None:
    box = outbox("a", "b", max_batch_bytes=1)

    settled = box.overtook(sent(box), gap(expected))

    assert settled[0].tokens == ["a", "b"]
    assert isinstance(box.failure, SequenceConflict)
    assert "restart()" in str(box.failure)


# ---- refusals of a message ----


@pytest.mark.parametrize("kind", [BadRequest, PayloadTooLarge, Unprocessable, Forbidden])
def test_only_the_refused_message_fails_and_its_number_is_used_again(kind: Any) -> None:
    box = outbox("a")
    error = kind("no", status=400)
    assert box.refused(sent(box), error) == [Settled(["a"], error)]

    put(box, "b")

    assert numbers(sent(box)) == (0, 1, b"b")


def test_halves_of_a_refused_batch_are_sent_until_the_guilty_message_is_found() -> None:
    box = outbox("a", "b", "!", "d")
    assert box.refused(sent(box), MALFORMED) == []
    put(box, "e")

    first = sent(box)
    assert numbers(first) == (0, 1, b"ab")
    assert box.take() is None  # nothing else goes out during the search
    box.accepted(first, OK, 1)
    second = sent(box)
    assert numbers(second) == (0, 2, b"!d")
    box.refused(second, MALFORMED)
    guilty = sent(box)
    assert numbers(guilty) == (0, 2, b"!")
    assert box.refused(guilty, MALFORMED) == [Settled(["!"], MALFORMED)]
    innocent = sent(box)
    assert numbers(innocent) == (0, 2, b"d")
    box.accepted(innocent, OK, 2)

    assert numbers(sent(box)) == (0, 3, b"e")


def test_a_batch_that_is_too_large_makes_later_ones_smaller() -> None:
    box = outbox("aa", "bb")
    box.refused(sent(box), PayloadTooLarge("too much", status=413))
    box.accepted(sent(box), OK, 1)
    box.accepted(sent(box), OK, 2)

    put(box, "cc", "dd")

    assert sent(box).body == b"cc"


def test_a_refusal_of_the_request_fails_its_whole_batch_without_a_search() -> None:
    box = outbox("a", "b")
    error = Forbidden("not you", status=403)

    assert box.refused(sent(box), error) == [Settled(["a", "b"], error)]
    assert box.failure is None


def test_refused_credentials_are_tried_once_more() -> None:
    box = outbox("a")
    error = Unauthorized("expired", status=401)
    assert box.refused(sent(box), error) == []

    assert box.refused(sent(box), error) == [Settled(["a"], error)]


def test_a_refusal_waits_until_nothing_with_a_later_number_is_in_flight() -> None:
    box = outbox("!", "b", "c", max_batch_bytes=1)
    bad, second, third = sent(box), sent(box), sent(box)
    assert box.refused(bad, MALFORMED) == []
    assert box.overtook(second, gap(1)) == []
    assert box.take() is None

    assert box.overtook(third, gap(1)) == [Settled(["!"], MALFORMED)]

    assert [numbers(sent(box)), numbers(sent(box))] == [(0, 1, b"b"), (0, 2, b"c")]


def test_numbers_are_not_used_again_while_an_old_request_may_be_travelling() -> None:
    box = outbox("!", "b", max_batch_bytes=1)
    bad, second = sent(box), sent(box)
    box.unanswered(second, is_doubtful=True)

    assert box.refused(bad, MALFORMED) == [Settled(["!"], MALFORMED)]
    box.rested(second)

    assert numbers(sent(box)) == (1, 0, b"b")


def test_a_refusal_that_might_have_been_an_acceptance_before_fails_everything() -> None:
    box = outbox("a", "b", max_batch_bytes=1)
    first = sent(box)
    box.unanswered(first, is_doubtful=True)
    box.rested(first)
    error = Forbidden("not any more", status=403)

    assert box.refused(sent(box), error) == [Settled(["a", "b"], error)]
    assert box.failure is error


# ---- failures of the stream or producer ----


@pytest.mark.parametrize(
    "error", [StreamNotFound("", status=404), StreamGone("", status=410), StreamClosed("")]
)
def test_a_stream_that_is_not_there_fails_everything(error: DurafoldError) -> None:
    box = outbox("a", "b", max_batch_bytes=1)
    first = sent(box)
    put(box, "c")

    assert box.refused(first, error) == [Settled(["a", "b", "c"], error)]
    assert box.failure is error
    assert box.take() is None
    assert box.buffered_bytes == 0


def test_answers_that_come_after_the_failure_are_ignored() -> None:
    box = outbox("a")
    batch = sent(box)
    box.fail(StreamNotFound("", status=404))

    assert box.accepted(batch, OK, 1) == []
    assert box.refused(batch, MALFORMED) == []
    assert box.overtook(batch, gap(0)) == []
    assert box.unanswered(batch, is_doubtful=True) == []


def test_a_restart_begins_the_next_epoch_at_number_zero() -> None:
    box = outbox()
    box.fail(StreamNotFound("", status=404))

    box.restart(None)
    put(box, "a")

    assert box.failure is None
    assert numbers(sent(box)) == (1, 0, b"a")


def test_a_restart_takes_a_higher_epoch_only() -> None:
    box = outbox(epoch=5)
    with pytest.raises(ConfigurationError, match="higher than 5"):
        box.restart(5)

    box.restart(9)

    assert box.epoch == 9


def test_a_restart_with_undelivered_messages_could_write_them_twice() -> None:
    with pytest.raises(ConfigurationError, match="flush"):
        outbox("a").restart(None)


# ---- two processes under one id ----


def test_a_fenced_producer_fails_unless_it_may_claim() -> None:
    box = outbox("a", "b", max_batch_bytes=1)
    fence = FencedError("fenced", current_epoch=5)
    first, second = sent(box), sent(box)
    box.refused(second, fence)

    assert box.refused(first, fence) == [Settled(["a", "b"], fence)]
    assert box.failure is fence


def test_a_claim_moves_behind_the_other_epoch_and_sends_the_first_batch_alone() -> None:
    box = outbox("a", "b", established=False, max_batch_bytes=1, auto_claim=True)
    assert box.refused(sent(box), FencedError("fenced", current_epoch=5)) == []

    claim = sent(box)
    assert numbers(claim) == (6, 0, b"a")
    assert box.take() is None
    box.accepted(claim, OK, 0)

    assert numbers(sent(box)) == (6, 1, b"b")


def test_a_second_fence_is_not_answered_with_a_second_claim() -> None:
    box = outbox("a", established=False, auto_claim=True)
    box.refused(sent(box), FencedError("fenced", current_epoch=5))
    second = FencedError("fenced", current_epoch=9)

    assert box.refused(sent(box), second) == [Settled(["a"], second)]


def test_what_may_have_been_written_already_is_not_claimed_a_second_time() -> None:
    box = outbox("a", auto_claim=True)
    batch = sent(box)
    box.unanswered(batch, is_doubtful=True)
    box.rested(batch)
    fence = FencedError("fenced", current_epoch=5)

    assert box.refused(sent(box), fence) == [Settled(["a"], fence)]


def test_a_first_batch_taken_for_a_repetition_was_not_written() -> None:
    box = outbox("a", established=False)

    settled = box.accepted(sent(box), DUPLICATE, 0)

    assert isinstance(settled[0].outcome, FencedError)
    assert "epoch 0" in str(box.failure)


def test_a_number_that_we_never_sent_was_sent_by_somebody_else() -> None:
    box = outbox("a")

    settled = box.accepted(sent(box), DUPLICATE, 41)

    assert isinstance(settled[0].outcome, FencedError)


def test_a_first_batch_repeated_after_a_lost_answer_is_a_success() -> None:
    box = outbox("a", established=False)
    batch = sent(box)
    box.unanswered(batch, is_doubtful=True)
    box.rested(batch)

    assert box.accepted(sent(box), DUPLICATE, 0) == [Settled(["a"], DUPLICATE)]


# ---- closing ----


def test_a_close_goes_out_behind_everything_in_a_request_of_its_own() -> None:
    box = outbox("a", "b")
    box.put(b"", "end", closes=True)

    first, last = sent(box), sent(box)

    assert (first.body, first.closes) == (b"ab", False)
    assert (last.body, last.closes) == (b"", True)


def test_a_close_may_carry_a_last_message() -> None:
    box = outbox()
    box.put(b"z", "end", closes=True)

    last = sent(box)

    assert (last.body, last.closes) == (b"z", True)
    assert box.accepted(last, OK, 1) == [Settled(["end"], OK)]
    assert isinstance(box.failure, StreamClosed)


def test_closing_a_stream_that_somebody_else_has_closed_is_a_success() -> None:
    box = outbox()
    box.put(b"", "end", closes=True)

    settled = box.refused(sent(box), StreamClosed("closed", final_offset="7"))

    assert settled == [Settled(["end"], AppendResult(Offset("7"), closed=True, already_closed=True))]


def test_a_last_message_is_not_lost_to_a_stream_that_somebody_else_has_closed() -> None:
    box = outbox()
    box.put(b"z", "end", closes=True)
    error = StreamClosed("closed", final_offset="7")

    assert box.refused(sent(box), error) == [Settled(["end"], error)]


def test_a_refused_close_leaves_the_producer_usable() -> None:
    box = outbox()
    box.put(b"!", "end", closes=True)
    box.refused(sent(box), MALFORMED)
    assert not box.is_closing

    put(box, "a")

    assert numbers(sent(box)) == (0, 1, b"a")


# ---- arbitrary histories ----


@dataclass
class Server:
    """PROTOCOL §5.2.1, literally. It refuses batches that hold a `!`."""

    epoch: int = -1
    last_seq: int = -1
    log: list[str] = field(default_factory=list)

    def append(self, epoch: int, seq: int, body: bytes) -> AppendResult | DurafoldError:
        messages = body.decode().split()
        if any(message.startswith("!") for message in messages):
            return MALFORMED
        if epoch < self.epoch:
            return FencedError("stale", current_epoch=self.epoch)
        if epoch > self.epoch:
            if seq != 0:
                return BadRequest("a new epoch begins at 0", status=400)
            self.epoch, self.last_seq = epoch, -1
        if seq <= self.last_seq:
            return DUPLICATE
        if seq > self.last_seq + 1:
            return SequenceConflict("gap", expected_seq=self.last_seq + 1, received_seq=seq)
        self.last_seq = seq
        self.log += messages
        return OK


Request = tuple[int, int, bytes]
Fate = Literal["answered", "answer lost", "request lost", "delayed", "denied"]


@dataclass
class Simulation:
    """A producer's outbox, a server, and what is between them."""

    draw: Any
    fates: list[Fate]
    server: Server = field(default_factory=Server)
    ghosts: list[Request] = field(default_factory=list)
    travelling: list[tuple[Batch[str], Request]] = field(default_factory=list)
    outcomes: dict[str, AppendResult | DurafoldError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.box: Outbox[str] = Outbox(b" ".join, epoch=0, max_batch_bytes=4, max_in_flight=3)

    def one_of(self, options: list[Any]) -> Any:
        return options[self.draw(st.integers(0, len(options) - 1))]

    def note(self, settled: Iterable[Settled[str]]) -> None:
        for group in settled:
            assert not self.outcomes.keys() & set(group.tokens)
            self.outcomes |= dict.fromkeys(group.tokens, group.outcome)

    def send(self) -> None:
        while (batch := self.box.take()) is not None:
            self.travelling.append((batch, (batch.epoch, batch.seq, batch.body)))

    def haunt(self) -> None:
        """A request that its client has given up reaches the server after all."""
        if self.ghosts and self.draw(st.booleans()):
            self.server.append(*self.ghosts.pop(self.draw(st.integers(0, len(self.ghosts) - 1))))

    def arrive(self, fates: list[Fate]) -> None:
        """Any of the travelling requests meets its fate."""
        batch, request = self.travelling.pop(self.draw(st.integers(0, len(self.travelling) - 1)))
        match self.one_of([*fates]):
            case "answered":
                self.report(batch, self.server.append(*request))
            case "answer lost":
                self.server.append(*request)
                self.give_up(batch)
            case "request lost":
                self.give_up(batch)
            case "delayed":
                self.ghosts.append(request)
                self.give_up(batch)
            case "denied":
                self.note(self.box.refused(batch, Unauthorized("denied", status=401)))

    def report(self, batch: Batch[str], answer: AppendResult | DurafoldError) -> None:
        match answer:
            case AppendResult():
                self.note(self.box.accepted(batch, answer, self.server.last_seq))
            case SequenceConflict():
                self.note(self.box.overtook(batch, answer))
            case _:
                self.note(self.box.refused(batch, answer))

    def give_up(self, batch: Batch[str]) -> None:
        self.note(self.box.unanswered(batch, is_doubtful=True))
        self.box.rested(batch)

    def run(self, messages: list[str], faults: int) -> None:
        """Deliver everything. After so many arrivals the network is perfect, but for the ghosts."""
        for message in messages:
            self.put(message)
            if self.draw(st.booleans()):
                self.send()
                faults -= self.step(self.fates if faults > 0 else ["answered"])
        while self.box.pending_count or self.travelling:
            self.send()
            faults -= self.step(self.fates if faults > 0 else ["answered"])

    def put(self, message: str) -> None:
        if self.box.failure is not None:
            self.box.restart(None)
        self.box.put(message.encode(), message)

    def step(self, fates: list[Fate]) -> int:
        self.haunt()
        if self.travelling:
            self.arrive(fates)
        return 1


messages = st.lists(st.booleans(), max_size=9).map(
    lambda kinds: [f"!{n}" if is_bad else f"{n}" for n, is_bad in enumerate(kinds)]
)


@settings(max_examples=300)
@given(st.data(), messages, st.integers(0, 10))
def test_whatever_is_lost_or_late_the_log_holds_each_good_message_once_and_in_order(
    data: st.DataObject, messages: list[str], faults: int
) -> None:
    simulation = Simulation(data.draw, ["answered", "answer lost", "request lost", "delayed"])

    simulation.run(messages, faults)

    good = [message for message in messages if not message.startswith("!")]
    bad = set(messages) - set(good)
    assert simulation.server.log == good
    assert {token for token, outcome in simulation.outcomes.items() if outcome is MALFORMED} == bad
    assert simulation.outcomes.keys() == set(messages)


@settings(max_examples=300)
@given(st.data(), messages, st.integers(0, 12))
def test_refused_credentials_in_between_never_double_or_reorder_anything(
    data: st.DataObject, messages: list[str], faults: int
) -> None:
    simulation = Simulation(data.draw, ["answered", "answer lost", "delayed", "denied", "denied"])

    simulation.run(messages, faults)

    log = simulation.server.log
    delivered = [token for token, outcome in simulation.outcomes.items() if isinstance(outcome, AppendResult)]
    assert log == sorted(set(log), key=messages.index)
    assert set(delivered) <= set(log)
    assert simulation.outcomes.keys() == set(messages)
