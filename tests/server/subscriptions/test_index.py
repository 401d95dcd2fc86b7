"""Which subscriptions care for a path."""

from __future__ import annotations

import pytest

from durafold_server.subscriptions import index as index_module
from durafold_server.subscriptions.index import Index
from durafold_server.subscriptions.patterns import Pattern


def test_explicit_paths_and_patterns_are_both_found() -> None:
    index = Index()
    index.add_path("events/a", "explicit")
    index.add_pattern(Pattern("events/*"), "one")
    index.add_pattern(Pattern("events/*"), "two")
    index.add_pattern(Pattern("other/*"), "other")

    assert sorted(index.interested("events/a")) == ["explicit", "one", "two"]
    assert sorted(index.interested("events/b")) == ["one", "two"]
    assert sorted(index.interested("none")) == []


def test_what_was_removed_is_not_found_though_it_was_asked_for_before() -> None:
    index = Index()
    index.add_path("events/a", "sub")
    index.add_pattern(Pattern("events/*"), "sub")
    assert list(index.interested("events/a")) == ["sub", "sub"]

    index.remove_path("events/a", "sub")
    assert list(index.interested("events/a")) == ["sub"]

    index.remove_pattern(Pattern("events/*"), "sub")
    assert list(index.interested("events/a")) == []


def test_what_was_added_is_found_though_it_was_asked_for_before() -> None:
    index = Index()
    assert list(index.interested("events/a")) == []

    index.add_pattern(Pattern("events/*"), "sub")

    assert list(index.interested("events/a")) == ["sub"]


def test_removing_what_is_not_there_is_fine() -> None:
    index = Index()

    index.remove_path("events/a", "sub")
    index.remove_pattern(Pattern("events/*"), "sub")

    assert list(index.interested("events/a")) == []


def test_what_is_remembered_is_bounded_and_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_MAX_REMEMBERED", 3)
    index = Index()
    index.add_pattern(Pattern("events/*"), "sub")

    found = [list(index.interested(f"events/{number}")) for number in range(10)]

    assert found == [["sub"]] * 10
    assert len(index._remembered) <= 3
