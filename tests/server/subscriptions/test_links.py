"""What a subscription is linked to, how far it is acknowledged, and what is pending (PROTOCOL §6.1)."""

from __future__ import annotations

import pytest

from durafold_server.protocol.model import Fork, Mode, Segment, StreamState
from durafold_server.protocol.offsets import format_offset
from durafold_server.subscriptions.errors import InvalidAck, InvalidSubscription
from durafold_server.subscriptions.links import MAX_EXPLICIT, Links
from durafold_server.subscriptions.patterns import Pattern
from durafold_server.subscriptions.values import Cursor, Target


def stream(path: str = "events/a", *, stream_id: int = 100, tail: int = 0, start: int = 0) -> StreamState:
    return StreamState(stream_id, path, "a/b", Mode.BINARY, tail=tail, start=start)


def pattern_links(
    text: str = "events/*", *, wake_stream: str | None = None, backfill_until_us: int = 0
) -> Links:
    return Links(Pattern(text), wake_stream=wake_stream, backfill_until_us=backfill_until_us)


def pending(links: Links) -> list[str]:
    return [target.path for target in links.pending(10)]


def cursor(links: Links, path: str = "events/a") -> Cursor | None:
    link = links.get(path)
    assert link is not None
    return link.cursor


def test_a_new_stream_that_matches_is_pending_from_its_beginning() -> None:
    links = pattern_links()

    links.see(stream(tail=5))

    assert links.pending(10) == (Target("events/a", 100, 5),)


def test_a_stream_older_than_the_subscription_is_linked_at_its_tail() -> None:
    links = pattern_links(backfill_until_us=100)

    links.see(stream(stream_id=100, tail=5))
    links.see(stream("events/b", stream_id=101, tail=5))

    assert pending(links) == ["events/b"]


def test_data_appended_to_an_older_stream_afterwards_is_pending() -> None:
    links = pattern_links(backfill_until_us=100)
    links.see(stream(tail=5))

    links.see(stream(tail=6))

    assert pending(links) == ["events/a"]


def test_a_stream_that_does_not_match_is_none_of_its_business() -> None:
    links = pattern_links()

    links.see(stream("other/a", tail=5))

    assert len(links) == 0


def test_the_pattern_does_not_link_the_subscription_s_own_wake_stream() -> None:
    links = pattern_links("**", wake_stream="wake/pool")

    links.see(stream("wake/pool", tail=5))

    assert len(links) == 0


def test_what_a_new_fork_inherits_is_not_pending() -> None:
    links = pattern_links()
    fork = Fork("source", 50, None, 0, 5, (Segment(50, 5),))

    links.see(StreamState(100, "events/a", "a/b", Mode.BINARY, tail=5, fork=fork))
    assert not links.has_pending

    links.see(StreamState(100, "events/a", "a/b", Mode.BINARY, tail=9, fork=fork))
    assert cursor(links) == Cursor(100, 5)
    assert links.pending(10) == (Target("events/a", 100, 9),)


def test_data_that_is_no_longer_retained_is_not_waited_for() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    links.see(stream(tail=9, start=7))

    assert cursor(links) == Cursor(100, 7)


def test_what_is_appended_after_a_repair_cut_off_acknowledged_data_is_pending() -> None:
    links = pattern_links()
    links.restore("events/a", Cursor(100, 9), explicit=False)
    links.see(stream(tail=4))

    links.see(stream(tail=6))

    assert links.pending(10) == (Target("events/a", 100, 6),)


def test_a_stream_created_anew_is_pending_from_its_beginning() -> None:
    links = pattern_links()
    links.see(stream(tail=5))
    acknowledge(links, "events/a", 5)

    links.see(stream(stream_id=200, tail=3))

    assert cursor(links) == Cursor(200, 0)
    assert links.pending(10) == (Target("events/a", 200, 3),)


def test_old_news_of_a_stream_created_anew_changes_nothing() -> None:
    links = pattern_links()
    links.see(stream(stream_id=200, tail=3))

    links.see(stream(stream_id=100, tail=50))
    links.lose("events/a", 100)

    assert links.pending(10) == (Target("events/a", 200, 3),)


