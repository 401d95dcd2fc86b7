"""Own actions outlive their process, and count once."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durafold import Provider
from durafold.cache import SqliteStateCache
from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.engine import ServerState
from durafold.errors import ConfigurationError, ConflictError, ProviderClosed
from durafold.hydrate import load_stream_with_reducer
from durafold.state.reducer import set_state_reducer
from support.proxy import FaultProxy, LoseReply
from support.server import ServerProcess
from support.waiting import eventually

pytestmark = pytest.mark.anyio

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.1))
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@asynccontextmanager
async def killed(url: str, file: Path, **options: Any) -> AsyncIterator[Provider]:
    """A provider whose process dies at the end of the block: nothing is flushed, nobody says good-bye."""
    with anyio.CancelScope() as process:
        async with Provider(
            url, outbox=file, settings=IMPATIENT, on_error=lambda error: None, **options
        ) as party:
            yield party
            process.cancel()
            await anyio.lowlevel.checkpoint()


def numbers(party: Provider, key: str) -> ServerState[list[int]]:
    return party.server_state([], key)


async def messages(server: ServerProcess, key: str) -> list[Any]:
    async with DurableStream(f"{server.url}/{key}") as stream:
        return [message["payload"] for message in await stream.read_json()]


async def test_what_was_never_sent_is_sent_by_the_next_process(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with FaultProxy(server.url) as proxy:
        proxy.is_down = True
        async with killed(proxy.url, file) as party:
            for number in range(50):
                numbers(party, key).append(number)
        proxy.is_down = False

        async with Provider(proxy.url, outbox=file, settings=IMPATIENT) as party:
            handle = numbers(party, key)
            shown = handle.value
            await eventually(lambda: handle.pending == 0)

            assert (shown, handle.confirmed) == (list(range(50)), list(range(50)))


async def test_what_was_sent_and_not_seen_to_come_back_counts_once(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with FaultProxy(server.url) as proxy:
        async with killed(proxy.url, file) as party:
            handle = await numbers(party, key).ready()
            proxy.script(LoseReply())
            for number in range(20):
                handle.append(number)
            async with DurableStream(f"{server.url}/{key}") as stream:
                while not await stream.read_json():
                    await anyio.sleep(0.005)
                proxy.is_down = True
                await proxy.cut_all()
        proxy.is_down = False

        async with Provider(proxy.url, outbox=file, settings=IMPATIENT) as party:
            handle = numbers(party, key)
            await handle.append(20)

            assert handle.confirmed == list(range(21))


async def test_r1_a_client_goes_on_under_its_id_and_is_not_fenced(
    server: ServerProcess, key: str, file: Path
) -> None:
    ids = set()
    for number in range(5):
        async with Provider(server.url, outbox=file, settings=IMPATIENT) as party:
            handle = numbers(party, key)
            await handle.append(number)
            ids.add(handle.client_id)

    assert len(ids) == 1
    assert await messages(server, key) == [["append", number] for number in range(5)]


async def test_one_whose_id_was_taken_over_takes_another(server: ServerProcess, key: str, file: Path) -> None:
    async with Provider(server.url, outbox=file, settings=IMPATIENT) as party:
        await numbers(party, key).append(0)
    with sqlite3.connect(file) as copy:  # as after a restore of an old backup
        copy.execute("update clients set epoch = 0, counter = 0")
    thief = file.with_name("copy.db")
    with sqlite3.connect(file) as source, sqlite3.connect(thief) as target:
        source.backup(target)

    async with (
        Provider(server.url, outbox=file, settings=IMPATIENT) as mine,
        Provider(server.url, outbox=thief, settings=IMPATIENT) as yours,
    ):
        handles = [numbers(mine, key), numbers(yours, key)]
        for number in range(1, 7):
            await handles[number % 2].append(number)

        await eventually(lambda: handles[0].value == handles[1].value == list(range(7)))
        assert handles[0].client_id != handles[1].client_id


async def test_what_a_cached_state_has_folded_already_is_not_shown_twice(
    server: ServerProcess, key: str, file: Path, tmp_path: Path
) -> None:
    cache = SqliteStateCache(tmp_path / "states.db")
    async with Provider(server.url, outbox=file, cache=cache) as party:
        handle = numbers(party, key)
        await handle.append(1)
        client, n = handle.client_id, 1
    scope = json.dumps([server.url, "", key])
    with sqlite3.connect(file) as file_again:  # as if the process had died before it could forget it
        row = [scope, 1, n, "op", '["append",1]', None, 0, None]
        file_again.execute("insert into writes values (?, ?, ?, ?, ?, ?, ?, ?)", row)

    async with Provider(server.url, outbox=file, cache=cache) as party:
        handle = await numbers(party, key).ready()

        assert (handle.client_id, handle.value, handle.pending) == (client, [1], 0)


async def test_a_computed_update_that_was_overtaken_fails_and_is_never_sent_blindly(
    server: ServerProcess, key: str, file: Path, errors: list[Exception]
) -> None:
    async with FaultProxy(server.url) as proxy:
        async with killed(proxy.url, file) as party:
            count = await party.server_state(0, key).ready()
            proxy.is_down = True
            await proxy.cut_all()
            count.set(lambda value: value + 1)
            await anyio.sleep(0.05)
        proxy.is_down = False
        async with Provider(server.url) as other:
            await other.server_state(0, key).set(100)

        async with Provider(proxy.url, outbox=file, settings=IMPATIENT, on_error=errors.append) as party:
            count = party.server_state(0, key)
            await eventually(lambda: count.pending == 0 and count.value == 100)

    assert [type(error) for error in errors] == [ConflictError]


async def test_r7_a_computed_update_that_a_cached_state_saw_lose_is_not_taken_for_counted(
    server: ServerProcess, key: str, file: Path, tmp_path: Path, errors: list[Exception]
) -> None:
    cache = SqliteStateCache(tmp_path / "states.db")
    async with Provider(server.url, outbox=file) as party:
        count = party.server_state(0, key)
        await count.increment(5)
        lost = {"type": "set", "payload": 1, "meta": {"id": f"{count.client_id}:2", "v": 1, "if_revision": 0}}
    async with DurableStream(f"{server.url}/{key}", content_type="application/json") as stream:
        await stream.append(lost)
    await load_stream_with_reducer(server.url, key, set_state_reducer, 0, cache=cache)
    with sqlite3.connect(file) as file_again:  # as if the process had died before the echo
        row = [json.dumps([server.url, "", key]), 2, 2, "set", "1", 0, 0, None]
        file_again.execute("insert into writes values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        file_again.execute("update clients set counter = 2")

    async with Provider(server.url, outbox=file, cache=cache, on_error=errors.append) as party:
        count = await party.server_state(0, key).ready()
        assert (count.value, count.pending) == (5, 0)

    assert [type(error) for error in errors] == [ConflictError]


async def test_nothing_is_left_of_what_came_back(server: ServerProcess, key: str, file: Path) -> None:
    async with Provider(server.url, outbox=file) as party:
        for number in range(10):
            await numbers(party, key).append(number)

    with sqlite3.connect(file) as left:
        assert left.execute("select count(*) from writes").fetchone() == (0,)


async def test_closing_while_offline_keeps_what_was_dispatched(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with FaultProxy(server.url) as proxy:
        proxy.is_down = True
        async with Provider(proxy.url, outbox=file, settings=IMPATIENT, close_timeout_s=0) as party:
            dispatch = numbers(party, key).append(1)
        with pytest.raises(ProviderClosed):
            await dispatch
        proxy.is_down = False

        async with Provider(proxy.url, outbox=file, settings=IMPATIENT) as party:
            await eventually(lambda: numbers(party, key).confirmed == [1])


async def test_a_key_that_is_opened_again_at_once_is_the_same_client(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with Provider(server.url, outbox=file, settings=IMPATIENT) as party:
        for number in range(10):
            handle = numbers(party, key)
            handle.append(number)
            handle.close()

        await eventually(lambda: numbers(party, key).confirmed == list(range(10)))


async def test_a_key_that_is_opened_again_as_something_else_still_ends(
    server: ServerProcess, key: str, file: Path
) -> None:
    async with Provider(server.url, outbox=file) as party:
        counter = party.server_state(0, key)
        counter.increment()
        counter.close()

        with pytest.raises(ConfigurationError, match="another default"):
            party.server_state("", key)

        await eventually(lambda: counter.status == "closed")
        assert party.server_state("", key).value == ""


async def test_two_processes_cannot_share_a_file(file: Path) -> None:
    async with Provider(NOWHERE, outbox=file, close_timeout_s=0):
        with pytest.raises(ConfigurationError, match="a file of its own"):
            async with Provider(NOWHERE, outbox=file):
                pass

    async with Provider(NOWHERE, outbox=file, close_timeout_s=0):
        pass


async def test_the_database_of_something_else_is_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as other:
        other.execute("create table precious (thing)")

    with pytest.raises(ConfigurationError, match="something else"):
        async with Provider(NOWHERE, outbox=file):
            pass


PROGRAM = """
import sys, anyio
from durafold import Provider

async def main(url, key, file, first):
    async with Provider(url, outbox=file) as party:
        handle = party.server_state([], key)
        for number in range(int(first), int(first) + 100000):
            handle.append(number)
            print(number, flush=True)
            await anyio.sleep(0.001)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.crash
async def test_a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(
    server: ServerProcess, key: str, file: Path
) -> None:
    first, printed = 0, list[int]()
    for _ in range(4):
        command = [sys.executable, "-c", PROGRAM, server.url, key, str(file), str(first)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [int(process.stdout.readline()) for _ in range(60)]
        process.send_signal(signal.SIGKILL)
        lines += [int(line) for line in process.communicate()[0].splitlines()]
        printed += lines
        first = lines[-1] + 2

    async with Provider(server.url, outbox=file) as party:
        handle = await numbers(party, key).ready()
        await eventually(lambda: handle.pending == 0)

        # All that the processes had printed, in order, and perhaps what they dispatched but could not print.
        assert handle.confirmed == sorted(set(handle.confirmed))
        assert set(printed) <= set(handle.confirmed)
        assert len(handle.confirmed) <= len(printed) + 4
