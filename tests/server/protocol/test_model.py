"""The values the rules speak of: modes of content types, and what a stream is made of."""

from __future__ import annotations

import pytest

from durafold_server.protocol.model import Fork, Mode, Segment, StreamState


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        ("application/json", Mode.JSON),
        ("Application/JSON", Mode.JSON),
        ("application/json; charset=utf-8", Mode.JSON),
        ("application/json ;x=y", Mode.JSON),
        ("application/jsonl", Mode.BINARY),
        ("application/ndjson", Mode.BINARY),
        ("application/vnd.x+json", Mode.BINARY),
        ("text/plain", Mode.TEXT),
        ("TEXT/HTML; charset=utf-8", Mode.TEXT),
        ("text/json", Mode.TEXT),
        ("textual/plain", Mode.BINARY),
        ("application/octet-stream", Mode.BINARY),
        ("image/svg+xml", Mode.BINARY),
    ],
)
def test_the_mode_follows_from_the_media_type_alone(content_type: str, mode: Mode) -> None:
    assert Mode.of(content_type) is mode


def test_a_stream_that_is_no_fork_is_one_segment() -> None:
    stream = StreamState(id=7, path="s", content_type="text/plain", mode=Mode.TEXT, tail=12)

    assert stream.segments() == (Segment(7, 12),)


def test_a_fork_is_its_inherited_segments_and_its_own() -> None:
    fork = Fork("a", 7, None, 0, 12, (Segment(3, 5), Segment(7, 12)))
    stream = StreamState(id=9, path="s", content_type="text/plain", mode=Mode.TEXT, tail=20, fork=fork)

    assert stream.segments() == (Segment(3, 5), Segment(7, 12), Segment(9, 20))


@pytest.mark.parametrize(
    ("position", "owner"), [(0, 3), (4, 3), (5, 3), (6, 7), (12, 7), (13, 9), (20, 9), (21, 9)]
)
def test_an_offset_names_the_stream_that_the_bytes_before_it_were_appended_to(
    position: int, owner: int
) -> None:
    fork = Fork("a", 7, None, 0, 12, (Segment(3, 5), Segment(7, 12)))
    stream = StreamState(id=9, path="s", content_type="text/plain", mode=Mode.TEXT, tail=20, fork=fork)

    assert stream.owner(position) == owner
    assert stream.offset(position) == f"{owner:016d}_{position:016d}"


def test_a_fork_at_the_very_start_shares_the_start_of_its_source() -> None:
    fork = Fork("a", 7, "-1", 0, 0, (Segment(7, 0),))
    stream = StreamState(id=9, path="s", content_type="text/plain", mode=Mode.TEXT, tail=3, fork=fork)

    assert [stream.owner(position) for position in (0, 1, 3)] == [7, 9, 9]


def test_the_offsets_of_a_chain_of_forks_sort_by_position() -> None:
    fork = Fork("a", 7, None, 0, 12, (Segment(3, 5), Segment(5, 5), Segment(7, 12)))
    stream = StreamState(id=9, path="s", content_type="text/plain", mode=Mode.TEXT, tail=20, fork=fork)

    offsets = [stream.offset(position) for position in range(21)]

    assert offsets == sorted(set(offsets))
