"""Confirmed, pending and view: one sentence per rule of `durafold.state.replica`."""

from __future__ import annotations

from typing import Any

import pytest

from durafold.state import replica as module
from durafold.state.outcomes import Reject
from durafold.state.reducer import action_step, set_state_step
from durafold.state.replica import (
    Confirmed,
    Pending,
    Replica,
    confirm,
    fold_batch,
    hydrate,
    mark,
    new_replica,
    optimistic,
    reject,
    reset,
)
from support.logs import Line, action, batch, line, notes

step = action_step(notes)
Notes = tuple[str, ...]


class Speechless(Exception):
    """An error whose words are another error."""

    def __str__(self) -> str:
        raise RuntimeError


def start() -> Confirmed[Notes]:
    return Confirmed(())


def fresh() -> Replica[Notes]:
    return new_replica(start())


def dispatched(replica: Replica[Notes], ticket: int, text: str) -> Replica[Notes]:
    """Shown, and handed to the network as `me:<ticket>`."""
    shown = optimistic(replica, ticket, lambda state: notes(state, text))
    return mark(shown, {ticket: ("me", ticket)})


def seen_after(*messages: Line) -> list[tuple[str, int]]:
    return list(fold_batch(step, start(), batch(*messages)).confirmed.seen.items())


def test_an_action_is_shown_before_anything_is_sent() -> None:
    replica = optimistic(fresh(), 1, lambda state: notes(state, "milk"))

    assert replica.view == ("milk",)
    assert replica.confirmed.state == ()
    assert replica.version == 1


def test_r4_its_echo_confirms_it_without_touching_the_view() -> None:
    before = dispatched(fresh(), 1, "milk")

    after = confirm(step, before, batch(action("milk", "me:1"))).replica

    assert after.pending == ()
    assert after.confirmed.state == ("milk",)
    assert after.view is before.view
    assert after.version == before.version


def test_the_sender_learns_the_verdict_and_the_state_at_its_place_in_the_log() -> None:
    replica = dispatched(fresh(), 1, "milk")

    confirmation = confirm(step, replica, batch(action("milk", "me:1"), action("eggs", "you:1")))

    ((ticket, settled),) = confirmation.settled
    assert ticket == 1
    assert settled.outcome.verdict == "applied"
    assert settled.state == ("milk",)


def test_actions_of_others_go_below_those_still_pending() -> None:
    replica = dispatched(fresh(), 1, "milk")

    replica = confirm(step, replica, batch(action("eggs", "you:1"))).replica

    assert replica.view == ("eggs", "milk")
    assert replica.confirmed.state == ("eggs",)
    assert replica.version == 2


def test_an_action_that_comes_too_late_is_rejected_and_disappears() -> None:
    replica = dispatched(fresh(), 1, "milk")

    confirmation = confirm(step, replica, batch(action("milk", "you:1"), action("milk", "me:1")))

    assert confirmation.replica.view == ("milk",)
    assert confirmation.replica.pending == ()
    assert confirmation.settled[0][1].outcome.verdict == "rejected"
    assert confirmation.failures == ()


def test_a_pending_action_that_no_longer_fits_is_hidden_until_its_verdict() -> None:
    replica = dispatched(fresh(), 1, "milk")

    replica = confirm(step, replica, batch(action("milk", "you:1"))).replica

    assert replica.view == ("milk",)
    assert [entry.shown for entry in replica.pending] == [False]


def test_an_action_whose_effect_raises_does_not_break_the_view() -> None:
    replica = dispatched(dispatched(fresh(), 1, "boom"), 2, "milk")

    assert replica.view == ("milk",)
    assert [entry.shown for entry in replica.pending] == [False, True]


def test_r3_a_second_copy_of_an_action_is_ignored() -> None:
    confirmed = fold_batch(
        step, start(), batch(action("a", "you:1"), action("b", "you:1"), action("c", "you:0"))
    ).confirmed

    assert confirmed.state == ("a",)
    assert (confirmed.revision, confirmed.position) == (1, 3)


def test_messages_without_identity_all_count() -> None:
    confirmed = fold_batch(step, start(), batch(action("a"), action("b"))).confirmed

    assert confirmed.state == ("a", "b")


def test_a_batch_that_was_folded_already_is_ignored() -> None:
    first = batch(action("a"), upto="1")
    replica = confirm(step, fresh(), first).replica

    again = confirm(step, replica, first)

    assert again.replica is replica


