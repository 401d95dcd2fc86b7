"""Feeds: from pages to messages, batches, text, bytes and events, and the checkpoint behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.client import START, Checkpoint, Offset, Page, StreamEvent
from durafold.client.checkpoint import Progress
from durafold.client.items import Feed, batch_feed, bytes_feed, event_feed, message_feed, text_feed
from durafold.errors import MalformedResponse


def pages(
    *contents: bytes, content_type: str = "application/json", up_to_date: bool = False, closed: bool = False
) -> list[Page]:
    """Pages one behind the other, the first from 0000 to 0001; the flags are those of the last."""
    *others, last = [
        Page(data, content_type, Offset(f"{n:04}"), Offset(f"{n + 1:04}")) for n, data in enumerate(contents)
    ]
    return [*others, replace(last, up_to_date=up_to_date, closed=closed)]


def walk(feed: Feed[Any], progress: Progress, given: list[Page]) -> Iterator[tuple[Any, str, int]]:
    """Each item with the checkpoint behind it."""
    for page in given:
        feed.put(page)
        while item := feed.take():
            yield item[0], progress.checkpoint.offset, progress.checkpoint.skip


def walked(kind: Callable[[Progress], Feed[Any]], given: list[Page]) -> list[tuple[Any, str, int]]:
    progress = Progress(Checkpoint(START))
    return list(walk(kind(progress), progress, given))


def test_every_message_has_a_checkpoint_and_the_last_of_a_page_that_of_the_page() -> None:
    assert walked(message_feed, pages(b"[1,2,3]", b"[4]")) == [
        (1, "0000", 1),
        (2, "0000", 2),
        (3, "0001", 0),
        (4, "0002", 0),
    ]


def test_messages_that_are_false_or_null_are_messages() -> None:
    assert [item for item, *_ in walked(message_feed, pages(b"[null,0,false,[]]"))] == [None, 0, False, []]


def test_batches_are_the_messages_of_a_page_and_never_empty() -> None:
    assert walked(batch_feed, pages(b"[1,2]", b"", b"[3]")) == [([1, 2], "0001", 0), ([3], "0003", 0)]


def test_bytes_come_as_they_came() -> None:
    given = pages(b"ab", b"", b"c", content_type="application/octet-stream")

    assert walked(bytes_feed, given) == [(b"ab", "0001", 0), (b"c", "0003", 0)]


def test_an_empty_page_moves_the_checkpoint() -> None:
    progress = Progress(Checkpoint(START))

    assert list(walk(message_feed(progress), progress, pages(b""))) == []
    assert progress.checkpoint == Checkpoint(Offset("0001"))


def test_a_character_cut_by_a_pages_end_waits_and_the_checkpoint_lies_before_it() -> None:
    given = pages(b"a\xe2\x82", b"\xacb", content_type="text/plain")

    assert walked(text_feed, given) == [("a", "0000", 1), ("€b", "0002", 0)]


def test_a_page_within_a_character_leaves_the_checkpoint_where_it_is() -> None:
    progress = Progress(Checkpoint(START))
    given = pages(b"a\xe2", b"\x82", content_type="text/plain")

    assert list(walk(text_feed(progress), progress, given)) == [("a", "0000", 1)]
    assert progress.checkpoint == Checkpoint(Offset("0000"), 1)


@given(st.text(), st.integers(1, 4))
def test_text_is_whole_wherever_pages_cut_it(text: str, size: int) -> None:
    raw = text.encode()
    cut = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]

    items = walked(text_feed, pages(*cut, content_type="text/plain"))

    assert "".join(item for item, *_ in items) == text


def test_text_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(MalformedResponse, match="not UTF-8"):
        walked(text_feed, pages(b"\xff", content_type="text/plain"))


def test_text_that_ends_within_a_character_is_malformed() -> None:
    feed = text_feed(Progress(Checkpoint(START)))
    feed.put(*pages(b"\xe2", content_type="text/plain"))

    with pytest.raises(MalformedResponse, match="within a UTF-8 character"):
        feed.end()


def events(given: list[Page], mode: Any = "auto") -> list[StreamEvent]:
    return [item for item, *_ in walked(lambda progress: event_feed(progress, mode), given)]


def test_events_have_places_and_the_last_tells_that_the_tail_is_reached() -> None:
    assert events(pages(b"[1,2]", up_to_date=True)) == [
        StreamEvent(1, Checkpoint(Offset("0000"), 1), Offset("0001")),
        StreamEvent(2, Checkpoint(Offset("0001")), Offset("0001"), up_to_date=True),
    ]


def test_the_end_without_data_is_an_event_of_its_own() -> None:
    assert events(pages(b"[1]", b"", up_to_date=True, closed=True))[1:] == [
        StreamEvent(
            None, Checkpoint(Offset("0002")), Offset("0002"), up_to_date=True, closed=True, has_data=False
        )
    ]


def test_the_checkpoint_of_the_follower_is_that_of_the_event_handed_out() -> None:
    progress = Progress(Checkpoint(START))

    assert [
        (event.checkpoint, Checkpoint(Offset(offset), skip))
        for event, offset, skip in walk(event_feed(progress, "auto"), progress, pages(b"[1,2]", b"[3]"))
    ] == [
        (Checkpoint(Offset("0000"), 1),) * 2,
        (Checkpoint(Offset("0001")),) * 2,
        (Checkpoint(Offset("0002")),) * 2,
    ]


@pytest.mark.parametrize(
    ("content_type", "mode", "data"),
    [
        ("application/json", "auto", 1),
        ("text/plain", "auto", "[1]"),
        ("application/octet-stream", "auto", b"[1]"),
        ("application/json", "text", "[1]"),
        ("text/plain", "json", 1),
        ("application/json", "bytes", b"[1]"),
    ],
)
def test_what_the_data_is_follows_from_the_stream_or_from_the_mode(
    content_type: str, mode: str, data: object
) -> None:
    assert [event.data for event in events(pages(b"[1]", content_type=content_type), mode)] == [data]
