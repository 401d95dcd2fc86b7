"""Whether messages may be appended: the verdict as a function of the state before them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from durafold.named import described
from durafold.state.replica import Confirmed
from durafold_server.reducers.judging import Append, Judged, envelopes_of, judge
from durafold_server.reducers.registered import Registered, register_for_streams
from support.stock import Stock, stock

REDUCER: Registered = register_for_streams(described("shop:stock", stock))


def stored(*messages: Any) -> bytes:
    """Messages as a store keeps them."""
    return b"".join(json.dumps(message).encode() + b"," for message in messages)


def action(n: int, payload: Any, **meta: Any) -> dict[str, Any]:
    """A message as the SDK sends it."""
    return {"type": "action", "payload": payload, "meta": {"id": f"k3f9:{n}", "v": 1, **meta}}


def judged(before: Confirmed[Any], *messages: Any) -> Judged:
    return judge(REDUCER, before, Append(stored(*messages), "k3f9"), "next")


def refusal(verdict: Judged) -> dict[str, Any]:
    assert verdict.refusal is not None
    assert verdict.refusal.document is not None
    return dict(verdict.refusal.document)


def test_actions_that_the_reducer_applies_may_be_appended() -> None:
    verdict = judged(
        Confirmed(Stock()), {"type": "receive", "count": 2}, action(1, {"type": "take", "count": 2})
    )

    assert verdict.refusal is None
    assert verdict.messages == 2
    assert verdict.confirmed.state == Stock(count=0, taken=2)
    assert (verdict.confirmed.offset, verdict.confirmed.revision) == ("next", 2)


def test_an_action_that_the_guard_refuses_is_named_with_its_reason() -> None:
    verdict = judged(
        Confirmed(Stock(count=1)),
        action(7, {"type": "take", "count": 1}),
        action(8, {"type": "take", "count": 1}),
    )

    document = refusal(verdict)
    assert (document["verdict"], document["reason"]) == ("rejected", "only 0 left")
    assert (document["message"], document["id"]) == (1, "k3f9:8")
    assert (document["reducer"], document["version"]) == ("shop:stock", "1")


def test_of_a_refused_batch_nothing_is_folded() -> None:
    before = Confirmed(Stock(count=1))

    verdict = judged(before, {"type": "take"}, {"type": "take"})

    assert verdict.confirmed is before


def test_an_action_of_another_form_is_refused_with_what_is_wrong() -> None:
    document = refusal(judged(Confirmed(Stock()), {"type": "receive", "count": "many"}))

    assert document["verdict"] == "poison"
    assert document["reason"].startswith("receive.count: Input should be a valid integer")


def test_an_action_that_nobody_knows_is_refused() -> None:
    document = refusal(judged(Confirmed(Stock()), {"type": "steal"}))

    assert (document["verdict"], document["reason"]) == ("unknown", "there is no action of type 'steal'")


def test_an_action_that_makes_the_reducer_fail_is_refused() -> None:
    document = refusal(judged(Confirmed(Stock()), {"type": "break"}))

    assert (document["verdict"], document["reason"]) == ("poison", "RuntimeError: this reducer is broken")


@pytest.mark.parametrize("kind", ["set", "op", "novelty"])
def test_a_message_that_is_no_action_is_refused(kind: str) -> None:
    message = {"type": kind, "payload": 5, "meta": {"id": "k3f9:1", "v": 1}}

    assert refusal(judged(Confirmed(Stock()), message))["verdict"] == "unknown"


def test_a_number_that_cannot_be_read_is_refused() -> None:
    verdict = judge(REDUCER, Confirmed(Stock()), Append(b'{"type":"receive","count":1e999},'), "next")

    assert refusal(verdict)["verdict"] == "unknown"


def test_other_messages_of_a_page_with_an_unreadable_number_are_read() -> None:
    unreadable, readable = envelopes_of(b'{"count":1e999},{"type":"receive","count":1},')

    assert unreadable.kind == "unreadable"
    assert readable.payload == {"type": "receive", "count": 1}


def test_a_second_copy_is_let_through_and_changes_nothing() -> None:
    before = judged(Confirmed(Stock(count=1)), action(5, {"type": "take"})).confirmed

    verdict = judged(before, action(5, {"type": "take"}))

    assert verdict.refusal is None
    assert verdict.confirmed.state == Stock(count=0, taken=1)


def test_what_follows_a_second_copy_is_judged() -> None:
    before = judged(Confirmed(Stock(count=1)), action(5, {"type": "take"})).confirmed

    document = refusal(judged(before, action(5, {"type": "take"}), action(6, {"type": "take"})))

    assert (document["message"], document["id"]) == (1, "k3f9:6")


def test_an_overtaken_compare_and_set_is_let_through() -> None:
    verdict = judged(
        Confirmed(Stock(count=3), revision=9), action(1, {"type": "take"}, if_revision=8), {"type": "take"}
    )

    assert verdict.refusal is None
    assert verdict.confirmed.state == Stock(count=2, taken=1)


def test_a_reason_is_not_longer_than_somebody_would_read() -> None:
    document = refusal(judged(Confirmed(Stock()), {"type": "x" * 10_000}))

    assert len(document["reason"]) <= 501


@pytest.mark.parametrize(
    ("producer_id", "sender"), [(None, "without Producer-Id"), ("other", "'other'"), ("k3f", "'k3f'")]
)
def test_an_id_may_be_used_by_its_own_client_only(producer_id: str | None, sender: str) -> None:
    messages = stored({"type": "receive", "count": 2}, action(1, {"type": "take", "count": 1}))

    document = refusal(judge(REDUCER, Confirmed(Stock()), Append(messages, producer_id), "next"))

    assert (document["verdict"], document["message"], document["id"]) == ("foreign", 1, "k3f9:1")
    assert sender in document["reason"]
