"""Reducers that do what they should not: it costs the sender, or the state's form, but never the server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durafold_server.protocol.errors import ActionRefused
from durafold_server.protocol.responses import refused
from durafold_server.reducers.hydration import Hydration, StateRequest
from support.bound import Shop
from support.server_stores import KINDS

pytestmark = pytest.mark.anyio

LARGE = "x" * 200_000
"""So much that the state's size is looked at."""

FINE = {"type": "fine"}


@pytest.fixture(params=KINDS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    shop = Shop(request.param, tmp_path / "data")
    await shop.open("odd/*=support.unruly:unruly")
    await shop.create("odd/a", FINE)
    yield shop
    await shop.aclose()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("exit", "RuntimeError: the reducer raised SystemExit"),
        ("stop", "StopIteration: "),
        ("recurse", "RecursionError: maximum recursion depth exceeded"),
        ("speechless", "Unspeakable"),
    ],
)
async def test_whatever_it_raises_refuses_the_message_and_nothing_else(
    shop: Shop, kind: str, reason: str
) -> None:
    with pytest.raises(ActionRefused) as refusal:
        await shop.append("odd/a", {"type": kind})

    assert str(refusal.value).startswith(reason)
    assert (await shop.append("odd/a", FINE)).added_data
    assert await shop.state("odd/a") == {"count": 2}


async def test_a_reason_that_is_no_valid_text_can_be_answered(shop: Shop) -> None:
    with pytest.raises(ActionRefused) as refusal:
        await shop.append("odd/a", {"type": "reject"})

    assert json.loads(refused(refusal.value).body)["reason"] == "half of an emoji: ?"


@pytest.mark.parametrize("kind", ["contain itself", "unwritable", "half an emoji"])
async def test_a_state_without_json_form_is_judged_by_all_the_same(shop: Shop, kind: str) -> None:
    await shop.append("odd/a", {"type": kind})

    appended = await shop.append("odd/a", {**FINE, "pad": LARGE})

    assert appended.added_data
    assert (await shop.state("odd/a"))["count"] == 3
    with pytest.raises(ActionRefused) as refusal:
        await Hydration(shop.service, shop.gate).answer(StateRequest("odd/a"))
    assert b"no_json_form" in refused(refusal.value).body


@pytest.mark.parametrize("kind", ["contain itself", "unwritable", "half an emoji"])
async def test_an_earlier_state_can_be_had_where_the_newest_has_no_json_form(shop: Shop, kind: str) -> None:
    earlier = await shop.service.head("odd/a")
    await shop.append("odd/a", {"type": kind})
    last = await shop.append("odd/a", FINE)
    hydration = Hydration(shop.service, shop.gate)

    answer = await hydration.answer(StateRequest("odd/a", at=earlier.offset(earlier.tail)))

    assert json.loads(answer.body)["state"] == {"count": 1}
    with pytest.raises(ActionRefused):
        await hydration.answer(StateRequest("odd/a", at=last.stream.offset(last.stream.tail)))
