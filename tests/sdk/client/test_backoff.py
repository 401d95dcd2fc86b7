"""Waits between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.client.backoff import Backoff

fractions = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_the_ceiling_doubles_with_every_failure() -> None:
    backoff = Backoff(first_s=0.1, max_s=10)

    assert [backoff.delay_s(attempt, 1.0) for attempt in range(4)] == pytest.approx([0.1, 0.2, 0.4, 0.8])


def test_full_jitter_reaches_down_to_no_wait_at_all() -> None:
    assert Backoff().delay_s(5, 0.0) == 0


@given(st.integers(min_value=0, max_value=10**9), fractions)
def test_no_wait_is_longer_than_the_maximum(attempt: int, fraction: float) -> None:
    assert 0 <= Backoff(max_s=10).delay_s(attempt, fraction) <= 10


@given(st.integers(min_value=0, max_value=100), fractions)
def test_a_retry_after_is_waited_for_in_full_and_jitter_comes_on_top(attempt: int, fraction: float) -> None:
    assert 7 <= Backoff(max_s=10).delay_s(attempt, fraction, retry_after_s=7) <= 17


def test_an_absurd_retry_after_is_bounded() -> None:
    assert Backoff(max_retry_after_s=300).delay_s(0, 0.0, retry_after_s=10**9) == 300


def test_a_negative_retry_after_counts_as_none() -> None:
    assert Backoff().delay_s(0, 0.0, retry_after_s=-5) == 0
