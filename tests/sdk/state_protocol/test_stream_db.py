"""`StreamDB`: tables that show what the stream says, from its tail on, all at once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, assert_type
from uuid import uuid4

import anyio
import pytest
from pydantic import BaseModel, Field

from durafold import blocking
from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.errors import ConfigurationError, StreamNotFound, TransportTimeout
from durafold.state_protocol import Collection, Control, ControlHeaders, RowChange, StreamDB, Table
from durafold.testing import ServerProcess
from support.fake_server import FakeServer, page
from support.waiting import eventually

pytestmark = pytest.mark.anyio

SETTINGS = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05))
RESET = Control(headers=ControlHeaders(control="reset"))


class User(BaseModel):
    id: str
    name: str


class Room(BaseModel):
    number: str = Field(alias="roomNumber")


users = Collection("user", User, primary_key="id")
rooms = Collection("room", Room, primary_key="number")

ann, bob = User(id="1", name="Ann"), User(id="2", name="Bob")


@pytest.fixture
async def stream(server: ServerProcess) -> AsyncIterator[DurableStream]:
    async with DurableStream(f"{server.url}/db/{uuid4().hex}", settings=SETTINGS) as stream:
        await stream.create()
        yield stream


async def test_rows_are_there_after_preload(stream: DurableStream) -> None:
    await stream.append_many(
        [change.to_message() for change in (users.insert(ann), users.insert(bob), users.delete("2"))]
    )

    async with StreamDB(stream, users) as db:
        await db.preload()

        assert_type(db[users], Table[User])
        assert_type(db[users].get("1"), User | None)
        assert db[users].rows() == [ann]
        assert (db[users]["1"], len(db[users]), list(db[users]), "2" in db[users]) == (ann, 1, ["1"], False)
        assert db.up_to_date
        assert db.offset == (await stream.head()).next_offset == db.checkpoint.offset
        assert db.status in ("catching-up", "live")
        assert db.error is None


async def test_what_is_written_shows_when_its_transaction_has_come(stream: DurableStream) -> None:
    async with StreamDB(stream, users, rooms) as db:
        await db.write(users.insert(ann), rooms.insert(Room(roomNumber="7"), txid="t1"))
        await db.await_txid("t1")
        await db.await_txid("t1")

        assert db[users].get("1") == ann
        assert db[rooms].get("7") == Room(roomNumber="7")


async def test_a_transaction_that_does_not_come_is_told(stream: DurableStream) -> None:
    async with StreamDB(stream, users) as db:
        with pytest.raises(TransportTimeout, match="'t9' did not come"):
            await db.await_txid("t9", timeout_s=0.05)


async def test_subscribers_are_told_once_per_commit_what_really_changed(stream: DurableStream) -> None:
    told: list[Sequence[RowChange[User]]] = []
    async with StreamDB(stream, users) as db:
        await db.preload()
        unsubscribe = db[users].subscribe(told.append)
        await db.write(
            users.insert(ann), users.upsert(bob), users.update(User(id="1", name="Anna")), users.delete("9")
        )
        await eventually(lambda: told)
        await db.write(users.upsert(bob, txid="same"))
        await db.await_txid("same")
        await db.write(users.delete("2"))
        await eventually(lambda: len(told) == 2)
        unsubscribe()
        unsubscribe()
        await db.write(users.insert(bob, txid="unheard"))
        await db.await_txid("unheard")

    assert told == [
        [RowChange("insert", "1", User(id="1", name="Anna"), None), RowChange("insert", "2", bob, None)],
        [RowChange("delete", "2", None, bob)],
    ]


async def test_a_subscriber_that_raises_hurts_no_other(
    stream: DurableStream, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    def fail(changes: object) -> None:
        raise LookupError("subscriber")

    async with StreamDB(stream, users) as db:
        await db.preload()
        db[users].subscribe(fail)
        db[users].subscribe(told.append)
        with caplog.at_level(logging.CRITICAL + 1):
            await db.write(users.insert(ann))
            await eventually(lambda: told)

        assert db[users].get("1") == ann


async def test_a_reset_empties_the_tables_and_tells_the_difference(stream: DurableStream) -> None:
    told: list[Sequence[RowChange[User]]] = []
    async with StreamDB(stream, users) as db:
        await db.write(users.insert(ann), users.insert(bob, txid="first"))
        await db.await_txid("first")
        db[users].subscribe(told.append)
        await db.write(RESET, users.insert(bob, txid="second"))
        await db.await_txid("second")

        assert db[users].rows() == [bob]
    assert told == [[RowChange("delete", "1", None, ann)]]


async def test_nothing_shows_before_the_tail_is_reached() -> None:
    shown: list[int] = []
    first = page(_json(users.insert(ann)), next_offset="0001", up_to_date=False)
    second = page(_json(users.insert(bob)), next_offset="0002", closed=True)

    async with (
        FakeServer(first, second) as server,
        DurableStream(f"{server.url}/demo") as stream,
        StreamDB(stream, users) as db,
    ):
        db[users].subscribe(lambda changes: shown.append(len(changes)))
        await db.preload()

    assert shown == [2]


def _json(*changes: Any) -> bytes:
    return ("[" + ",".join(change.model_dump_json(exclude_unset=True) for change in changes) + "]").encode()


async def test_types_that_nobody_declared_are_left_out(stream: DurableStream) -> None:
    await stream.append_many([rooms.insert(Room(roomNumber="7")).to_message(), {"other": "message"}, 5])

    async with StreamDB(stream, users) as db:
        await db.preload()

        assert db[users].rows() == []
        assert list(db.faults) == []


async def test_a_row_that_does_not_match_is_a_fault_until_it_changes(stream: DurableStream) -> None:
    async with StreamDB(stream, users) as db:
        await stream.append(
            {
                "type": "user",
                "key": "1",
                "value": {"name": 5},
                "headers": {"operation": "insert", "txid": "bad"},
            }
        )
        await stream.append({"type": "user", "key": "", "value": {}, "headers": {"operation": "insert"}})
        await db.await_txid("bad")
        await eventually(lambda: db.faults)

        assert list(db[users].faults) == ["1"]
        assert db[users].get("1") is None
        await db.write(users.upsert(ann, txid="good"))
        await db.await_txid("good")
        assert db[users].faults == {}
        assert db[users].get("1") == ann


async def test_the_key_fills_the_primary_key_in(stream: DurableStream) -> None:
    await stream.append(
        {"type": "user", "key": "1", "value": {"name": "Ann"}, "headers": {"operation": "insert"}}
    )
    await stream.append({"type": "room", "key": "7", "value": {}, "headers": {"operation": "insert"}})

    async with StreamDB(stream, users, rooms) as db:
        await db.preload()

        assert db[users].get("1") == ann
        assert db[rooms].get("7") == Room(roomNumber="7")


async def test_a_stream_that_does_not_exist_is_raised(server: ServerProcess) -> None:
    async with DurableStream(f"{server.url}/db/none") as stream, StreamDB(stream, users) as db:
        with pytest.raises(StreamNotFound):
            await db.preload()
        assert isinstance(db.error, StreamNotFound)


async def test_what_was_read_stays_after_the_context(stream: DurableStream) -> None:
    async with StreamDB(stream, users) as db:
        await db.write(users.insert(ann, txid="t"))
        await db.await_txid("t")

    assert db[users].get("1") == ann


async def test_an_exception_in_the_body_comes_out_as_it_is(stream: DurableStream) -> None:
    with pytest.raises(LookupError):
        async with StreamDB(stream, users):
            raise LookupError


async def test_it_can_be_cancelled(stream: DurableStream) -> None:
    with anyio.move_on_after(0.05) as scope:
        async with StreamDB(stream, users):
            await anyio.sleep_forever()

    assert scope.cancelled_caught


def test_wrong_declarations_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no field 'key'"):
        Collection("user", User, primary_key="key")
    with pytest.raises(ConfigurationError, match="not empty"):
        Collection("", User, primary_key="id")
    with pytest.raises(ConfigurationError, match="Two collections"):
        StreamDB(DurableStream("http://h/s"), users, Collection("user", User, primary_key="name"))
    with pytest.raises(ConfigurationError, match="none of this"):
        StreamDB(DurableStream("http://h/s"), users)[rooms]
    with pytest.raises(ConfigurationError, match="not empty"):
        users.insert(User(id="", name="Ann"))


def test_an_update_may_carry_the_row_before() -> None:
    message = users.update(User(id="1", name="Anna"), old=ann, txid="t").to_message()

    assert message == {
        "type": "user",
        "key": "1",
        "value": {"id": "1", "name": "Anna"},
        "old_value": {"id": "1", "name": "Ann"},
        "headers": {"operation": "update", "txid": "t"},
    }


def test_blocking_code_has_it_too(server: ServerProcess) -> None:
    with blocking.DurableStream(f"{server.url}/db/{uuid4().hex}") as stream:
        stream.create()
        with blocking.StreamDB(stream, users) as db:
            db.write(users.insert(ann, txid="t"))
            db.await_txid("t")

            assert_type(db[users], Table[User])
            assert db[users].rows() == [ann]
            assert db.up_to_date
            assert db.stream is stream
