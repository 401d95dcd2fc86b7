"""How much of a stream is kept: parsing, whose limits count, where to cut, and what may be freed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from durafold_server.protocol import retention
from durafold_server.protocol.errors import InvalidRequest
from durafold_server.protocol.model import (
    Decision,
    Extent,
    Fork,
    Loaded,
    Mode,
    Retention,
    SaveStream,
    Segment,
    StreamState,
)
from durafold_server.protocol.retention import Cut

S: Final = 1_000_000
NOW: Final = 1_800_000_000 * S
STREAM: Final = StreamState(
    id=7, path="s", content_type="text/plain", mode=Mode.TEXT, tail=100, used_us=NOW - 10 * S
)
FORK: Final = replace(STREAM, id=9, fork=Fork("s", 7, None, 0, 60, (Segment(7, 60),)))
TENS: Final = [Extent(start, start + 10, NOW - (100 - start) * S) for start in range(0, 100, 10)]
"""Ten bytes every ten seconds; the last 10 s ago."""
TIMELESS: Final = [replace(extent, appended_us=0) for extent in TENS]


def cut(
    limits: Retention, extents: Sequence[Extent] = TENS, stream: StreamState = STREAM, now_us: int = NOW
) -> Cut:
    begun = retention.cut(stream, limits, extents, now_us, Cut(stream.start, None, final=False))
    return retention.at_the_end(stream, limits, now_us, begun)


def trimmed(stream: StreamState | None, position: int, stream_id: int = 7) -> Decision[None]:
    return retention.trim({stream_id: position})([Loaded(stream)], NOW)


# Headers


@pytest.mark.parametrize(
    ("size", "age", "expected"),
    [
        (None, None, None),
        ("0", None, Retention(0, None)),
        ("1048576", "3600", Retention(1048576, 3600)),
        (None, "0", Retention(None, 0)),
        ("9" * 15, "9" * 10, Retention(10**15 - 1, 10**10 - 1)),
    ],
)
def test_retention_is_read_from_its_headers(
    size: str | None, age: str | None, expected: Retention | None
) -> None:
    assert retention.parse_retention(size, age) == expected


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "0x1", "1_000", "¹", "٣", "1" * 16]
)
def test_a_malformed_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-Retention-Bytes must be a whole number of bytes"):
        retention.parse_retention(text, None)
    with pytest.raises(InvalidRequest, match="Stream-Retention-Age must be a whole number of seconds"):
        retention.parse_retention(None, text)


# Whose limits count


@pytest.mark.parametrize(
    ("requested", "source", "inherited"),
    [
        (None, None, None),
        (None, Retention(5, 6), Retention(5, 6)),
        (Retention(1, None), None, Retention(1, None)),
        (Retention(1, None), Retention(5, 6), Retention(1, 6)),
        (Retention(0, 0), Retention(5, 6), Retention(0, 0)),
    ],
)
def test_a_fork_inherits_what_it_does_not_ask_for(
    requested: Retention | None, source: Retention | None, inherited: Retention | None
) -> None:
    assert retention.inherit(requested, source) == inherited


@pytest.mark.parametrize(
    ("requested", "existing", "confirms"),
    [
        (None, None, True),
        (None, Retention(5, None), False),
        (Retention(5, None), None, False),
        (Retention(5, None), Retention(5, None), True),
        (Retention(5, None), Retention(5, 1), False),
        (Retention(0, None), None, False),
    ],
)
def test_a_repeated_request_must_ask_for_the_same(
    requested: Retention | None, existing: Retention | None, confirms: bool
) -> None:
    assert retention.confirms(requested, replace(STREAM, retention=existing)) is confirms


@pytest.mark.parametrize(
    ("requested", "confirms"),
    [(None, True), (Retention(5, None), True), (Retention(5, 6), True), (Retention(4, None), False)],
)
def test_a_forks_repeated_request_may_leave_out_what_it_inherited(
    requested: Retention | None, confirms: bool
) -> None:
    fork = replace(FORK, retention=Retention(5, 6))

    assert retention.confirms(requested, fork) is confirms


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        (None, Retention(5, 6)),
        (Retention(1, None), Retention(1, 6)),
        (Retention(0, 0), Retention(0, 0)),
    ],
)
def test_the_servers_limits_count_where_a_stream_has_none(own: Retention | None, limits: Retention) -> None:
    assert retention.limits_of(replace(STREAM, retention=own), Retention(5, 6)) == limits


def test_the_servers_own_stream_has_no_limits() -> None:
    assert retention.limits_of(replace(STREAM, internal=True), Retention(5, 6)) == Retention()


# Where to cut


@pytest.mark.parametrize(
    ("limit", "position"),
    [(1, 90), (10, 90), (11, 80), (20, 80), (99, 0), (100, 0), (101, 0), (10**15, 0), (0, 0)],
)
def test_bytes_are_cut_so_that_at_least_as_many_are_kept_and_no_more_than_needed(
    limit: int, position: int
) -> None:
    assert cut(Retention(bytes=limit)).position == position


@pytest.mark.parametrize(
    ("age_s", "position", "due_us"),
    [
        (9, 100, None),
        (10, 100, None),  # as with a TTL: after so many seconds, it is over
        (11, 90, NOW + 1 * S),
        (55, 50, NOW + 5 * S),
        (100, 10, NOW + 10 * S),
        (101, 0, NOW + 1 * S),
        (0, 0, None),
    ],
)
def test_age_cuts_what_is_old_enough_and_says_when_the_next_will_be(
    age_s: int, position: int, due_us: int | None
) -> None:
    assert cut(Retention(age_s=age_s))[:2] == (position, due_us)


def test_either_limit_is_enough_to_be_cut() -> None:
    assert cut(Retention(20, 55)).position == 80
    assert cut(Retention(60, 11)).position == 90


def test_data_of_unknown_age_goes_with_what_came_after_it() -> None:
    extents = [*TIMELESS[:3], *TENS[3:]]

    assert cut(Retention(age_s=60), extents).position == 50
    assert cut(Retention(age_s=70), extents)[:2] == (40, NOW + 10 * S)
    assert cut(Retention(age_s=71), extents)[:2] == (0, NOW + 1 * S)


def test_data_of_unknown_age_at_the_end_goes_by_the_last_use() -> None:
    assert cut(Retention(age_s=10), TIMELESS)[:2] == (100, None)
    assert cut(Retention(age_s=11), TIMELESS)[:2] == (0, NOW + 1 * S)


def test_bytes_are_cut_whatever_their_age() -> None:
    assert cut(Retention(30, 10**9), TIMELESS).position == 70


@given(st.lists(st.integers(1, 20), max_size=20), st.integers(1, 200), st.integers(0, 5))
def test_a_cut_by_bytes_is_the_deepest_that_keeps_enough(sizes: list[int], limit: int, page: int) -> None:
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    extents = [Extent(end - size, end, NOW) for end, size in zip(ends, sizes, strict=True)]
    stream = replace(STREAM, tail=sum(sizes))
    limits = Retention(bytes=limit)

    first = retention.cut(stream, limits, extents[:page], NOW, Cut(0, None, final=False))
    outcome = first if first.final else retention.cut(stream, limits, extents[page:], NOW, first)

    assert outcome.position == max([0, *(end for end in ends if sum(sizes) - end >= limit)])


# The transaction


def test_trimming_moves_the_beginning_and_nothing_else() -> None:
    assert trimmed(STREAM, 30).writes == [SaveStream(replace(STREAM, start=30))]


@pytest.mark.parametrize(
    "stream", [None, replace(STREAM, start=30), replace(STREAM, start=40), replace(STREAM, tail=29)]
)
def test_a_stream_that_is_another_or_further_already_is_left_alone(stream: StreamState | None) -> None:
    assert trimmed(stream, 30).writes == []
    assert trimmed(STREAM, 30, stream_id=8).writes == []


@pytest.mark.parametrize(
    ("stream", "stretch"),
    [
        (replace(STREAM, start=30), (0, 30)),
        (replace(STREAM, start=30, forks=1, forked_until=20), (20, 30)),
        (replace(STREAM, start=30, forks=1, forked_until=50), (50, 30)),
        (replace(STREAM, start=30, forked_until=20), (0, 30)),
        (replace(FORK, start=30), (60, 30)),
        (replace(FORK, start=80), (60, 80)),
    ],
)
def test_only_own_bytes_that_no_fork_needs_are_freed(stream: StreamState, stretch: tuple[int, int]) -> None:
    assert retention.to_free(stream) == stretch
