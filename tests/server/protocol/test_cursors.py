"""The cursor of live reads: the interval's number, and never back (PROTOCOL §10.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.protocol.cursors import later_cursor, next_cursor, parse_cursor

EPOCH_US = 1_728_432_000_000_000  # 9 October 2024, 00:00:00 UTC
TIMES = st.integers(EPOCH_US, EPOCH_US + 10**16)
RANDOMS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("since_epoch_us", "cursor"), [(0, "0"), (19_999_999, "0"), (20_000_000, "1"), (86_400_000_000, "4320")]
)
def test_the_cursor_counts_intervals_of_20_seconds(since_epoch_us: int, cursor: str) -> None:
    assert next_cursor(EPOCH_US + since_epoch_us, None, 0.5) == cursor


@pytest.mark.parametrize("client_cursor", ["", "abc", "-1", "1.5", "٣", "²", " 5", "9" * 17, "0x5"])
def test_a_cursor_that_is_none_of_ours_is_ignored(client_cursor: str) -> None:
    assert parse_cursor(client_cursor) is None
    assert next_cursor(EPOCH_US + 20_000_000, client_cursor, 0.5) == "1"


def test_an_older_cursor_moves_to_the_current_interval() -> None:
    assert next_cursor(EPOCH_US + 200_000_000, "9", 0.5) == "10"


@pytest.mark.parametrize(
    ("random", "cursor"),
    [
        pytest.param(0.0, "11", id="a jitter of 1 s still moves on"),
        pytest.param(0.5, "100", id="a jitter of 1,801 s is 90 intervals"),
        pytest.param(0.9999, "190", id="a jitter of 3,600 s is 180 intervals"),
    ],
)
def test_a_current_cursor_moves_on_by_a_jitter(random: float, cursor: str) -> None:
    assert next_cursor(EPOCH_US + 200_000_000, "10", random) == cursor


@given(TIMES, st.integers(0, 10**16 - 1), RANDOMS)
def test_the_answer_is_never_behind_the_interval_and_always_beyond_a_current_client(
    now_us: int, theirs: int, random: float
) -> None:
    current = int(next_cursor(now_us, None, random))

    answer = int(next_cursor(now_us, str(theirs), random))

    assert answer >= current
    assert answer > theirs or theirs < current
    assert answer <= max(current, theirs + 180)


@given(TIMES, st.lists(st.integers(-(10**9), 10**9), max_size=10), st.none() | st.integers(0, 10**9), RANDOMS)
def test_a_connections_cursor_never_goes_back_whatever_its_clock_does(
    now_us: int, steps_us: list[int], client_cursor: int | None, random: float
) -> None:
    cursors = [next_cursor(now_us, None if client_cursor is None else str(client_cursor), random)]
    for step_us in steps_us:
        now_us = max(EPOCH_US, now_us + step_us)
        cursors.append(later_cursor(now_us, cursors[-1]))

    assert [int(cursor) for cursor in cursors] == sorted(int(cursor) for cursor in cursors)
