"""Checkpoints: a place between two messages, kept as JSON and gone on from without gap or repetition."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.client import NOW, START, Checkpoint, Offset, Page
from durafold.client.checkpoint import Progress, Skip, as_checkpoint
from durafold.errors import ConfigurationError, MalformedResponse


def page(data: bytes, *, content_type: str = "application/json", skipped: int = 0) -> Page:
    return Page(data, content_type, Offset("0001"), Offset("0002"), skipped=skipped)


def test_a_checkpoint_survives_json() -> None:
    checkpoint = Checkpoint(Offset("0001"), 3)

    assert Checkpoint.from_json(json.loads(json.dumps(checkpoint.to_json()))) == checkpoint


def test_a_checkpoint_between_pages_is_just_an_offset() -> None:
    assert Checkpoint(Offset("0001")).to_json() == {"offset": "0001"}
    assert Checkpoint.from_json({"offset": "0001"}) == Checkpoint(Offset("0001"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "0001",
        {},
        {"offset": 1},
        {"offset": "a b"},
        {"offset": "0001", "skip": -1},
        {"offset": "0001", "skip": "2"},
        {"offset": "0001", "skip": True},
    ],
)
def test_anything_else_is_no_checkpoint(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        Checkpoint.from_json(value)


def test_an_offset_is_a_checkpoint_too() -> None:
    assert as_checkpoint(Offset("0001")) == Checkpoint(Offset("0001"))
    assert as_checkpoint(Checkpoint(START, 2)) == Checkpoint(START, 2)


@pytest.mark.parametrize("place", [Offset("a b"), Checkpoint(NOW, 1), Checkpoint(START, -1)])
def test_an_impossible_place_is_refused(place: Any) -> None:
    with pytest.raises(ConfigurationError):
        as_checkpoint(place)


def test_progress_moves_through_a_page_and_behind_it() -> None:
    progress = Progress(Checkpoint(START))
    places = [progress.checkpoint]
    whole = page(b"[1,2,3]")

    progress.set(whole, 2)
    places.append(progress.checkpoint)
    progress.set(whole)
    places.append(progress.checkpoint)

    assert places == [Checkpoint(START), Checkpoint(Offset("0001"), 2), Checkpoint(Offset("0002"))]


def test_progress_counts_what_an_earlier_checkpoint_left_out() -> None:
    progress = Progress(Checkpoint(Offset("0001"), 5))

    progress.set(page(b"[6,7]", skipped=5), 1)

    assert progress.checkpoint == Checkpoint(Offset("0001"), 6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(JSON, min_size=1, max_size=8), st.integers(0, 9), st.booleans())
def test_any_number_of_messages_can_be_left_out(messages: list[Any], count: int, spaced: bool) -> None:
    text = json.dumps(messages, ensure_ascii=False, separators=(" , ", ": ") if spaced else (",", ":"))

    left = Skip(count)(page(text.encode()))

    assert left.json() == messages[count:]
    assert left.skipped == min(count, len(messages))


def test_what_is_left_keeps_its_bytes() -> None:
    assert Skip(1)(page(b'[1, {"big":9007199254740993.0}]')).data == b'[{"big":9007199254740993.0}]'


def test_leaving_out_goes_on_in_the_next_page() -> None:
    skip = Skip(3)

    assert [skip(page(b"[1,2]")).json(), skip(page(b"[3,4]")).json(), skip(page(b"[5]")).json()] == [
        [],
        [4],
        [5],
    ]


def test_of_other_streams_bytes_are_left_out() -> None:
    skip = Skip(4)
    pages = [page(b"abc", content_type="text/plain"), page(b"def", content_type="text/plain")]

    assert [skip(one).data for one in pages] == [b"", b"ef"]


def test_a_damaged_page_is_named() -> None:
    with pytest.raises(MalformedResponse, match="no array"):
        Skip(2)(page(b"[1,,2]"))
