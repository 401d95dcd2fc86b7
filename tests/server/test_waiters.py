"""Who waits for a stream shares one future, and leaves nothing behind."""

from __future__ import annotations

import pytest

from durafold_server.waiters import Waiters

pytestmark = pytest.mark.anyio


async def test_all_who_wait_for_a_stream_share_one_future() -> None:
    waiters = Waiters()

    with waiters.registered(7) as one, waiters.registered(7) as other, waiters.registered(8) as third:
        waiters.wake(7)

        assert one is other
        assert (one.done(), third.done()) == (True, False)


async def test_a_stream_nobody_waits_for_any_more_is_forgotten() -> None:
    waiters = Waiters()

    with waiters.registered(7), waiters.registered(7):
        pass

    assert len(waiters) == 0


async def test_whoever_registers_after_a_change_waits_for_the_next() -> None:
    waiters = Waiters()

    with waiters.registered(7) as before:
        waiters.wake(7)
        with waiters.registered(7) as after:
            assert (before.done(), after.done()) == (True, False)

    assert len(waiters) == 0
