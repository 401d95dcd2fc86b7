"""Time, ids and chance for reducers: the same on every replica."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from durafold.state.context import Context
from durafold.state.reducer import action_step, reducer, strict_step
from support.logs import Id, Line


@reducer()
def ids(state: list[Any], action: str, ctx: Context) -> list[Any]:
    return [*state, (ctx.uuid(), ctx.random(), ctx.integer(1, 6), ctx.choice("abc"), ctx.now.isoformat())]


def test_two_replicas_get_the_same_answers() -> None:
    message = Line("action", "x", Id("me", 1), ts_ms=1500, seed="k3f9")

    assert action_step(ids)([], message) == action_step(ids)([], message)


def test_the_optimistic_view_gets_the_answers_of_the_log_though_the_id_is_another() -> None:
    shown = Line("action", "x", Id("me", 0), ts_ms=1500, seed="k3f9")
    folded = Line("action", "x", Id("other", 17), ts_ms=1500, seed="k3f9")

    assert action_step(ids)([], shown) == action_step(ids)([], folded)


@pytest.mark.parametrize(
    "other",
    [
        Line("action", "x", Id("me", 1), ts_ms=1500, seed="other"),
        Line("action", "x", Id("me", 2), ts_ms=1500),
        Line("action", "x", ts_ms=1500),
        Line("action", "y", ts_ms=1500),
    ],
)
def test_another_message_gets_other_answers(other: Line) -> None:
    message = Line("action", "x", Id("me", 1), ts_ms=1500, seed="k3f9")

    assert action_step(ids)([], message)[0][0] != action_step(ids)([], other)[0][0]


def test_answers_do_not_depend_on_the_version_of_python() -> None:
    ctx = Context(1500, "k3f9")

    assert (ctx.uuid(), ctx.integer(1, 1000), ctx.now.isoformat()) == (
        "1e43cab8-3aea-411d-9012-2344e246b0a3",
        230,
        "1970-01-01T00:00:01.500000+00:00",
    )


def test_an_id_is_a_uuid_of_version_4() -> None:
    text = Context(0, "any").uuid()

    assert uuid.UUID(text).version == 4
    assert uuid.UUID(text).variant == uuid.RFC_4122
    assert re.fullmatch(r"[0-9a-f-]{36}", text)


def test_numbers_fill_their_range() -> None:
    ctx = Context(0, "dice")

    assert {ctx.integer(1, 6) for _ in range(200)} == {1, 2, 3, 4, 5, 6}
    assert all(0 <= ctx.random() < 1 for _ in range(200))
    with pytest.raises(ValueError, match="no whole number"):
        ctx.integer(2, 1)


def test_a_reducer_with_a_context_is_pure_for_the_strict_step() -> None:
    step = strict_step(action_step(ids))

    assert len(step([], Line("action", "x", Id("me", 1), seed="k3f9"))) == 1
