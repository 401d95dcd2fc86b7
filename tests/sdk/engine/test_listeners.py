"""Callbacks: one sentence per rule of `durafold.engine.listeners`."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from durafold.engine.batching import MAX_ROUNDS
from durafold.engine.listeners import EndlessNotices, Listeners


@pytest.fixture
def raised() -> list[Exception]:
    """What callbacks raised."""
    return []


@pytest.fixture
def listeners(raised: list[Exception]) -> Listeners:
    """Subscriptions to nothing in particular."""
    return Listeners(raised.append)


def test_every_listener_is_told_once(listeners: Listeners) -> None:
    told: list[str] = []
    listeners.add(lambda: told.append("a"), progress=False)
    listeners.add(lambda: told.append("b"), progress=False)

    listeners.notify(value=True)

    assert told == ["a", "b"]


def test_one_callback_may_be_subscribed_twice(listeners: Listeners) -> None:
    told: list[int] = []
    callback: Callable[[], None] = lambda: told.append(1)  # noqa: E731
    unsubscribe = listeners.add(callback, progress=False)
    listeners.add(callback, progress=False)

    unsubscribe()
    unsubscribe()
    listeners.notify(value=True)

    assert told == [1]


def test_progress_is_told_only_to_those_who_want_it(listeners: Listeners) -> None:
    told: list[str] = []
    listeners.add(lambda: told.append("value"), progress=False)
    listeners.add(lambda: told.append("progress"), progress=True)

    listeners.notify(value=False)
    listeners.notify(value=True)

    assert told == ["progress", "value", "progress"]


def test_r13_what_one_raises_is_reported_and_the_others_are_told(
    listeners: Listeners, raised: list[Exception]
) -> None:
    told: list[int] = []

    def broken() -> None:
        raise ValueError("broken")

    listeners.add(broken, progress=False)
    listeners.add(lambda: told.append(1), progress=False)

    listeners.notify(value=True)

    assert told == [1]
    assert [str(error) for error in raised] == ["broken"]


def test_one_that_was_unsubscribed_by_another_is_not_told(listeners: Listeners) -> None:
    told: list[int] = []
    listeners.add(lambda: unsubscribe(), progress=False)
    unsubscribe = listeners.add(lambda: told.append(1), progress=False)

    listeners.notify(value=True)

    assert told == []


def test_one_that_is_subscribed_by_another_is_told_of_the_next_change(listeners: Listeners) -> None:
    told: list[int] = []
    first = listeners.add(
        lambda: (first(), listeners.add(lambda: told.append(1), progress=False)),  # type: ignore[arg-type, return-value]
        progress=False,
    )

    listeners.notify(value=True)
    assert told == []
    listeners.notify(value=True)
    assert told == [1]


def test_r13_a_change_made_by_a_callback_is_told_after_the_present_round(listeners: Listeners) -> None:
    told: list[str] = []

    def changes_once() -> None:
        told.append("first begins")
        if len(told) == 1:
            listeners.notify(value=True)
        told.append("first ends")

    listeners.add(changes_once, progress=False)
    listeners.add(lambda: told.append("second"), progress=False)

    listeners.notify(value=True)

    assert told == ["first begins", "first ends", "second"] * 2


def test_progress_made_by_a_callback_does_not_hide_a_change_of_the_value(listeners: Listeners) -> None:
    told: list[str] = []

    def changes_once() -> None:
        if not told:
            listeners.notify(value=True)
            listeners.notify(value=False)
        told.append("value")

    listeners.add(changes_once, progress=False)

    listeners.notify(value=True)

    assert told == ["value", "value"]


def test_listeners_that_never_stop_answering_each_other_are_stopped(
    listeners: Listeners, raised: list[Exception]
) -> None:
    rounds: list[int] = []
    listeners.add(lambda: (rounds.append(1), listeners.notify(value=True)), progress=False)  # type: ignore[arg-type, return-value]

    listeners.notify(value=True)

    assert len(rounds) == MAX_ROUNDS
    assert [type(error) for error in raised] == [EndlessNotices]


@pytest.mark.anyio
async def test_whoever_waits_for_a_change_is_woken_by_any_kind(listeners: Listeners) -> None:
    woken: list[int] = []

    async def wait() -> None:
        await listeners.changed()
        woken.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        listeners.notify(value=False)

    assert woken == [1, 1]
