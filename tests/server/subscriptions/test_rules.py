"""Wakes, leases, fencing and retries (PROTOCOL §7): single rules, then all of them at random."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from durafold_server.protocol.model import Mode, StreamState
from durafold_server.subscriptions import rules
from durafold_server.subscriptions.errors import AlreadyClaimed, Fenced, InvalidAck, NoPendingWork
from durafold_server.subscriptions.links import Links
from durafold_server.subscriptions.patterns import Pattern
from durafold_server.subscriptions.rules import Chance
from durafold_server.subscriptions.values import Cursor, Delivery, Kind, Target, Wake

NOW = 1_000_000
TTL = 5_000
KINDS: tuple[Kind, ...] = ("webhook", "pull-wake")
PENDING = (Target("a", 1, 5), Target("b", 2, 7))
EVEN = 0.5  # a random number that makes for no jitter


def settle(
    delivery: Delivery,
    kind: Kind = "webhook",
    now_ms: int = NOW,
    pending: tuple[Target, ...] = PENDING,
    wake_id: str = "w_new",
) -> Delivery:
    return rules.settle(delivery, kind, now_ms, pending, Chance(wake_id, EVEN))


def sent(now_ms: int = NOW) -> Delivery:
    """A webhook's first wake, with a request under way."""
    return rules.begin_attempt(settle(Delivery(), wake_id="w_1"), "webhook", now_ms, TTL)


def claimed(now_ms: int = NOW) -> Delivery:
    """A pull-wake's first wake in the hands of a worker."""
    return rules.claim(settle(Delivery(), "pull-wake", wake_id="w_1"), "worker-1", now_ms, TTL)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_pending_data_issues_a_wake_of_the_next_generation(kind: Kind) -> None:
    delivery = settle(Delivery(generation=6), kind)

    assert delivery.generation == 7
    assert delivery.wake is not None
    assert delivery.wake.wake_id == "w_new"
    assert rules.attempt_is_due(delivery, NOW)


def test_a_webhook_s_wake_remembers_all_that_was_pending() -> None:
    assert settle(Delivery()).wake == Wake("w_new", PENDING)


