"""Forks: which source, which position, which bytes, and who lives on for whom (PROTOCOL §4.2)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from durafold_server.protocol import forks
from durafold_server.protocol.errors import Conflict, InvalidRequest, NotFound
from durafold_server.protocol.forks import inherited_until
from durafold_server.protocol.model import (
    Fork,
    Lifetime,
    Mode,
    RemoveStream,
    SaveStream,
    Segment,
    StreamState,
)
from durafold_server.protocol.requests import ForkRequest

SOURCE = StreamState(id=7, path="a", content_type="a/b", mode=Mode.BINARY, tail=10, forks=1)


def fork_of(source: StreamState, at: int, *, id: int, tail: int, forks: int = 0) -> StreamState:  # noqa: A002
    """A fork that has appended up to `tail`; with forks of its own it is soft-deleted."""
    place = Fork(source.path, source.id, None, 0, at, inherited_until(source, at))
    return replace(SOURCE, id=id, path=f"f{id}", tail=tail, fork=place, forks=forks, deleted=forks > 0)


def token(position: int, origin: int = 7) -> str:
    return f"{origin:016d}_{position:016d}"


def test_a_living_source_can_be_forked_even_when_closed() -> None:
    closed = replace(SOURCE, closed=True)

    assert forks.check_source(closed, 0) is closed


@pytest.mark.parametrize(
    ("source", "error"),
    [
        pytest.param(None, NotFound, id="missing"),
        pytest.param(replace(SOURCE, lifetime=Lifetime(ttl_s=0)), NotFound, id="expired"),
        pytest.param(replace(SOURCE, deleted=True), Conflict, id="soft-deleted"),
        pytest.param(
            replace(SOURCE, deleted=True, lifetime=Lifetime(ttl_s=0)), Conflict, id="soft-deleted and expired"
        ),
    ],
)
def test_any_other_source_cannot(source: StreamState | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        forks.check_source(source, 0)


@pytest.mark.parametrize(
    ("offset", "position"),
    [(None, 10), ("now", 10), ("-1", 2), (token(0, 0), 2), (token(2), 2), (token(5), 5), (token(10), 10)],
)
def test_the_anchor_is_the_position_that_the_offset_names(offset: str | None, position: int) -> None:
    assert forks.anchor(ForkRequest("a", offset, 0), replace(SOURCE, start=2)) == position


@pytest.mark.parametrize(
    "offset", [token(11), token(1), token(5, origin=8), token(5, origin=6), "abc", "7_5"]
)
def test_an_offset_that_is_none_of_the_source_is_refused(offset: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-Fork-Offset"):
        forks.anchor(ForkRequest("a", offset, 0), replace(SOURCE, start=2))


def test_a_fork_remembers_what_was_asked_for_and_where_it_branched_off() -> None:
    fork = forks.branch(ForkRequest("a", token(3), 2), SOURCE, 5)

    assert fork == Fork("a", 7, token(3), 2, 5, (Segment(7, 5),))


@pytest.mark.parametrize(
    ("at", "segments"),
    [
        (0, (Segment(7, 0),)),
        (3, (Segment(7, 3),)),
        (4, (Segment(7, 4),)),
        (5, (Segment(7, 4), Segment(8, 5))),
        (9, (Segment(7, 4), Segment(8, 6), Segment(9, 9))),
    ],
)
def test_a_fork_of_a_fork_inherits_the_stretches_before_its_place(
    at: int, segments: tuple[Segment, ...]
) -> None:
    child = fork_of(SOURCE, 4, id=8, tail=6)
    grandchild = fork_of(child, 6, id=9, tail=9)

    assert inherited_until(grandchild, at) == segments


def test_a_stream_without_forks_is_removed() -> None:
    stream = replace(SOURCE, forks=0)

    assert forks.remove(stream, []) == [RemoveStream(stream)]


def test_a_stream_with_forks_is_only_soft_deleted() -> None:
    assert forks.remove(SOURCE, []) == [SaveStream(replace(SOURCE, deleted=True))]


def test_removing_a_fork_releases_its_source() -> None:
    fork = fork_of(SOURCE, 4, id=8, tail=6)

    assert forks.remove(fork, [SOURCE]) == [RemoveStream(fork), SaveStream(replace(SOURCE, forks=0))]


def test_removing_one_of_two_forks_keeps_a_soft_deleted_source() -> None:
    source = replace(SOURCE, forks=2, deleted=True)
    fork = fork_of(source, 4, id=8, tail=6)

    assert forks.remove(fork, [source]) == [RemoveStream(fork), SaveStream(replace(source, forks=1))]


def test_removing_the_last_fork_cascades_up_to_the_first_stream_still_wanted() -> None:
    root = replace(SOURCE, forks=2)
    middle = fork_of(root, 4, id=8, tail=6, forks=1)
    lower = fork_of(middle, 6, id=9, tail=6, forks=1)
    leaf = fork_of(lower, 6, id=10, tail=6)

    assert forks.remove(leaf, [lower, middle, root]) == [
        RemoveStream(leaf),
        RemoveStream(lower),
        RemoveStream(middle),
        SaveStream(replace(root, forks=1)),
    ]


@pytest.mark.parametrize(
    "found", [pytest.param([None], id="nothing"), pytest.param([replace(SOURCE, id=6)], id="an older stream")]
)
def test_a_source_that_is_not_the_forks_own_is_left_alone(found: list[StreamState | None]) -> None:
    fork = fork_of(SOURCE, 4, id=8, tail=6)

    assert forks.remove(fork, found) == [RemoveStream(fork)]
