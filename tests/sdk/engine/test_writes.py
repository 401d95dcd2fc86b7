"""The order of sending: one sentence per rule of `durafold.engine.writes`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from durafold.engine.dispatch import Dispatch
from durafold.engine.writes import Write, Writes
from durafold.wire.envelope import ActionId


def write(ticket: int, function: Callable[[int], int] | None = None) -> Write[int]:
    return Write(ticket, Dispatch(lambda error: None), "set", ticket, function, ts_ms=0)


def functional(ticket: int) -> Write[int]:
    return write(ticket, lambda count: count + 1)


@pytest.fixture
def writes() -> Writes[int]:
    """Nothing is on its way."""
    return Writes()


def give(writes: Writes[int]) -> int | None:
    """Give the producer the next one, if there is one; its ticket."""
    following = writes.next()
    if following is None:
        return None
    following.id, following.message = ActionId("me", following.ticket), {}
    writes.given(following)
    return following.ticket


def test_plain_writes_are_given_in_order_without_waiting(writes: Writes[int]) -> None:
    writes.add(write(1))
    writes.add(write(2))

    assert [give(writes), give(writes), give(writes)] == [1, 2, None]


def test_a_functional_update_waits_until_all_before_it_came_back(writes: Writes[int]) -> None:
    writes.add(first := write(1))
    writes.add(functional(2))

    assert [give(writes), give(writes)] == [1, None]
    writes.remove(first)
    assert give(writes) == 2


def test_everything_waits_behind_a_functional_update(writes: Writes[int]) -> None:
    writes.add(first := functional(1))
    writes.add(write(2))

    assert [give(writes), give(writes)] == [1, None]
    writes.remove(first)
    assert give(writes) == 2


def test_one_that_an_earlier_process_computed_holds_up_what_is_behind_it_too(writes: Writes[int]) -> None:
    writes.restore(computed := write(1))
    computed.if_revision = 4
    writes.add(write(2))

    assert [give(writes), give(writes)] == [1, None]
    writes.remove(computed)
    assert give(writes) == 2


def test_a_functional_update_that_lost_is_given_again_before_all_others(writes: Writes[int]) -> None:
    writes.add(first := functional(1))
    writes.add(write(2))
    give(writes)

    writes.call_back(first)

    assert first.id is None
    assert give(writes) == 1


def test_one_that_rests_holds_up_what_is_behind_it(writes: Writes[int]) -> None:
    writes.add(first := functional(1))
    writes.add(write(2))
    first.is_resting = True

    assert writes.next() is None


def test_a_new_producer_is_given_everything_again_in_order(writes: Writes[int]) -> None:
    writes.add(write(1))
    writes.add(write(2))
    writes.add(write(3))
    give(writes)
    give(writes)

    writes.give_again()

    assert [give(writes), give(writes), give(writes)] == [1, 2, 3]


def test_one_whose_fate_is_known_is_not_given_any_more(writes: Writes[int]) -> None:
    writes.add(first := write(1))
    writes.add(write(2))

    writes.remove(first)

    assert first not in writes
    assert [one.ticket for one in writes] == [2]
    assert give(writes) == 2


def test_calling_back_one_that_waits_already_does_not_double_it(writes: Writes[int]) -> None:
    writes.add(first := functional(1))
    give(writes)
    writes.give_again()

    writes.call_back(first)

    assert give(writes) == 1
    assert give(writes) is None