def test_the_revision_counts_applied_messages_only() -> None:
    confirmed = fold_batch(
        step, start(), batch(action("a"), action("a"), action("boom"), action("new"), action("b"))
    ).confirmed

    assert confirmed.revision == 2
    assert confirmed.position == 5


def test_faults_are_recorded_with_their_place_and_id() -> None:
    folded = fold_batch(step, start(), batch(action("a"), action("boom", "you:3"), action("new")))

    poison, unknown = folded.confirmed.faults
    assert (poison.position, poison.offset, poison.id, poison.verdict) == (1, "-1", "you:3", "poison")
    assert poison.reason == "ValueError: no such thing"
    assert (unknown.position, unknown.id, unknown.verdict) == (2, None, "unknown")
    assert folded.confirmed.fault_count == 2
    assert [type(error).__name__ for _, error in folded.failures] == ["ValueError", "UnknownAction"]


def test_an_error_that_cannot_be_put_into_words_is_a_fault_like_any_other() -> None:
    def speechless(state: Notes, text: str) -> Notes:
        raise Speechless

    folded = fold_batch(action_step(speechless), start(), batch(action("a")))

    assert folded.confirmed.faults[0].reason == "Speechless: "


@pytest.mark.parametrize(("text", "partial"), [("new", True), ("boom", False), ("fine", False)])
def test_only_unknown_actions_make_a_state_partial(text: str, partial: bool) -> None:
    assert fold_batch(step, start(), batch(action(text))).confirmed.partial is partial


def test_faults_beyond_the_limit_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FAULTS", 2)

    confirmed = fold_batch(step, start(), batch(*[action("boom")] * 5)).confirmed

    assert [fault.position for fault in confirmed.faults] == [0, 1]
    assert confirmed.fault_count == 5


def test_the_view_stays_the_same_object_when_a_batch_changes_nothing() -> None:
    replica = dispatched(confirm(step, fresh(), batch(action("a"))).replica, 1, "b")

    after = confirm(step, replica, batch(action("a"), action("boom"), after="1", upto="2")).replica

    assert after.view is replica.view
    assert after.version == replica.version


def test_a_scalar_set_to_what_it_was_is_no_change_of_the_view() -> None:
    replica = confirm(set_state_step(), new_replica(Confirmed(0)), batch(line("set", 1000))).replica

    after = confirm(set_state_step(), replica, batch(line("set", 1000), after="1", upto="2")).replica

    assert after.version == replica.version
    assert after.confirmed.revision == 2


def test_a_true_in_place_of_a_one_is_a_change() -> None:
    replica = new_replica(Confirmed(1))

    assert confirm(set_state_step(), replica, batch(line("set", True))).replica.version == 1


def test_r5_own_echoes_out_of_step_with_others_give_the_order_of_the_log() -> None:
    replica = dispatched(dispatched(fresh(), 1, "b"), 2, "c")

    replica = confirm(step, replica, batch(action("b", "me:1"), action("a", "you:1"))).replica

    assert replica.view == ("b", "a", "c")
    assert [entry.ticket for entry in replica.pending] == [2]


def test_r7_the_fold_tells_whose_last_message_was_a_compare_and_set_that_lost() -> None:
    lost = line("set", 1, "me:1", if_revision=7)
    after = fold_batch(set_state_step(), Confirmed(0), batch(lost)).confirmed
    again = fold_batch(set_state_step(), after, batch(line("set", 2, "me:2"), after="1", upto="2")).confirmed

    assert (after.losers, again.losers) == ({"me"}, frozenset())


def test_r7_a_client_that_is_forgotten_is_no_loser_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEEN_CLIENTS", 1)
    messages = line("set", 1, "me:1", if_revision=7), line("set", 2, "you:1")

    assert fold_batch(set_state_step(), Confirmed(0), batch(*messages)).confirmed.losers == frozenset()


def test_a_lost_compare_and_set_stays_pending_and_is_shown_on_the_new_base() -> None:
    counter = optimistic(new_replica(Confirmed(0)), 1, lambda count: count + 1)
    counter = mark(counter, {1: ("me", 1)})

    confirmation = confirm(
        set_state_step(), counter, batch(line("set", 10, "you:1"), line("set", 1, "me:1", if_revision=0))
    )

    assert confirmation.settled[0][1].outcome.verdict == "conflict"
    assert confirmation.replica.view == 11
    assert [(entry.ticket, entry.mark) for entry in confirmation.replica.pending] == [(1, None)]


