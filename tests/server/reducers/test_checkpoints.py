"""States that are kept: a restart folds what came since, and trimming a stream loses no state."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durafold_server.protocol.errors import NotRetained, StateUnknown
from durafold_server.protocol.model import StreamState
from durafold_server.reducers.checkpoints import Checkpoints, Folded
from durafold_server.reducers.hydration import Hydration, StateRequest
from durafold_server.reducers.workers import Workers
from support.bound import Shop, receive, take
from support.server_stores import KINDS
from support.stock import Stock
from support.unruly import VALIDATED_IN, WRITTEN
from support.waiting import eventually

pytestmark = pytest.mark.anyio

BULK = [{**receive(40), "note": "x" * 1000}] * 300
"""12,000 pieces in a bit more data than what is folded before a state is kept."""

RETENTION = {"stream_retention_bytes": "1000"}


@pytest.fixture(params=KINDS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    shop = Shop(request.param, tmp_path / "data")
    await shop.open()
    yield shop
    await shop.aclose()


async def kept(shop: Shop, path: str) -> Folded | None:
    """The state that is kept of a stream."""
    stream = await shop.service.head(path)
    workers = Workers(5.0)
    try:
        return await Checkpoints(shop.service.store, workers).newest(stream, shop.gate.reducer_of(path))
    finally:
        workers.close()


async def is_kept(shop: Shop, path: str) -> None:
    """Wait until a state is kept."""
    await eventually(lambda: shop.gate.is_idle)
    assert await kept(shop, path) is not None


async def trimmed(shop: Shop, path: str, **headers: str) -> None:
    """A stream that begins after most of its messages."""
    await shop.create(path, **(headers or RETENTION))
    await shop.append(path, *BULK)
    await shop.append(path, take(100))
    await shop.append(path, *[receive(1)] * 50)
    await shop.service.reap()


async def test_a_short_stream_is_simply_folded_again(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", receive(1))

    assert await kept(shop, "stock/a") is None


async def test_after_a_restart_only_what_came_since_is_folded(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", *BULK)
    await is_kept(shop, "stock/a")
    await shop.append("stock/a", take(5))

    await shop.open()

    assert await shop.state("stock/a") == Stock(count=11_995, taken=5)
    assert shop.gate.counts.folded_bytes == len('{"type": "take", "count": 5},')


async def test_a_second_copy_is_known_after_a_restart(shop: Shop) -> None:
    action = {"type": "action", "payload": take(1), "meta": {"id": "k3f9:1", "v": 1}}
    await shop.create("stock/a")
    client = {"producer_id": "k3f9", "producer_epoch": "0"}
    await shop.append("stock/a", *BULK, action, **client, producer_seq="0")
    await is_kept(shop, "stock/a")
    await shop.open()

    await shop.append("stock/a", action, **client, producer_seq="1")

    assert await shop.state("stock/a") == Stock(count=11_999, taken=1)


async def test_another_version_of_the_reducer_folds_from_the_start(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", *BULK)
    await is_kept(shop, "stock/a")

    await shop.open("stock/*=support.stock:stock_2")

    assert await kept(shop, "stock/a") is None
    assert await shop.state("stock/a") == Stock(count=12_000)


async def test_nothing_is_kept_past_what_could_not_be_folded(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock")
    await shop.create("stock/a", {"type": "break"})
    await shop.open()

    await shop.append("stock/a", *BULK)
    await eventually(lambda: shop.gate.is_idle)

    assert await kept(shop, "stock/a") is None


async def test_the_state_of_a_deleted_stream_is_dropped(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", *BULK)
    await is_kept(shop, "stock/a")

    await shop.service.delete("stock/a")
    await shop.gate.settled()

    assert await shop.service.store.records("state/") == {}


async def test_what_is_kept_of_a_later_stream_is_not_dropped_with_an_earlier_one(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    earlier = await shop.service.head("stock/a")
    await shop.service.delete("stock/a")
    await shop.create("stock/a")
    await shop.append("stock/a", *BULK)
    await is_kept(shop, "stock/a")

    workers = Workers(5.0)
    await Checkpoints(shop.service.store, workers).drop(earlier)

    assert await kept(shop, "stock/a") is not None
    workers.close()


async def test_kept_states_are_read_beside_the_event_loop(shop: Shop) -> None:
    await shop.open("odd/*=support.unruly:named")
    await shop.create("odd/a")
    await shop.append("odd/a", {"name": "x", "note": "x" * 300_000})
    await is_kept(shop, "odd/a")
    await shop.open("odd/*=support.unruly:named")
    VALIDATED_IN.clear()

    await shop.state("odd/a")

    assert threading.main_thread() not in VALIDATED_IN
    assert VALIDATED_IN


async def test_what_is_kept_of_another_stream_of_this_path_is_of_no_use(shop: Shop) -> None:
    await shop.create("stock/a")
    await shop.append("stock/a", *BULK)
    await is_kept(shop, "stock/a")
    records = await shop.service.store.records("state/")
    await shop.service.delete("stock/a")
    await shop.gate.settled()
    await shop.create("stock/a", receive(1))

    await shop.service.store.put_record("state/stock/a\n", records["state/stock/a\n"])
    await shop.open()

    assert await shop.state("stock/a") == Stock(count=1)


@pytest.mark.parametrize("record", [b"", b"[]", b'{"stream":1,"at":1,"snapshot":{}}'])
async def test_a_record_that_says_nothing_is_passed_over(shop: Shop, record: bytes) -> None:
    await shop.create("stock/a", receive(3))

    await shop.service.store.put_record("state/stock/a\n", record)

    assert await shop.state("stock/a") == Stock(count=3)


async def test_a_trimmed_stream_keeps_its_state(shop: Shop) -> None:
    await trimmed(shop, "stock/a")

    assert (await shop.service.head("stock/a")).start > 0
    assert await shop.state("stock/a") == Stock(count=11_950, taken=100)
    assert not await shop.is_accepted("stock/a", take(11_951))
    assert await shop.is_accepted("stock/a", take(11_950))


async def test_a_trimmed_stream_has_its_state_after_a_restart(shop: Shop) -> None:
    await trimmed(shop, "stock/a")
    await shop.append("stock/a", take(11_000))

    await shop.open()

    assert await shop.state("stock/a") == Stock(count=950, taken=11_100)


async def test_a_stream_is_not_trimmed_where_its_state_cannot_be_kept(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock")
    await shop.create("stock/a", {"type": "break"}, **RETENTION)
    await shop.open()
    await shop.append("stock/a", *BULK)
    await shop.append("stock/a", *[receive(1)] * 50)

    await shop.service.reap()

    assert (await shop.service.head("stock/a")).start == 0
    assert await shop.state("stock/a") == Stock(count=12_050)


async def test_nobody_guesses_the_state_of_a_stream_that_was_trimmed_before(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock")
    await trimmed(shop, "stock/a")
    await shop.open()

    with pytest.raises(StateUnknown, match="cannot be folded"):
        await shop.append("stock/a", receive(1))
    with pytest.raises(StateUnknown):
        await shop.state("stock/a")


async def test_a_fork_of_a_trimmed_stream_begins_with_the_state_that_is_kept(shop: Shop) -> None:
    await trimmed(shop, "stock/a")

    await shop.create("stock/b", take(50), stream_forked_from="/v1/stream/stock/a")

    assert await shop.state("stock/b") == Stock(count=11_900, taken=150)


async def at(shop: Shop, path: str, offset: str) -> Any:
    """The answer to a request for the state at an offset."""
    return await Hydration(shop.service, shop.gate).answer(StateRequest(path, offset))


async def test_of_a_trimmed_stream_states_can_be_had_from_the_kept_one_on(shop: Shop) -> None:
    await trimmed(shop, "stock/a")
    state = await kept(shop, "stock/a")
    assert state is not None
    await shop.append("stock/a", receive(1))
    offset = (await shop.append("stock/a", receive(1))).stream
    await shop.append("stock/a", receive(1))
    stream = await shop.service.head("stock/a")

    reply = await at(shop, "stock/a", offset.offset(offset.tail))

    assert b'"count":11952' in reply.body
    with pytest.raises(NotRetained):
        await at(shop, "stock/a", stream.offset(stream.start))


async def test_a_fork_of_a_trimmed_stream_keeps_its_state_when_its_source_moves_on(shop: Shop) -> None:
    await trimmed(shop, "stock/a")
    before = await shop.state("stock/a")
    await shop.create("stock/b", stream_forked_from="/v1/stream/stock/a")
    await shop.create("stock/c", take(50), stream_forked_from="/v1/stream/stock/b")

    await shop.append("stock/a", *[receive(1)] * 200)
    await shop.service.reap()
    await shop.open()

    assert await shop.state("stock/b") == before
    assert await shop.state("stock/c") == Stock(count=before.count - 50, taken=before.taken + 50)


async def test_a_fork_of_a_trimmed_stream_keeps_its_state_when_its_source_is_deleted(shop: Shop) -> None:
    await trimmed(shop, "stock/a")
    before = await shop.state("stock/a")
    await shop.create("stock/b", stream_forked_from="/v1/stream/stock/a")

    await shop.service.delete("stock/a")
    await shop.gate.settled()

    assert await shop.state("stock/b") == before


async def test_forking_again_leaves_the_state_of_the_fork_alone(shop: Shop) -> None:
    await trimmed(shop, "stock/a")
    place = {"stream_forked_from": "/v1/stream/stock/a", **RETENTION}
    await shop.create("stock/b", **place)
    await shop.append("stock/b", *[receive(1)] * 200)
    await shop.service.reap()
    before = await shop.state("stock/b")

    again = await shop.create("stock/b", **place)

    await shop.open()
    assert not again.new
    assert await shop.state("stock/b") == before


async def test_a_stream_that_is_trimmed_just_then_gives_no_wrong_state(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.create("stock/a", **RETENTION)
    await shop.append("stock/a", *BULK)
    wanted = await shop.append("stock/a", take(100))
    await shop.append("stock/a", *[receive(1)] * 50)
    state = shop.gate.state

    async def and_trim(path: str) -> tuple[StreamState, Folded]:
        found = await state(path)
        await shop.service.reap()
        return found

    monkeypatch.setattr(shop.gate, "state", and_trim)
    at = wanted.stream.offset(wanted.stream.tail)

    with pytest.raises(NotRetained):
        await Hydration(shop.service, shop.gate).answer(StateRequest("stock/a", at=at))

    assert (await shop.service.head("stock/a")).start


async def test_a_state_is_written_once_for_all_who_ask_at_a_time(shop: Shop) -> None:
    await shop.open("odd/*=support.unruly:named")
    await shop.create("odd/a", {"name": "popular"})
    hydration = Hydration(shop.service, shop.gate)
    WRITTEN.clear()
    await hydration.answer(StateRequest("odd/a"))
    times_for_one = len(WRITTEN)
    await shop.append("odd/a", {"name": "popular"})
    WRITTEN.clear()

    answers = await asyncio.gather(*(hydration.answer(StateRequest("odd/a")) for _ in range(20)))

    assert len(WRITTEN) == times_for_one > 0
    assert len({answer.body for answer in answers}) == 1
