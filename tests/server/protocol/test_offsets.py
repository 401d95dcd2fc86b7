"""Offset tokens: their form, their order, and what is none of ours (PROTOCOL §8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.wire.offsets import is_valid_token
from durafold_server.protocol.offsets import format_offset, is_now, is_start, parse_offset

PLACES = st.tuples(st.integers(0, 10**16 - 1), st.integers(0, 10**16 - 1))


def test_a_token_is_origin_and_position_of_sixteen_digits_each() -> None:
    assert format_offset(1_728_432_000_000_000, 42) == "1728432000000000_0000000000000042"


@given(PLACES)
def test_a_token_reads_back_as_what_it_names(place: tuple[int, int]) -> None:
    token = format_offset(*place)

    assert parse_offset(token) == place
    assert is_valid_token(token)
    assert not is_now(token)


@given(PLACES, PLACES)
def test_tokens_sort_as_strings_like_the_places_they_name(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    assert (format_offset(*one) < format_offset(*other)) == (one < other)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "-1",
        "now",
        "0",
        "0000000000000000-0000000000000000",
        "0000000000000000_000000000000000",
        "0000000000000000_00000000000000000",
        "000000000000000_00000000000000000",
        "000000000000000x_0000000000000000",
        "0000000000000000_000000000000000 ",
        "+000000000000000_0000000000000000",
        "-000000000000001_0000000000000000",
        "0000000000000000_٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠",
        "0000000000000000_000000000000000²",
        "00000000_0000000_0000000000000000",
    ],
)
def test_what_was_never_handed_out_is_no_offset(token: str) -> None:
    assert parse_offset(token) is None


@given(st.text(max_size=40) | st.text("0123456789_", min_size=33, max_size=33))
def test_only_what_formatting_makes_is_parsed(token: str) -> None:
    place = parse_offset(token)

    assert place is None or format_offset(*place) == token


@pytest.mark.parametrize(
    ("token", "start", "now"),
    [
        (None, True, False),
        ("-1", True, False),
        ("0000000000000000_0000000000000000", True, False),
        ("now", False, True),
        ("NOW", False, False),
        ("-01", False, False),
        ("0000000000000000_0000000000000001", False, False),
    ],
)
def test_the_sentinels_name_start_and_tail(token: str | None, start: bool, now: bool) -> None:
    assert (is_start(token), is_now(token)) == (start, now)
