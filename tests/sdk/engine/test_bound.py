"""Streams whose actions the server judges before it takes them: what clients notice of that, and what not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.engine import Dispatch, ServerReducer
from durafold.errors import ActionRejected, StateError, Unprocessable
from durafold.provider import Provider
from support.proxy import Cut, Delay, FaultProxy, Ghost, LoseReply, Refuse, some_of
from support.server import ServerProcess
from support.stock import Receive, Stock, StockAction, Take, stock
from support.waiting import eventually

pytestmark = pytest.mark.anyio

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))


@pytest.fixture(scope="module")
def shop() -> Iterator[ServerProcess]:
    """A server that binds `stock/**` to the stock's reducer; never stop it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        with ServerProcess(options=["--reducers", "support.stock"]) as process:
            yield process


@pytest.fixture(scope="module")
def guarded_shop() -> Iterator[ServerProcess]:
    """The same, but it knows whom it serves: Ada, whose token is `a`, and Bob, whose token is `b`."""
    options = ["--reducers", "support.stock", "--token", "ada@a=read,write", "--token", "bob@b=read,write"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        with ServerProcess(options=options) as process:
            yield process


@pytest.fixture
def stock_key(key: str) -> str:
    return f"stock/{key}"


def careless(state: Stock, action: StockAction) -> Stock:
    """A client's idea of the stock: it knows of no limit, as a client that is a moment behind does not."""
    count = action.count if isinstance(action, Take) else 0
    more = action.count if isinstance(action, Receive) else 0
    return Stock(count=state.count + more - count, taken=state.taken + count)


async def log_of(server: ServerProcess, key: str) -> list[Any]:
    """The payloads in a stream."""
    messages = await DurableStream(f"{server.url}/{key}").read_json()
    return [message["payload"] for message in messages]


async def outcome_of(dispatch: Dispatch[Stock]) -> str:
    """What became of an action: `confirmed`, or why it was rejected."""
    try:
        await dispatch
    except ActionRejected as rejection:
        return rejection.message
    return "confirmed"


async def test_an_action_that_the_server_refuses_is_taken_back_with_its_reason(
    shop: ServerProcess, stock_key: str
) -> None:
    async with Provider(shop.url) as party:
        stocked = party.server_reducer(careless, Stock(), stock_key)
        await stocked.dispatch(Receive(count=3))

        refused = stocked.dispatch(Take(count=4))
        shown = stocked.value
        with pytest.raises(ActionRejected, match="only 3 left") as raised:
            await refused

        assert shown == Stock(count=-1, taken=4)
        assert stocked.value == stocked.confirmed == Stock(count=3)
        assert isinstance(raised.value.__cause__, Unprocessable)
        assert raised.value.__cause__.verdict == "rejected"
        assert refused.stage == "failed"


async def test_a_refused_action_is_never_shown_again(shop: ServerProcess, stock_key: str) -> None:
    seen: list[Stock] = []
    async with Provider(shop.url) as party:
        stocked = party.server_reducer(careless, Stock(), stock_key)
        await stocked.dispatch(Receive(count=1))
        with pytest.raises(ActionRejected):
            await stocked.dispatch(Take(count=9))
        stocked.subscribe(lambda: seen.append(stocked.value))

        await stocked.dispatch(Take(count=1))
        await stocked.dispatch(Receive(count=5))

    assert seen
    assert all(state.count >= 0 for state in seen)


async def test_bad_actions_among_good_ones_take_none_of_them_along(
    shop: ServerProcess, stock_key: str
) -> None:
    async with Provider(shop.url) as party:
        stocked = party.server_reducer(careless, Stock(), stock_key)

        actions = [Receive(count=1) if number % 5 else Take(count=1000) for number in range(40)]
        dispatches = [stocked.dispatch(action) for action in actions]
        outcomes = [await outcome_of(dispatch) for dispatch in dispatches]

        assert stocked.value == Stock(count=32)
    accepted = [outcome == "confirmed" for outcome in outcomes]
    assert accepted == [bool(number % 5) for number in range(40)]
    assert outcomes[5] == "only 4 left"
    assert await log_of(shop, stock_key) == [{"type": "receive", "count": 1}] * 32


async def test_a_refusal_that_nobody_awaits_is_reported(
    shop: ServerProcess, stock_key: str, errors: list[Exception]
) -> None:
    async with Provider(shop.url, on_error=errors.append) as party:
        stocked = party.server_reducer(careless, Stock(), stock_key)

        stocked.dispatch(Take(count=1))

        await eventually(lambda: errors)
    assert isinstance(errors[0], StateError)
    assert "only 0 left" in str(errors[0])


async def test_a_refusal_whose_answer_is_lost_is_told_in_the_end(shop: ServerProcess, stock_key: str) -> None:
    async with FaultProxy(shop.url) as proxy, Provider(proxy.url, settings=IMPATIENT) as party:
        stocked = party.server_reducer(careless, Stock(), stock_key)
        await stocked.dispatch(Receive(count=3))
        proxy.script(LoseReply(), LoseReply(), LoseReply())

        dispatches = [stocked.dispatch(Take(count=count)) for count in (4, 3, 1)]
        outcomes = [await outcome_of(dispatch) for dispatch in dispatches]

        assert stocked.value == Stock(count=0, taken=3)
        assert not proxy.has_script
    assert outcomes == ["only 3 left", "confirmed", "only 0 left"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_on_a_bad_network_every_action_has_the_fate_that_its_sender_is_told(
    shop: ServerProcess, stock_key: str, seed: int
) -> None:
    plan = some_of(random.Random(seed), (Refuse(), LoseReply(), Delay(0.02), Ghost(0.05), Cut(20)), 0.3)
    async with (
        FaultProxy(shop.url, plan=plan) as proxy,
        Provider(proxy.url, settings=IMPATIENT, live="long-poll") as one,
        Provider(proxy.url, settings=IMPATIENT) as two,
    ):
        ours = one.server_reducer(careless, Stock(), stock_key)
        theirs = two.server_reducer(careless, Stock(), stock_key)
        await ours.dispatch(Receive(count=10))
        dispatches = [stocked.dispatch(Take(count=1)) for _ in range(10) for stocked in (ours, theirs)]

        outcomes = [await outcome_of(dispatch) for dispatch in dispatches]

        await eventually(lambda: ours.confirmed == theirs.confirmed == Stock(count=0, taken=10))
    assert outcomes.count("confirmed") == 10
    assert outcomes.count("only 0 left") == 10
    assert len(await log_of(shop, stock_key)) == 11


async def test_whoever_logs_in_as_somebody_else_goes_on_under_a_new_id(
    guarded_shop: ServerProcess, stock_key: str
) -> None:
    token = "a"
    credentials = {"Authorization": lambda: f"Bearer {token}"}
    async with Provider(guarded_shop.url, headers=credentials, settings=IMPATIENT) as party:
        stocked = party.server_reducer(stock, Stock(), stock_key)
        await stocked.dispatch(Receive(count=1))
        id_of_ada = stocked.client_id

        token = "b"
        dispatches = [stocked.dispatch(Receive(count=10)) for _ in range(3)]

        assert [await dispatch for dispatch in dispatches][-1] == Stock(count=31)
        assert stocked.client_id != id_of_ada


async def test_what_another_identity_has_left_is_sent_under_a_new_id(
    guarded_shop: ServerProcess, stock_key: str, tmp_path: Path
) -> None:
    file = tmp_path / "outbox.db"
    ada, bob = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
    async with Provider(guarded_shop.url, headers=ada, outbox=file, settings=IMPATIENT) as party:
        stocked = party.server_reducer(stock, Stock(), stock_key)
        await stocked.dispatch(Receive(count=1))
        id_of_ada = stocked.client_id

    async with Provider(guarded_shop.url, headers=bob, outbox=file, settings=IMPATIENT) as party:
        stocked = party.server_reducer(stock, Stock(), stock_key)

        assert await stocked.dispatch(Receive(count=10)) == Stock(count=11)
        assert stocked.client_id != id_of_ada


async def test_two_clients_share_out_what_there_is_while_a_third_cheats(
    shop: ServerProcess, stock_key: str
) -> None:
    async with (
        Provider(shop.url) as one,
        Provider(shop.url) as two,
        httpx.AsyncClient(timeout=20.0) as cheat,
    ):
        ours = one.server_reducer(careless, Stock(), stock_key)
        theirs = two.server_reducer(stock, Stock(), stock_key)
        await ours.dispatch(Receive(count=30))
        await eventually(lambda: theirs.value.count == 30)
        outcomes: list[str] = []
        answers: list[int] = []

        async def takes(stocked: ServerReducer[Stock, Any]) -> None:
            dispatches = [stocked.dispatch(Take(count=1)) for _ in range(25)]
            outcomes.extend([await outcome_of(dispatch) for dispatch in dispatches])

        async def cheats() -> None:
            lies: list[Any] = [
                {"type": "take", "count": 31},
                {"type": "restock"},
                "all of it",
                {"type": "break"},
            ]
            replies = [await cheat.post(f"{shop.url}/{stock_key}", json=[lie]) for lie in lies * 3]
            answers.extend(reply.status_code for reply in replies)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(takes, ours)
            tasks.start_soon(takes, theirs)
            tasks.start_soon(cheats)

        await eventually(lambda: ours.confirmed == theirs.confirmed == Stock(count=0, taken=30))
        reply = await cheat.get(f"{shop.url}/", params={"state": stock_key})
        faults = [*ours.faults, *theirs.faults]
    assert outcomes.count("confirmed") == 30
    assert outcomes.count("only 0 left") == 20
    assert answers == [422] * 12
    assert faults == []
    assert reply.json()["state"] == {"count": 0, "taken": 30}
    assert await log_of(shop, stock_key) == [
        {"type": "receive", "count": 30},
        *[{"type": "take", "count": 1}] * 30,
    ]