def test_an_action_the_server_refuses_is_taken_back() -> None:
    replica = dispatched(dispatched(fresh(), 1, "a"), 2, "b")

    replica = reject(replica, {1})

    assert replica.view == ("b",)
    assert [entry.ticket for entry in replica.pending] == [2]


def test_taking_back_what_was_not_shown_leaves_the_view_alone() -> None:
    replica = dispatched(dispatched(fresh(), 1, "boom"), 2, "b")

    after = reject(replica, {1})

    assert after.view is replica.view
    assert [entry.ticket for entry in after.pending] == [2]


def test_a_reset_keeps_pending_and_begins_at_the_start() -> None:
    replica = dispatched(confirm(step, fresh(), batch(action("old", "you:9"))).replica, 1, "mine")

    replica = reset(replica, ())

    assert replica.confirmed == Confirmed(())
    assert replica.view == ("mine",)
    assert replica.pending[0].mark == ("me", 1)


def test_after_a_reset_counters_of_the_old_stream_mean_nothing() -> None:
    replica = reset(confirm(step, fresh(), batch(action("old", "you:9"))).replica, ())

    assert confirm(step, replica, batch(action("new one", "you:1"))).replica.view == ("new one",)


def test_a_state_that_is_further_along_is_taken_over_under_pending() -> None:
    replica = dispatched(fresh(), 1, "mine")

    replica = hydrate(replica, Confirmed(("cached",), 1, 1, "5"))

    assert replica.view == ("cached", "mine")


def test_a_state_that_is_behind_is_not_taken_over() -> None:
    replica = hydrate(fresh(), Confirmed(("new",), 2, 2, "6"))

    assert hydrate(replica, Confirmed(("old",), 1, 1, "5")) is replica


def test_an_action_can_be_freed_of_its_mark_to_be_sent_anew() -> None:
    replica = mark(dispatched(dispatched(fresh(), 1, "a"), 2, "b"), {2: None})

    assert [entry.mark for entry in replica.pending] == [("me", 1), None]


def test_the_last_messages_of_clients_give_the_order_of_what_was_seen() -> None:
    messages = [action("a", "x:1"), action("b", "y:1"), action("c", "x:2"), action("d", "x:3")]

    assert seen_after(*messages) == [("y", 1), ("x", 3)]


def test_the_client_whose_last_message_is_furthest_back_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SEEN_CLIENTS", 2)

    assert seen_after(action("a", "x:1"), action("b", "y:1"), action("c", "x:2"), action("d", "z:1")) == [
        ("x", 2),
        ("z", 1),
    ]


def test_r3_what_was_seen_does_not_depend_on_how_the_log_was_cut_into_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SEEN_CLIENTS", 2)
    messages = [action(str(index), f"{'xyz'[index % 3]}:{index}") for index in range(9)]
    piecewise = start()
    for index, message in enumerate(messages):
        piecewise = fold_batch(
            step, piecewise, batch(message, after=piecewise.offset, upto=str(index + 1))
        ).confirmed

    assert list(piecewise.seen.items()) == seen_after(*messages)


def test_transitions_leave_the_values_they_start_from_as_they_were() -> None:
    replica = dispatched(fresh(), 1, "a")
    before = (replica.confirmed, replica.pending, replica.view, dict(replica.confirmed.seen))

    confirm(step, replica, batch(action("b", "you:1"), action("a", "me:1")))
    reject(replica, {1})
    reset(replica, ())

    assert (replica.confirmed, replica.pending, replica.view, dict(replica.confirmed.seen)) == before


def test_states_that_refuse_to_be_compared_count_as_changed() -> None:
    class Opaque:
        def __eq__(self, other: object) -> bool:
            raise TypeError("no")

        __hash__ = None  # type: ignore[assignment]

    opaque = action_step(lambda state, action: Opaque())
    start: Confirmed[Any] = Confirmed(None)
    replica = mark(optimistic(new_replica(start), 1, lambda state: Opaque()), {1: ("me", 1)})

    assert confirm(opaque, replica, batch(action(1, "me:1"))).replica.version == 2


def test_a_reject_in_the_optimistic_view_is_hidden_too() -> None:
    def refuse(state: Notes) -> Notes:
        raise Reject

    assert optimistic(fresh(), 1, refuse).pending[0] == Pending(1, refuse, None, shown=False)


def test_minus_zero_is_another_value_than_zero() -> None:
    before = new_replica(Confirmed(0.0))

    after = optimistic(before, 1, lambda state: -0.0)

    assert (repr(after.view), after.version) == ("-0.0", 1)
    assert optimistic(after, 2, lambda state: -0.0).version == 1
