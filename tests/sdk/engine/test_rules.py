"""The rules R1-R7 together: many clients on a bad network, and a log that everybody agrees on."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.to_thread
import pytest

from durafold.client import Backoff, ClientSettings
from durafold.engine import ServerReducer
from durafold.errors import ActionRejected, InvalidAction
from durafold.provider import Provider
from durafold.state.outcomes import Reject
from durafold.testing import LocalServer, assert_converged, settle
from support.proxy import (
    Cut,
    Delay,
    Duplicate,
    FaultProxy,
    Garble,
    Ghost,
    LoseReply,
    Pass,
    Refuse,
    Stall,
    some_of,
)
from support.server import ServerProcess
from support.waiting import eventually

pytestmark = pytest.mark.anyio

CLIENTS, ACTIONS = 6, 100
IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))

Action = dict[str, Any]


@pytest.fixture
def anyio_backend() -> str:
    """The server inside the test runs on asyncio; the other event loop has its tests in test_recovery."""
    return "asyncio"


def chat(state: list[list[Any]], action: Action) -> list[list[Any]]:
    """Who said what; nobody may say the same twice, nor anything that is forbidden."""
    line = [action["who"], action["n"]]
    if action.get("forbidden") or line in state:
        raise Reject("no")
    return [*state, line]


class Witness:
    """Looks at a handle after every change, and notes what must never be seen.

    Attributes:
        complaints: what was seen.
        dispatched: own numbers that were dispatched and not rejected.
    """

    def __init__(self, handle: ServerReducer[list[list[Any]], Action], who: int) -> None:
        self._handle = handle
        self._who = who
        self._confirmed = 0
        self._rejected: set[int] = set()
        self.dispatched: set[int] = set()
        self.complaints: list[str] = []
        handle.subscribe(self.look, progress=True)

    def rejected(self, number: int) -> None:
        self._rejected.add(number)

    def look(self) -> None:
        own = [n for who, n in self._handle.value if who == self._who]
        if len(self._handle.confirmed) < self._confirmed:
            self.complaints.append("the committed state went back")
        self._confirmed = len(self._handle.confirmed)
        if set(own) != self.dispatched or len(own) != len(set(own)):
            self.complaints.append(f"own actions flickered: {sorted(self.dispatched ^ set(own))}")
        if own != sorted(own):
            self.complaints.append("own actions changed their order")
        if self._rejected & set(own):
            self.complaints.append("a rejected action was shown again")


async def talk(party: Provider, key: str, who: int, rng: random.Random, actions: int = ACTIONS) -> Witness:
    """Dispatch actions, some of which are rejected, and wait for all of them."""
    handle = party.server_reducer(chat, [], key)
    witness = Witness(handle, who)
    waiting = []
    for n in range(actions):
        if rng.random() < 0.1:
            await _rejection(handle, witness, {"who": who, "n": n, "forbidden": True})
            continue
        witness.dispatched.add(n)
        waiting.append(handle.dispatch({"who": who, "n": n}))
        await anyio.sleep(rng.random() * 0.002)
    for dispatch in waiting:
        await dispatch
    return witness


async def _rejection(handle: ServerReducer[Any, Action], witness: Witness, action: Action) -> None:
    with pytest.raises(ActionRejected):
        await handle.dispatch(action)
    witness.rejected(action["n"])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_on_a_bad_network_all_replicas_equal_the_replay_of_the_log(seed: int) -> None:
    witnesses: list[Witness] = []

    async def client(server: LocalServer, party: Provider, who: int) -> None:
        witnesses.append(await talk(party, "chat", who, random.Random(seed * 100 + who)))

    async with LocalServer(seed=seed, fault_share=0.2) as server, anyio.create_task_group() as life:
        parties = [server.provider(f"c{who}", on_error=lambda error: None) for who in range(CLIENTS)]
        for party in parties:
            await life.start(party.run)
        async with anyio.create_task_group() as tasks:
            for who, party in enumerate(parties):
                tasks.start_soon(client, server, party, who)
        server.fault_share = 0.0
        handles = [party.server_reducer(chat, [], "chat") for party in parties]
        await settle(*handles)
        await assert_converged(*handles)
        history = await handles[0].history()
        for party in parties:
            await party.aclose()

        assert [witness.complaints for witness in witnesses] == [[]] * CLIENTS
        counted = Counter(tuple(line) for line in handles[0].value)
        assert counted == Counter({(w._who, n): 1 for w in witnesses for n in w.dispatched})
        assert {entry.verdict for entry in history} <= {"applied", "rejected", "duplicate"}


@pytest.mark.parametrize("seed", [1, 2])
async def test_r7_functional_increments_are_all_counted_on_a_bad_network(seed: int) -> None:
    async with LocalServer(seed=seed, fault_share=0.15) as server, anyio.create_task_group() as life:
        parties = [server.provider(f"c{who}", on_error=lambda error: None) for who in range(4)]
        for party in parties:
            await life.start(party.run)
        async with anyio.create_task_group() as tasks:
            for party in parties:
                tasks.start_soon(_count, party)
        handles = [party.server_state(0, "count") for party in parties]
        server.fault_share = 0.0
        await settle(*handles)
        values = [handle.value for handle in handles]
        for party in parties:
            await party.aclose()

        assert values == [4 * 2 * 10] * 4


async def _count(party: Provider) -> None:
    count = party.server_state(0, "count")
    for _ in range(10):
        await count.set(lambda value: value + 1)
        await count.increment()


ALL_FAULTS = (
    Refuse(),
    LoseReply(),
    Delay(0.02),
    Ghost(0.03),
    Duplicate(0.02),
    Garble(),
    Cut(50),
    Cut(400),
    Stall(),
)
ATTENTIVE = ClientSettings(
    backoff=Backoff(first_s=0.01, max_s=0.1),
    connect_timeout_s=0.5,
    request_timeout_s=0.3,
    first_event_timeout_s=0.3,
    long_poll_timeout_s=1.0,
    heartbeat_timeout_s=1.0,
    silence_timeout_s=1.0,
)


class Tally:
    """Counts the faults that a plan gives."""

    def __init__(self, rng: random.Random, share: float) -> None:
        self._next = some_of(rng, ALL_FAULTS, share)
        self.counts: Counter[str] = Counter()

    def __call__(self) -> Any:
        fault = self._next()
        self.counts[type(fault).__name__] += 1
        return fault


async def count_up(party: Provider, key: str, times: int) -> None:
    """Functional increments, one after the other."""
    count = party.server_state(0, key)
    for _ in range(times):
        await count.set(lambda value: value + 1)


@pytest.mark.crash
@pytest.mark.timeout(180)
async def test_clients_behind_bad_proxies_agree_though_the_server_is_killed_twice(
    durable_server: ServerProcess, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talkers, actions, updates = 4, 200, 10
    tallies = [Tally(random.Random(seed), 0.12) for seed in range(talkers)]
    witnesses: list[Witness] = []

    async def talk_and_count(party: Provider, who: int) -> None:
        async with anyio.create_task_group() as both:
            both.start_soon(count_up, party, f"{key}/count", updates)
            witnesses.append(await talk(party, key, who, random.Random(who), actions))

    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(FaultProxy(durable_server.url, plan=tally)) for tally in tallies
        ]
        parties = [
            await stack.enter_async_context(
                Provider(proxy.url, settings=ATTENTIVE, on_error=lambda error: None)
            )
            for proxy in proxies
        ]
        handles = [party.server_reducer(chat, [], key) for party in parties]
        async with anyio.create_task_group() as tasks:
            for who, party in enumerate(parties):
                tasks.start_soon(talk_and_count, party, who)
            for size in (talkers * actions // 5, talkers * actions // 2):
                await eventually(lambda size=size: len(handles[0].confirmed) > size)  # type: ignore[misc]
                durable_server.kill()
                await anyio.to_thread.run_sync(durable_server.restart)
        for proxy in proxies:
            proxy.plan = Pass
        counts = [party.server_state(0, f"{key}/count") for party in parties]
        await settle(*handles, *counts)
        await assert_converged(*handles)
        history = await handles[0].history()

        total = sum((tally.counts for tally in tallies), Counter[str]())
        with capsys.disabled():
            print(
                f"\n{talkers} clients, {len(history)} messages, {len(handles[0].value)} confirmed,"
                f" 2 kills, {total.total()} exchanges: {dict(total.most_common())}"
            )
        assert [witness.complaints for witness in witnesses] == [[]] * talkers
        counted = Counter(tuple(line) for line in handles[0].value)
        assert counted == Counter({(w._who, n): 1 for w in witnesses for n in w.dispatched})
        assert [handle.value for handle in handles] == [history.at(len(history))] * talkers
        assert [count.value for count in counts] == [talkers * updates] * talkers
        assert {type(fault).__name__ for fault in ALL_FAULTS} <= set(total)


# ---- odd values ----

ODD = [
    "x" * 1_000_000,
    "\N{GRINNING FACE}\N{LINE SEPARATOR}\x00\x7f\r\n",
    2**53 + 1,
    -(2**200),
    -0.0,
    1e-320,
    [],
    [[]],
    {"": {"": None}},
    {"__proto__": 1, "type": "set", "payload": 2, "meta": {"id": "x:1"}},
    False,
    None,
]


@pytest.mark.parametrize("number", range(len(ODD)))
async def test_odd_values_arrive_as_they_are(server: ServerProcess, key: str, number: int) -> None:
    async with Provider(server.url) as mine, Provider(server.url) as yours:
        theirs = await yours.server_state("nothing yet", key, state_type=Any).ready()
        ours = mine.server_state("nothing yet", key, state_type=Any)

        await ours.set(ODD[number])

        await eventually(lambda: theirs.offset == ours.offset)
        assert repr(theirs.value) == repr(ours.value) == repr(ODD[number])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"bytes", object(), {"k": 1j}])
async def test_values_that_cannot_travel_are_refused_at_the_caller(value: Any) -> None:
    async with (
        LocalServer() as server,
        server.provider() as party,
    ):
        state = party.server_state(None, "odd")

        with pytest.raises(InvalidAction):
            state.set(value)

        assert (state.value, state.pending) == (None, 0)