def test_old_news_of_a_tail_does_not_take_back_newer() -> None:
    links = pattern_links()
    links.see(stream(tail=9))

    links.see(stream(tail=5))

    assert links.pending(10) == (Target("events/a", 100, 9),)


def test_the_link_of_a_deleted_stream_goes_with_it() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    links.lose("events/a", 100)

    assert len(links) == 0
    assert not links.has_pending


def test_an_explicit_link_waits_for_the_successor_of_a_deleted_stream() -> None:
    links = Links(None)
    links.put(links.with_explicit("manual/a", stream("manual/a", tail=5)))

    links.lose("manual/a", 100)
    assert cursor(links, "manual/a") is None

    links.see(stream("manual/a", stream_id=200, tail=3))
    assert links.pending(10) == (Target("manual/a", 200, 3),)


def test_an_explicit_link_begins_at_the_tail() -> None:
    links = Links(None)

    links.put(links.with_explicit("manual/a", stream("manual/a", tail=5)))

    assert cursor(links, "manual/a") == Cursor(100, 5)
    assert not links.has_pending


def test_an_explicit_link_to_a_stream_that_does_not_exist_begins_where_it_will() -> None:
    links = Links(None)
    links.put(links.with_explicit("manual/a", None))

    links.see(stream("manual/a", tail=5))

    assert links.pending(10) == (Target("manual/a", 100, 5),)


def test_linking_again_changes_no_cursor() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    links.put(links.with_explicit("events/a", stream(tail=5)))

    link = links.get("events/a")
    assert link is not None
    assert (link.link_type, link.explicit, link.glob) == ("explicit", True, True)
    assert links.has_pending


def test_without_its_explicit_link_a_stream_that_matches_stays_linked() -> None:
    links = pattern_links()
    links.put(links.with_explicit("events/a", stream(tail=5)))

    changed = links.without_explicit("events/a")

    assert changed is not None
    links.put(changed)
    link = links.get("events/a")
    assert link is not None
    assert (link.link_type, link.cursor) == ("glob", Cursor(100, 5))
    assert links.without_explicit("events/a") is None


def test_what_is_seen_while_a_link_is_written_is_not_lost() -> None:
    links = Links(None)
    links.put(links.with_explicit("manual/a", stream("manual/a", tail=5)))
    again = links.with_explicit("manual/a", stream("manual/a", tail=5))

    links.see(stream("manual/a", tail=9))
    links.put(again)

    assert links.pending(10) == (Target("manual/a", 100, 9),)


def test_there_is_room_for_so_many_explicit_links_and_no_more() -> None:
    links = Links(None)
    paths = [f"s/{number}" for number in range(MAX_EXPLICIT)]
    links.check_room(paths)
    for path in paths:
        links.put(links.with_explicit(path, None))

    links.check_room(paths)
    with pytest.raises(InvalidSubscription, match="pattern"):
        links.check_room(["one/more"])

    links.drop("s/0")
    links.check_room(["one/more"])


def test_an_acknowledged_stream_is_no_longer_pending() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    acknowledge(links, "events/a", 5)

    assert not links.has_pending
    assert cursor(links) == Cursor(100, 5)


def test_a_partly_acknowledged_stream_stays_pending() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    acknowledge(links, "events/a", 3)

    assert links.pending(10) == (Target("events/a", 100, 5),)


def test_the_same_acknowledgement_twice_is_fine() -> None:
    links = pattern_links()
    links.see(stream(tail=5))

    acknowledge(links, "events/a", 3)
    acknowledge(links, "events/a", 3)

    assert cursor(links) == Cursor(100, 3)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(format_offset(100, 2), "before", id="back"),
        pytest.param(format_offset(100, 6), "beyond", id="beyond the tail"),
        pytest.param(format_offset(99, 4), "no offset of", id="of another stream"),
        pytest.param("-1", "no offset of", id="the beginning"),
        pytest.param("now", "no offset of", id="the tail by name"),
        pytest.param("", "no offset of", id="empty"),
    ],
)
def test_an_offset_that_cannot_be_acknowledged_is_refused(token: str, reason: str) -> None:
    links = pattern_links()
    links.see(stream(tail=5))
    acknowledge(links, "events/a", 3)

    with pytest.raises(InvalidAck, match=reason):
        links.acknowledged({"events/a": token})


