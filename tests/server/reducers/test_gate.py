"""Appends to bound streams, on every store: what is accepted, what is refused, and what the state is then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durafold.state.reducer import replay
from durafold_server.protocol.decide import Appended
from durafold_server.protocol.errors import (
    ActionRefused,
    ContentTypeMismatch,
    InvalidJson,
    NotFound,
    ProducerGap,
    StaleEpoch,
    StorageUnavailable,
    StreamIsClosed,
    StreamSeqRegressed,
)
from durafold_server.store.base import StoreFailure
from support.bound import Shop, receive, take
from support.server_requests import JSON, TEXT, append_request, create_request
from support.server_stores import KINDS, fail_commits, let_commits_pass
from support.stock import Receive, Stock, Take, stock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    shop = Shop(request.param, tmp_path / "data")
    await shop.open()
    yield shop
    await shop.aclose()


def replayed(log: list[dict[str, Any]]) -> Stock:
    """What every replica makes of a log."""
    kinds = {"receive": Receive, "take": Take}
    return replay(stock, Stock(), [kinds[message["type"]](**message) for message in log])


PRODUCER = {"producer_id": "p", "producer_epoch": "0"}


async def test_an_accepted_action_is_in_the_state_when_its_append_returns(shop: Shop) -> None:
    await shop.create("stock/a")

    appended = await shop.append("stock/a", receive(3), take())

    folded = await shop.folded("stock/a")
    assert folded.confirmed.state == Stock(count=2, taken=1)
    assert folded.at == appended.stream.tail
    assert folded.confirmed.offset == appended.stream.offset(appended.stream.tail)


async def test_a_refused_action_leaves_no_trace(shop: Shop) -> None:
    created = await shop.create("stock/a", receive(1))

    with pytest.raises(ActionRefused, match="only 1 left"):
        await shop.append("stock/a", take(2), **PRODUCER, producer_seq="0")

    assert (await shop.service.head("stock/a")).tail == created.stream.tail
    accepted = await shop.append("stock/a", take(1), **PRODUCER, producer_seq="0")
    assert accepted.added_data


async def test_one_bad_message_refuses_its_whole_append(shop: Shop) -> None:
    await shop.create("stock/a", receive(2))

    with pytest.raises(ActionRefused):
        await shop.append("stock/a", take(1), {"type": "break"}, take(1))

    assert await shop.log("stock/a") == [receive(2)]
    assert await shop.state("stock/a") == Stock(count=2)


async def test_streams_that_are_not_bound_take_anything(shop: Shop) -> None:
    await shop.create("elsewhere", take(5))

    appended = await shop.append("elsewhere", {"type": "break"})

    assert appended.added_data


async def test_a_repetition_is_a_duplicate_even_if_the_state_would_refuse_it_now(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    await shop.append("stock/a", take(1), **PRODUCER, producer_seq="0")

    again = await shop.append("stock/a", take(1), **PRODUCER, producer_seq="0")

    assert (again.duplicate, again.added_data) == (True, False)
    assert await shop.state("stock/a") == Stock(count=0, taken=1)


async def test_duplicates_among_other_appends_count_once(shop: Shop) -> None:
    await shop.create("stock/a", receive(30))
    await shop.append("stock/a", take(1), **PRODUCER, producer_seq="0")

    repetition = [shop.append("stock/a", take(1), **PRODUCER, producer_seq="0") for _ in range(10)]
    others = [shop.append("stock/a", take(1)) for _ in range(10)]
    outcomes = await asyncio.gather(*(one for pair in zip(repetition, others, strict=True) for one in pair))

    assert [outcome.added_data for outcome in outcomes] == [False, True] * 10
    assert await shop.state("stock/a") == Stock(count=19, taken=11)


async def test_the_rules_of_the_protocol_come_first(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    await shop.append("stock/a", receive(1), **PRODUCER, producer_seq="0", stream_seq="b")

    with pytest.raises(ProducerGap):
        await shop.append("stock/a", take(9), **PRODUCER, producer_seq="2")
    with pytest.raises(StreamSeqRegressed):
        await shop.append("stock/a", take(9), stream_seq="a")
    with pytest.raises(ContentTypeMismatch):
        await shop.append("stock/a", take(9), content_type=TEXT)
    with pytest.raises(InvalidJson):
        await shop.service.append(append_request("stock/a", b"{", content_type=JSON))
    with pytest.raises(NotFound):
        await shop.append("stock/nowhere", take(9))


async def test_an_epoch_that_is_over_is_told_before_the_verdict(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))
    await shop.append("stock/a", take(1), producer_id="p", producer_epoch="1", producer_seq="0")

    with pytest.raises(StaleEpoch):
        await shop.append("stock/a", take(9), **PRODUCER, producer_seq="0")


async def test_a_verdict_does_not_outlast_a_refusal_by_the_protocol(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))

    outcomes = await asyncio.gather(
        shop.append("stock/a", take(1), **PRODUCER, producer_seq="7"),
        shop.append("stock/a", take(1)),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], ProducerGap)
    assert await shop.state("stock/a") == Stock(count=0, taken=1)


async def test_a_last_message_is_judged_and_a_bare_close_is_not(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))

    with pytest.raises(ActionRefused):
        await shop.append("stock/a", take(2), stream_closed="true")
    open_still = await shop.service.head("stock/a")
    await shop.service.append(append_request("stock/a", b"", stream_closed="true"))

    assert not open_still.closed
    with pytest.raises(StreamIsClosed):
        await shop.append("stock/a", take(1))


async def test_what_a_stream_begins_with_is_judged(shop: Shop) -> None:
    with pytest.raises(ActionRefused):
        await shop.create("stock/a", take(1))
    with pytest.raises(NotFound):
        await shop.service.head("stock/a")

    await shop.create("shops/opening", take(100))

    assert await shop.state("shops/opening") == Stock(count=0, taken=100)


async def test_a_bound_stream_is_created_as_json(shop: Shop) -> None:
    with pytest.raises(ActionRefused, match="must be application/json"):
        await shop.service.create(create_request("stock/a", b"", content_type=TEXT))


async def test_creating_a_stream_again_is_not_judged(shop: Shop) -> None:
    await shop.create("stock/a", receive(1))

    again = await shop.create("stock/a", take(9))

    assert not again.new


async def test_what_a_fork_begins_with_is_judged_where_it_branches_off(shop: Shop) -> None:
    created = await shop.create("stock/a", receive(5))
    await shop.append("stock/a", take(5))
    place = {
        "stream_forked_from": "/v1/stream/stock/a",
        "stream_fork_offset": created.stream.offset(created.stream.tail),
    }

    with pytest.raises(ActionRefused, match="only 5 left"):
        await shop.create("stock/b", take(6), **place)
    await shop.create("stock/b", take(4), **place)

    assert await shop.state("stock/b") == Stock(count=1, taken=4)
    assert await shop.state("stock/a") == Stock(count=0, taken=5)


async def test_of_many_who_want_the_last_ones_as_many_get_one_as_there_are(shop: Shop) -> None:
    await shop.create("stock/a", receive(40))

    accepted = await asyncio.gather(*(shop.is_accepted("stock/a", take(1)) for _ in range(100)))

    log = await shop.log("stock/a")
    assert sum(accepted) == 40
    assert log == [receive(40), *[take(1)] * 40]
    assert await shop.state("stock/a") == replayed(log) == Stock(count=0, taken=40)


async def test_each_guard_sees_what_the_action_before_it_left(shop: Shop) -> None:
    await shop.create("stock/a")

    outcomes = await asyncio.gather(
        *(shop.is_accepted("stock/a", receive(1) if index % 2 else take(1)) for index in range(100))
    )

    log = await shop.log("stock/a")
    assert sum(outcomes) == len(log) == 99
    assert await shop.state("stock/a") == replayed(log) == Stock(count=1, taken=49)


async def test_a_stream_that_was_deleted_begins_anew(shop: Shop) -> None:
    await shop.create("stock/a", receive(5))
    await shop.service.delete("stock/a")
    with pytest.raises(NotFound):
        await shop.state("stock/a")

    await shop.create("stock/a")

    assert await shop.state("stock/a") == Stock()
    assert not await shop.is_accepted("stock/a", take(1))


async def test_a_stream_that_was_made_anew_is_judged_by_its_own_state(shop: Shop) -> None:
    await shop.create("stock/a", receive(5))
    await shop.append("stock/a", take(1))
    await shop.service.delete("stock/a")
    await shop.create("stock/a", receive(1))

    assert not await shop.is_accepted("stock/a", take(2))
    assert await shop.is_accepted("stock/a", take(1))


async def test_a_stream_of_another_type_that_was_there_before_takes_nothing(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock")
    await shop.service.create(create_request("stock/a", b"", content_type=TEXT))
    await shop.open()

    with pytest.raises(ActionRefused, match="must be application/json"):
        await shop.service.append(append_request("stock/a", b"text", content_type=TEXT))
    with pytest.raises(NotFound):
        await shop.state("stock/a")


async def test_what_was_in_the_log_before_is_passed_over_as_every_replica_does(shop: Shop) -> None:
    await shop.open("elsewhere/*=support.stock:stock")
    await shop.create("stock/a", receive(2), {"type": "break"}, take(5), {"type": "novelty"}, take(1))
    await shop.open()

    folded = await shop.folded("stock/a")

    assert folded.confirmed.state == Stock(count=1, taken=1)
    assert folded.confirmed.fault_count == 2
    assert await shop.is_accepted("stock/a", take(1))
    assert not await shop.is_accepted("stock/a", take(1))


async def test_states_are_forgotten_when_there_are_too_many_and_found_again(shop: Shop) -> None:
    await shop.open(folded_states_bytes=20_000)
    names = [f"stock/{number}" for number in range(100)]
    await asyncio.gather(*(shop.create(name, receive(number)) for number, name in enumerate(names)))

    taken = [await shop.is_accepted(name, take(50)) for name in names]

    assert taken == [False] * 50 + [True] * 50
    assert len(shop.gate) < 70
    assert await shop.state("stock/60") == Stock(count=10, taken=50)


async def test_a_restart_finds_the_state(shop: Shop) -> None:
    await shop.create("stock/a", receive(5))
    await shop.append("stock/a", take(2))

    await shop.open()

    assert await shop.state("stock/a") == Stock(count=3, taken=2)


async def test_accepted_and_refused_are_counted(shop: Shop) -> None:
    await shop.create("stock/a", receive(1), receive(1))
    await shop.append("stock/a", take(2))
    await shop.is_accepted("stock/a", take(1))
    await shop.is_accepted("stock/a", {"type": "break"})

    counts = shop.gate.counts
    assert counts.accepted == 3
    assert counts.refused == {"rejected": 1, "poison": 1}
    assert counts.judge_seconds.count == 3


async def test_a_commit_that_fails_takes_its_states_back(tmp_path: Path) -> None:
    shop = Shop("sqlite", tmp_path / "data")
    await shop.open()
    await shop.create("stock/a", receive(5))
    await fail_commits(shop.sqlite)

    failed = await asyncio.gather(
        *(shop.append("stock/a", take(1)) for _ in range(5)), return_exceptions=True
    )
    await let_commits_pass(shop.sqlite)

    assert all(isinstance(outcome, StoreFailure) for outcome in failed)
    assert await shop.state("stock/a") == Stock(count=5)
    assert not await shop.is_accepted("stock/a", take(6))
    assert await shop.is_accepted("stock/a", take(5))
    await shop.aclose()


async def test_a_refusal_that_saw_what_was_not_written_is_no_refusal(tmp_path: Path) -> None:
    shop = Shop("sqlite", tmp_path / "data")
    await shop.open()
    await shop.create("stock/a", receive(5))
    await fail_commits(shop.sqlite)

    outcomes = await asyncio.gather(
        shop.append("stock/a", take(5)), shop.append("stock/a", take(5)), return_exceptions=True
    )
    await let_commits_pass(shop.sqlite)

    assert all(isinstance(outcome, StoreFailure) for outcome in outcomes)
    assert await shop.is_accepted("stock/a", take(5))
    await shop.aclose()


async def test_a_server_ends_while_streams_are_used_for_the_first_time(shop: Shop) -> None:
    names = [f"stock/{number}" for number in range(40)]
    await asyncio.gather(*(shop.create(name, receive(9)) for name in names))
    begun = [asyncio.ensure_future(shop.append(name, take(1))) for name in names[:20]]
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(shop.gate.aclose())
    await asyncio.sleep(0)
    late = [asyncio.ensure_future(shop.append(name, take(1))) for name in names[20:]]

    await ending

    outcomes = await asyncio.gather(*begun, *late, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {Appended, StorageUnavailable}
    assert [type(outcome) for outcome in outcomes[20:]] == [StorageUnavailable] * 20


async def test_a_stream_that_is_written_all_the_time_can_be_forked(shop: Shop) -> None:
    await shop.create("stock/a", receive(5))
    is_over = False

    async def write_on() -> None:
        while not is_over:
            await shop.append("stock/a", receive(1))

    writers = [asyncio.ensure_future(write_on()) for _ in range(8)]
    source = {"stream_forked_from": "/v1/stream/stock/a"}

    empty = await asyncio.wait_for(shop.create("stock/b", **source), 30)
    begun = await asyncio.wait_for(shop.create("stock/c", take(3), **source), 30)

    is_over = True
    await asyncio.gather(*writers)
    assert empty.new
    assert begun.new
    assert (await shop.state("stock/c")).taken == 3