def test_a_pull_wake_remembers_the_stream_that_its_event_names() -> None:
    assert settle(Delivery(), "pull-wake").wake == Wake("w_new", PENDING[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_without_pending_data_nothing_is_issued(kind: Kind) -> None:
    assert settle(Delivery(), kind, pending=()) == Delivery()
    assert rules.due_at(Delivery()) is None


@pytest.mark.parametrize("delivery", [settle(Delivery(), wake_id="w_1"), sent(), claimed()])
def test_while_a_wake_is_in_flight_no_other_is_issued(delivery: Delivery) -> None:
    assert settle(delivery, wake_id="w_2") == delivery


def test_a_wake_that_nobody_works_on_is_withdrawn_when_its_streams_are_gone() -> None:
    assert settle(settle(Delivery()), pending=()).wake is None


@pytest.mark.parametrize("delivery", [sent(), claimed()])
def test_a_wake_that_somebody_works_on_is_not_withdrawn(delivery: Delivery) -> None:
    assert settle(delivery, pending=()) == delivery


def test_a_webhook_s_lease_starts_when_its_wake_is_sent() -> None:
    delivery = sent(NOW + 10)

    assert rules.due_at(delivery) == NOW + 10 + TTL
    assert not rules.attempt_is_due(delivery, NOW + 10)


def test_a_pull_wake_has_no_lease_until_it_is_claimed() -> None:
    issued = settle(Delivery(), "pull-wake")

    announced = rules.succeeded(rules.begin_attempt(issued, "pull-wake", NOW, TTL), "w_new")

    assert rules.due_at(announced) is None
    assert not rules.attempt_is_due(announced, NOW + 10 * TTL)


def test_an_accepted_wake_that_is_never_finished_ends_with_its_lease_and_is_issued_anew() -> None:
    accepted = rules.succeeded(sent(), "w_1")
    assert settle(accepted, now_ms=NOW + TTL - 1) == accepted

    again = settle(accepted, now_ms=NOW + TTL, wake_id="w_2")

    assert (again.generation, again.status) == (2, "active")
    assert again.wake == Wake("w_2", PENDING)
    assert rules.attempt_is_due(again, NOW + TTL)


def test_a_webhook_that_does_not_answer_is_given_a_pause_after_its_lease() -> None:
    again = settle(sent(), now_ms=NOW + TTL, wake_id="w_2")

    assert (again.generation, again.status, again.failures) == (2, "failed", 1)
    assert rules.due_at(again) == NOW + TTL + 1000
    assert not rules.attempt_is_due(again, NOW + TTL + 999)


def test_a_lease_that_ends_with_nothing_pending_ends_the_wake() -> None:
    assert settle(claimed(), "pull-wake", now_ms=NOW + TTL, pending=()).wake is None


def test_a_failed_attempt_is_due_again_with_the_same_wake() -> None:
    failed = rules.failed(sent(), "w_1", NOW + 50, EVEN)

    assert (failed.generation, failed.status, failed.failures) == (1, "failed", 1)
    assert failed.wake == Wake("w_1", PENDING)
    assert failed.next_attempt_at_ms == NOW + 50 + 1000
    assert rules.due_at(failed) == NOW + 50 + 1000
    assert not rules.attempt_is_due(failed, NOW + 50 + 999)
    assert rules.attempt_is_due(failed, NOW + 50 + 1000)


def test_pauses_grow_from_one_second_to_sixty() -> None:
    pauses = [rules.retry_pause_ms(failures, EVEN) for failures in range(1, 10)]

    assert pauses == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_jitter_is_twenty_per_cent(failures: int, random: float) -> None:
    pause_ms, even_ms = rules.retry_pause_ms(failures, random), rules.retry_pause_ms(failures, EVEN)

    assert 0.8 * even_ms - 1 <= pause_ms <= 1.2 * even_ms + 1


def test_success_ends_a_series_of_failures() -> None:
    failed = rules.failed(sent(), "w_1", NOW, EVEN)

    accepted = rules.succeeded(rules.begin_attempt(failed, "webhook", NOW + 1000, TTL), "w_1")

    assert (accepted.status, accepted.failures, accepted.next_attempt_at_ms) == ("active", 0, None)


@pytest.mark.parametrize("delivery", [Delivery(), settle(Delivery(), wake_id="w_2")])
def test_late_news_of_another_wake_changes_nothing(delivery: Delivery) -> None:
    assert rules.succeeded(delivery, "w_1") == delivery
    assert rules.failed(delivery, "w_1", NOW, EVEN) == delivery


def test_a_webhook_that_called_back_has_the_wake_whatever_it_answers() -> None:
    called_back = rules.extend(sent(), NOW + 100, TTL)

    assert rules.failed(called_back, "w_1", NOW + 200, EVEN) == called_back


def test_a_callback_during_a_pause_stops_the_retries() -> None:
    failed = rules.failed(sent(), "w_1", NOW, EVEN)

    called_back = rules.extend(failed, NOW + 100, TTL)

    assert called_back.status == "active"
    assert not rules.attempt_is_due(called_back, NOW + 5000 - 1)
    assert rules.due_at(called_back) == NOW + 100 + TTL


def test_a_sign_of_life_extends_the_lease() -> None:
    extended = rules.extend(claimed(), NOW + 4000, TTL)

    assert settle(extended, "pull-wake", now_ms=NOW + 4000 + TTL - 1) == extended
    assert settle(extended, "pull-wake", now_ms=NOW + 4000 + TTL, pending=()).wake is None


def test_a_claimed_wake_cannot_be_claimed_again() -> None:
    with pytest.raises(AlreadyClaimed) as refusal:
        rules.claim(claimed(), "worker-2", NOW, TTL)

    assert refusal.value.details == {"current_holder": "worker-1", "generation": 1}


def test_without_a_wake_there_is_nothing_to_claim() -> None:
    with pytest.raises(NoPendingWork):
        rules.claim(Delivery(), "worker-1", NOW, TTL)


def test_a_wake_that_was_claimed_before_it_was_announced_is_not_announced() -> None:
    assert not rules.attempt_is_due(claimed(), NOW)


@pytest.mark.parametrize(
    ("token", "request_"),
    [
        pytest.param((0, "w_1"), (0, "w_1"), id="both of an earlier generation"),
        pytest.param((1, "w_1"), (0, "w_1"), id="request of an earlier generation"),
        pytest.param((0, "w_1"), (1, "w_1"), id="token of an earlier generation"),
        pytest.param((1, "w_1"), (1, "w_2"), id="request for another wake"),
        pytest.param((1, "w_2"), (1, "w_1"), id="token for another wake"),
        pytest.param((1, "w_2"), (1, "w_2"), id="both for another wake"),
        pytest.param((2, "w_1"), (2, "w_1"), id="a later generation"),
    ],
)
def test_whoever_does_not_name_the_wake_in_flight_is_fenced(
    token: tuple[int, str], request_: tuple[int, str]
) -> None:
    with pytest.raises(Fenced):
        rules.fence(claimed(), token=token, request=request_)


def test_whoever_names_the_wake_in_flight_comes_in() -> None:
    wake = rules.fence(claimed(), token=(1, "w_1"), request=(1, "w_1"))

    assert wake.holder == "worker-1"


def test_without_a_wake_everybody_is_fenced() -> None:
    with pytest.raises(Fenced):
        rules.fence(rules.finish(claimed()), token=(1, "w_1"), request=(1, "w_1"))


def test_after_a_restart_a_request_that_was_under_way_is_sent_again_with_the_same_wake() -> None:
    recovered = rules.recover(sent(), "webhook")

    assert recovered.wake == Wake("w_1", PENDING)
    assert rules.attempt_is_due(recovered, NOW)


def test_after_a_restart_the_retry_schedule_goes_on() -> None:
    failed = rules.failed(sent(), "w_1", NOW, EVEN)

    assert rules.recover(failed, "webhook") == failed


@pytest.mark.parametrize(
    ("kind", "delivery"),
    [("webhook", rules.succeeded(sent(), "w_1")), ("pull-wake", claimed()), ("webhook", Delivery())],
)
def test_after_a_restart_a_lease_goes_on(kind: Kind, delivery: Delivery) -> None:
    assert rules.recover(delivery, kind) == delivery


class SubscriptionMachine(RuleBasedStateMachine):
    """One subscription through everything that can happen to it.

    It does what the shell does: after each event the state is settled, and what is due is begun. Wake ids
    that were ever given out stay in hand, so that late and stale requests are tried too.
    """

    kind: ClassVar[Kind]

    @initialize()
    def begin(self) -> None:
        self.now_ms = NOW
        self.next_id = 1
        self.streams: dict[str, StreamState] = {}
        self.links = Links(Pattern("*"))
        self.records: dict[str, Cursor] = {}
        self.delivery = Delivery()
        self.saved = Delivery()
        self.attempts: list[str] = []
        self.given_out: list[tuple[int, str]] = []
        self.holders: dict[int, str] = {}
        self.acked: dict[tuple[str, int], int] = {}
        self.told: list[int] = []

    # What the shell does.

    def advance(self) -> None:
        """Settle, and begin an attempt if one is due."""
        chance = Chance(f"w_{self.new_id()}", EVEN)
        pending = self.links.pending(3)
        self.delivery = rules.settle(self.delivery, self.kind, self.now_ms, pending, chance)
        wake = self.delivery.wake
        if wake is None or not rules.attempt_is_due(self.delivery, self.now_ms):
            return
        self.save(rules.begin_attempt(self.delivery, self.kind, self.now_ms, TTL))
        self.attempts.append(wake.wake_id)
        self.told.append(self.delivery.generation)
        if self.kind == "webhook":
            self.given_out.append((self.delivery.generation, wake.wake_id))

    def finish(self) -> None:
        self.save(rules.finish(self.delivery))
        self.advance()

    def save(self, delivery: Delivery) -> None:
        """What was told, or follows from what was heard, is durable; what `settle` does is not."""
        self.delivery = self.saved = delivery

    def advance_links(self, path: str, cursor: Cursor) -> None:
        link = self.links.get(path)
        assert link is not None
        self.records[path] = cursor
        self.links.advance(replace(link, cursor=cursor))

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    # What happens.

    @rule(path=st.sampled_from("abcd"), size=st.integers(1, 5))
    def append(self, path: str, size: int) -> None:
        stream = self.streams.get(path) or StreamState(self.new_id(), path, "a/b", Mode.BINARY)
        self.streams[path] = replace(stream, tail=stream.tail + size)
        self.links.see(self.streams[path])
        self.advance()

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.streams)))
        self.links.lose(path, self.streams.pop(path).id)
        self.records.pop(path, None)
        self.advance()

    @rule(by_ms=st.integers(1, 3 * TTL))
    def time_passes(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.advance()

    @rule()
    def what_is_due_comes(self) -> None:
        due_ms = rules.due_at(self.delivery)
        self.now_ms = max(self.now_ms, due_ms or 0)
        self.advance()

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), done=st.booleans())
    def an_attempt_succeeds(self, data: st.DataObject, done: bool) -> None:
        wake_id = self.take_attempt(data)
        wake = self.delivery.wake
        if not done or wake is None or wake.wake_id != wake_id or self.kind == "pull-wake":
            self.save(rules.succeeded(self.delivery, wake_id))
            return
        for link in self.links.completed(wake.snapshot):
            assert link.cursor is not None
            self.advance_links(link.path, link.cursor)
        self.finish()

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_attempt_fails(self, data: st.DataObject) -> None:
        self.save(rules.failed(self.delivery, self.take_attempt(data), self.now_ms, EVEN))
        self.advance()

    @rule(worker=st.sampled_from(["worker-1", "worker-2"]))
    def claim(self, worker: str) -> None:
        self.advance()
        if self.kind == "webhook":
            return
        try:
            claimed, wake = rules.claim(self.delivery, worker, self.now_ms, TTL)
        except NoPendingWork:
            assert not self.links.has_pending
            return
        except AlreadyClaimed as refusal:
            holder = refusal.details["current_holder"]
            assert holder == self.holders[self.delivery.generation]
            return
        assert claimed.generation not in self.holders, "two holders of one generation"
        self.holders[claimed.generation] = worker
        self.save(claimed)
        self.told.append(claimed.generation)
        self.given_out.append((claimed.generation, wake.wake_id))

    @precondition(lambda self: self.given_out)
    @rule(data=st.data(), done=st.booleans())
    def acknowledge(self, data: st.DataObject, done: bool) -> None:
        named = data.draw(st.sampled_from(self.given_out))
        self.advance()
        try:
            rules.fence(self.delivery, token=named, request=named)
        except Fenced:
            assert self.delivery.wake is None or named != (
                self.delivery.generation,
                self.delivery.wake.wake_id,
            )
            return
        for link in list(self.links):
            assert link.cursor is not None
            assert link.stream is not None
            position = data.draw(st.integers(0, link.stream.tail))
            try:
                [moved] = self.links.acknowledged({link.path: link.stream.offset(position)})
            except InvalidAck:
                assert position < link.cursor.acked
            else:
                assert moved.cursor is not None
                self.advance_links(link.path, moved.cursor)
        if done:
            self.finish()
        else:
            self.save(rules.extend(self.delivery, self.now_ms, TTL))

    @rule()
    def restart(self) -> None:
        """What the store has is the state as saved, the streams, and the cursors that were acknowledged."""
        before = set(self.links.pending(99))
        self.attempts.clear()
        self.links = Links(Pattern("*"))
        for path, cursor in self.records.items():
            self.links.restore(path, cursor, explicit=False)
        for stream in self.streams.values():
            self.links.see(stream)
        assert set(self.links.pending(99)) == before
        self.delivery = rules.recover(self.saved, self.kind)
        self.advance()

    def take_attempt(self, data: st.DataObject) -> str:
        return self.attempts.pop(data.draw(st.integers(0, len(self.attempts) - 1)))

    # What always holds.

    @invariant()
    def no_wake_is_lost(self) -> None:
        """While data is pending, somebody works on it, or was told of it, or will be at a known time."""
        wake = self.delivery.wake
        if not self.links.has_pending:
            return
        assert wake is not None
        is_announced = self.kind == "pull-wake" and wake.told
        assert is_announced or rules.due_at(self.delivery) is not None

    @invariant()
    def nobody_holds_a_wake_for_longer_than_its_lease(self) -> None:
        wake = self.delivery.wake
        if wake is not None and wake.lease_until_ms is not None:
            assert wake.lease_until_ms <= self.now_ms + TTL

    @invariant()
    def cursors_never_go_back(self) -> None:
        for link in self.links:
            assert link.cursor is not None
            place = (link.path, link.cursor.stream_id)
            assert link.cursor.acked >= self.acked.get(place, 0)
            assert link.stream is not None
            assert link.cursor.acked <= link.stream.tail
            self.acked[place] = link.cursor.acked

    @invariant()
    def nobody_is_told_of_an_older_generation(self) -> None:
        assert self.told == sorted(self.told)

    @invariant()
    def a_wake_id_belongs_to_one_generation(self) -> None:
        wake_ids = [wake_id for _, wake_id in set(self.given_out)]
        assert len(wake_ids) == len(set(wake_ids))


class WebhookMachine(SubscriptionMachine):
    kind = "webhook"


class PullWakeMachine(SubscriptionMachine):
    kind = "pull-wake"


TestAnyWebhook = WebhookMachine.TestCase
TestAnyWebhook.settings = settings(max_examples=150, stateful_step_count=40)
TestAnyPullWake = PullWakeMachine.TestCase
TestAnyPullWake.settings = settings(max_examples=150, stateful_step_count=40)