def test_a_stream_that_is_not_linked_cannot_be_acknowledged() -> None:
    with pytest.raises(InvalidAck, match="not linked"):
        pattern_links().acknowledged({"events/a": format_offset(100, 0)})


def test_an_acknowledgement_of_a_stream_that_went_meanwhile_counts_for_nothing() -> None:
    links = pattern_links()
    links.see(stream(tail=5))
    acknowledged = links.acknowledged({"events/a": format_offset(100, 5)})

    links.lose("events/a", 100)
    links.advance(acknowledged[0])
    assert len(links) == 0

    links.see(stream(stream_id=200, tail=5))
    links.advance(acknowledged[0])
    assert links.pending(10) == (Target("events/a", 200, 5),)


def test_a_completed_snapshot_acknowledges_what_it_names_and_no_more() -> None:
    links = pattern_links()
    links.see(stream(tail=5))
    links.see(stream("events/b", tail=5))
    snapshot = (Target("events/a", 100, 5),)
    links.see(stream(tail=9))

    complete(links, snapshot)

    assert cursor(links) == Cursor(100, 5)
    assert links.pending(10) == (Target("events/a", 100, 9), Target("events/b", 100, 5))


def test_a_completed_snapshot_takes_no_cursor_back() -> None:
    links = pattern_links()
    links.see(stream(tail=9))
    acknowledge(links, "events/a", 7)

    assert links.completed((Target("events/a", 100, 5), Target("events/a", 100, 7))) == []


def test_an_acknowledgement_that_was_overtaken_takes_no_cursor_back() -> None:
    links = pattern_links()
    links.see(stream(tail=9))
    [older] = links.acknowledged({"events/a": format_offset(100, 5)})
    acknowledge(links, "events/a", 7)

    links.advance(older)

    assert cursor(links) == Cursor(100, 7)


def test_a_glob_link_whose_stream_went_while_it_was_written_stays_away() -> None:
    links = pattern_links()
    links.see(stream(tail=5))
    link = links.get("events/a")
    assert link is not None

    links.lose("events/a", 100)
    links.put(link)

    assert len(links) == 0


def test_an_explicit_link_of_no_stream_that_becomes_glob_goes() -> None:
    links = pattern_links()
    links.put(links.with_explicit("events/a", None))
    link = links.without_explicit("events/a")
    assert link is not None

    links.put(link)

    assert len(links) == 0


def test_a_completed_snapshot_leaves_a_stream_created_anew_alone() -> None:
    links = pattern_links()
    links.see(stream(stream_id=200, tail=9))

    complete(links, (Target("events/a", 100, 5), Target("events/gone", 100, 5)))

    assert cursor(links) == Cursor(200, 0)


def test_streams_are_pending_in_order_of_their_waiting() -> None:
    links = pattern_links()
    links.see(stream("events/b", tail=1))
    links.see(stream("events/a", tail=1))
    links.see(stream("events/b", tail=2))

    assert pending(links) == ["events/b", "events/a"]
    assert [target.path for target in links.pending(1)] == ["events/b"]


def test_links_come_with_pending_ones_first() -> None:
    links = pattern_links()
    links.see(stream("events/a"))
    links.see(stream("events/b"))
    links.see(stream("events/c", tail=1))

    assert [link.path for link in links.in_order(10)] == ["events/c", "events/a", "events/b"]
    assert [link.path for link in links.in_order(2)] == ["events/c", "events/a"]


def test_a_restored_link_goes_on_at_its_cursor() -> None:
    links = pattern_links()

    links.restore("events/a", Cursor(100, 5), explicit=False)
    assert not links.has_pending

    links.see(stream(tail=7))
    assert links.pending(10) == (Target("events/a", 100, 7),)
    assert cursor(links) == Cursor(100, 5)


def acknowledge(links: Links, path: str, position: int) -> None:
    found = cursor(links, path)
    assert found is not None
    for link in links.acknowledged({path: format_offset(found.stream_id, position)}):
        links.advance(link)


def complete(links: Links, snapshot: tuple[Target, ...]) -> None:
    for link in links.completed(snapshot):
        links.advance(link)
