"""Who is in a room: those who say so, until they leave or are not heard of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from durafold.client import DurableStream
from durafold.errors import ConfigurationError, InvalidAction, ProviderClosed, StreamConflict
from durafold.presence import RETENTION_BYTES, Presence, Roster, Voices
from durafold.provider import Provider
from durafold.testing import LocalServer
from support.waiting import eventually

pytestmark = pytest.mark.anyio

SHORT_S, LONG_S = 0.3, 600.0
"""A time after which ghosts are gone soon, and one that never passes in a test."""


class Cursor(BaseModel):
    x: int
    y: int = 0


@pytest.fixture
def anyio_backend() -> str:
    """The server inside the test runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:
        yield server


def entered(party: Provider, ttl_s: float = LONG_S) -> Presence[Cursor]:
    return party.presence("room", Cursor, ttl_s=ttl_s)


async def messages_of(server: LocalServer) -> list[Any]:
    url = f"{server.url}/v1/stream/room/__presence__"
    messages: list[Any] = await DurableStream(url, transport=server.transport("look")).read_json()
    return messages


# ---- the rules ----


def test_who_says_something_is_here_until_its_time_is_over() -> None:
    roster = Roster[str](ttl_s=10)

    assert roster.hear("ann", "a", now_s=0)
    assert roster.hear("ben", "b", now_s=4)
    assert roster.forget(now_s=10)

    assert dict(roster.people) == {"ben": "b"}
    assert roster.next_s(now_s=11) == 3


def test_saying_the_same_again_changes_nothing_but_the_time() -> None:
    roster = Roster[str](ttl_s=10)
    roster.hear("ann", "a", now_s=0)
    people = roster.people

    assert not roster.hear("ann", "a", now_s=9)
    assert not roster.forget(now_s=18)

    assert roster.people is people


def test_who_leaves_is_gone_and_comes_back_with_the_next_word() -> None:
    roster = Roster[str](ttl_s=10)
    roster.hear("ann", "a", now_s=0)

    assert roster.leave("ann")
    assert not roster.leave("ann")
    assert roster.hear("ann", "a", now_s=1)


def test_people_that_were_handed_out_do_not_change() -> None:
    roster = Roster[str](ttl_s=10)
    roster.hear("ann", "a", now_s=0)
    before = roster.people

    roster.hear("ben", "b", now_s=0)

    assert dict(before) == {"ann": "a"}


def test_what_could_not_be_said_is_said_with_what_came_meanwhile() -> None:
    voices = Voices[str]("app")
    voices.ask()
    voices.show("app.1", "a", "a")
    voices.show("app.2", "b", "b")
    lost = voices.take()

    voices.show("app.1", "z", "z")
    voices.leave("app.2")
    voices.put_back(lost)

    assert voices.take() == [
        {"type": "who", "meta": {"client": "app"}},
        {"type": "here", "meta": {"client": "app.1"}, "payload": "z"},
        {"type": "gone", "meta": {"client": "app.2"}},
    ]
    assert voices.take() == []


def test_who_left_and_came_back_before_it_was_said_never_left() -> None:
    voices = Voices[str]("app")
    voices.show("app.1", "a", "a")
    voices.take()

    voices.leave("app.1")
    voices.show("app.1", "b", "b")

    assert voices.take() == [{"type": "here", "meta": {"client": "app.1"}, "payload": "b"}]


def test_who_came_back_before_the_leaving_could_be_said_never_left() -> None:
    voices = Voices[str]("app")
    voices.show("app.1", "a", "a")
    voices.take()
    voices.leave("app.1")
    lost = voices.take()

    voices.show("app.1", "b", "b")
    voices.put_back(lost)

    assert voices.take() == [{"type": "here", "meta": {"client": "app.1"}, "payload": "b"}]


def test_everybody_is_said_again_when_somebody_asks() -> None:
    voices = Voices[str]("app")
    voices.show("app.1", "a", "a")
    voices.show("app.2", "b", "b")
    voices.take()

    voices.repeat()

    assert [message["meta"]["client"] for message in voices.take()] == ["app.1", "app.2"]


# ---- in a room ----


async def test_clients_see_each_other_and_not_themselves(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = entered(ann), entered(ben)

        anns.set(Cursor(x=1))
        bens.set(Cursor(x=2))
        await eventually(lambda: anns.others and bens.others)

        assert dict(anns.others) == {ben.client_id: Cursor(x=2)}
        assert dict(bens.others) == {ann.client_id: Cursor(x=1)}
        assert anns.me == Cursor(x=1)


async def test_who_comes_later_is_told_who_is_here(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns = await entered(ann).ready()
        anns.set(Cursor(x=1))
        await eventually(lambda: not anns.others and anns.status == "live")

        bens = entered(ben)
        await eventually(lambda: bens.others)

        assert list(bens.others.values()) == [Cursor(x=1)]
        assert not anns.others


async def test_the_latest_of_many_updates_arrives_and_most_are_never_sent(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = await entered(ann).ready(), await entered(ben).ready()

        for x in range(1000):
            anns.set(Cursor(x=x))
        await eventually(lambda: Cursor(x=999) in bens.others.values())

        assert len(await messages_of(server)) < 20


async def test_who_leaves_is_gone_at_once(server: LocalServer) -> None:
    async with server.provider("ann") as ann:
        anns = entered(ann)
        async with server.provider("ben") as ben:
            entered(ben).set(Cursor(x=2))
            await eventually(lambda: anns.others)

        await eventually(lambda: not anns.others)


async def test_a_leaving_that_arrives_behind_the_coming_back_is_answered(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = await entered(ann).ready(), await entered(ben).ready()
        anns.set(Cursor(x=1))
        await eventually(lambda: bens.others)
        (who,) = bens.others
        counts: list[int] = []
        bens.subscribe(lambda: counts.append(len(bens.others)))
        stream = DurableStream(f"{server.url}/v1/stream/room/__presence__", transport=server.transport())

        await stream.append({"type": "gone", "meta": {"client": who}})

        await eventually(lambda: counts == [0, 1])


async def test_the_last_handle_of_a_room_leaves_it(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, one, other = entered(ann), entered(ben), entered(ben)
        one.set(Cursor(x=2))
        await eventually(lambda: anns.others)

        one.close()
        assert other.me == Cursor(x=2)
        other.close()
        await eventually(lambda: not anns.others)

        assert other.status == "closed"
        with pytest.raises(ProviderClosed, match="was left"):
            other.set(Cursor(x=3))


async def test_people_apart_in_one_process_see_each_other_and_are_seen_elsewhere(server: LocalServer) -> None:
    async with server.provider("app") as app, server.provider("ann") as ann:
        one, two = (app.presence("room", Cursor, ttl_s=LONG_S, apart=True) for _ in range(2))
        anns = entered(ann)

        one.set(Cursor(x=1))
        two.set(Cursor(x=2))
        anns.set(Cursor(x=3))
        await eventually(lambda: len(one.others) == len(two.others) == len(anns.others) == 2)

        assert sorted(shown.x for shown in one.others.values()) == [2, 3]
        assert sorted(shown.x for shown in two.others.values()) == [1, 3]
        assert sorted(shown.x for shown in anns.others.values()) == [1, 2]
        assert (one.me, two.me) == (Cursor(x=1), Cursor(x=2))


async def test_one_person_apart_leaves_alone(server: LocalServer) -> None:
    async with server.provider("app") as app, server.provider("ann") as ann:
        one, two = (app.presence("room", Cursor, ttl_s=LONG_S, apart=True) for _ in range(2))
        anns = entered(ann)
        one.set(Cursor(x=1))
        two.set(Cursor(x=2))
        await eventually(lambda: len(anns.others) == 2)

        one.close()
        await eventually(lambda: len(anns.others) == 1)

        assert not two.others
        assert (one.status, two.status) == ("closed", "live")
        with pytest.raises(ProviderClosed, match="was left"):
            one.set(Cursor(x=3))


async def test_the_silent_are_said_to_be_here_beside_one_who_never_rests(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated: list[int] = []
    repeat = Voices.repeat
    monkeypatch.setattr(Voices, "repeat", lambda self: repeated.append(len(self.people)) or repeat(self))
    async with server.provider("app") as app, server.provider("ann") as ann:
        silent, busy = (app.presence("room", Cursor, ttl_s=SHORT_S, apart=True) for _ in range(2))
        silent.set(Cursor(x=1))
        busy.set(Cursor(x=2))
        anns = entered(ann)
        anns.subscribe(lambda: busy.set(Cursor(x=2, y=len(repeated) + anns.version)))
        await eventually(lambda: len(anns.others) == 2)
        before = len(repeated)

        await eventually(lambda: len(repeated) >= before + 3)

    assert set(repeated[before:]) == {2}


async def test_who_shows_something_is_not_told_of_it(server: LocalServer) -> None:
    told: list[str] = []
    async with server.provider("app") as app:
        one, two = (app.presence("room", Cursor, ttl_s=LONG_S, apart=True) for _ in range(2))
        one.subscribe(lambda: told.append("one"))
        two.subscribe(lambda: told.append("two"))

        one.set(Cursor(x=1))

    assert told == ["two"]


async def test_who_is_cut_off_is_a_ghost_for_its_time_only_and_comes_back(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = entered(ann, SHORT_S), entered(ben, SHORT_S)
        bens.set(Cursor(x=2))
        await eventually(lambda: anns.others)

        server.cut_off("ben")
        await eventually(lambda: not anns.others)
        server.reconnect("ben")
        await eventually(lambda: anns.others)

        assert list(anns.others.values()) == [Cursor(x=2)]


async def test_callbacks_and_loops_learn_of_every_coming_and_going(server: LocalServer) -> None:
    seen: list[int] = []
    async with server.provider("ann") as ann:
        anns = entered(ann)
        anns.subscribe(lambda: seen.append(len(anns.others)))
        async with server.provider("ben") as ben:
            entered(ben).set(Cursor(x=2))
            await eventually(lambda: anns.others)
        await eventually(lambda: not anns.others)

        changes = anns.changes()
        assert dict(await anext(changes)) == {}
    assert seen == [1, 0]
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_a_room_whose_stream_was_deleted_goes_on_in_a_new_one(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = entered(ann, SHORT_S), entered(ben, SHORT_S)
        bens.set(Cursor(x=2))
        await eventually(lambda: anns.others)

        await DurableStream(
            f"{server.url}/v1/stream/room/__presence__", transport=server.transport("delete")
        ).delete()
        bens.set(Cursor(x=3))
        await eventually(lambda: Cursor(x=3) in anns.others.values())


async def test_messages_of_strangers_are_left_alone(server: LocalServer) -> None:
    async with server.provider("ann") as ann:
        anns = await entered(ann).ready()
        stream = DurableStream(f"{server.url}/v1/stream/room/__presence__", transport=server.transport())

        await stream.append_many(
            [
                1,
                {"type": "here"},
                {"type": "here", "meta": {"client": 7}},
                {"type": "here", "meta": {"client": "old"}, "payload": {"z": 1}},
                {"type": "unheard of", "meta": {"client": "new"}},
                {"type": "here", "meta": {"client": "ts"}, "payload": {"x": 5}},
            ]
        )
        await eventually(lambda: anns.others)

        assert dict(anns.others) == {"ts": Cursor(x=5)}


async def test_a_model_that_raises_is_reported_and_ends_neither_the_room_nor_the_provider(
    server: LocalServer,
) -> None:
    class Seat(BaseModel):
        row: str

        @field_validator("row")
        @classmethod
        def known(cls, row: str) -> str:
            return {"a": "a"}[row]

    errors: list[Exception] = []
    async with server.provider("ann", on_error=errors.append) as ann:
        seats = await ann.presence("room", Seat).ready()
        stream = DurableStream(f"{server.url}/v1/stream/room/__presence__", transport=server.transport())

        await stream.append({"type": "here", "meta": {"client": "ben"}, "payload": {"row": "b"}})
        await stream.append({"type": "here", "meta": {"client": "cat"}, "payload": {"row": "a"}})
        await eventually(lambda: seats.others)

        assert await ann.server_state(0, "count").increment() == 1
        assert dict(seats.others) == {"cat": Seat(row="a")}
        assert [type(error) for error in errors] == [KeyError]


async def test_the_stream_of_a_room_is_kept_short_and_expires(server: LocalServer) -> None:
    async with server.provider("ann") as ann:
        await entered(ann).ready()
        stream = DurableStream(f"{server.url}/v1/stream/room/__presence__", transport=server.transport())

        created = (await stream.create(ttl_s=3600, retention_bytes=RETENTION_BYTES)).created
        with pytest.raises(StreamConflict, match="retention"):
            await stream.create(ttl_s=3600)

        assert not created


async def test_what_cannot_be_shown_is_refused_at_the_caller(server: LocalServer) -> None:
    async with server.provider("ann") as ann:
        anns = entered(ann)

        with pytest.raises(InvalidAction, match="Nothing was shown"):
            anns.set("here")  # type: ignore[arg-type]

        assert anns.me is None


@pytest.mark.parametrize("ttl_s", [0, -1, 3601])
async def test_a_time_that_cannot_work_is_refused(server: LocalServer, ttl_s: float) -> None:
    async with server.provider("ann") as ann:
        with pytest.raises(ConfigurationError, match="at most 3600"):
            entered(ann, ttl_s)


async def test_a_room_has_one_type_in_a_process(server: LocalServer) -> None:
    async with server.provider("ann") as ann:
        entered(ann)

        with pytest.raises(ConfigurationError, match="in use"):
            ann.presence("room", str)


async def test_leaving_does_not_wait_for_a_server_that_is_away(server: LocalServer) -> None:
    async with server.provider("ann", close_timeout_s=0.05) as ann:
        anns = await entered(ann).ready()
        anns.set(Cursor(x=1))
        server.cut_off("ann")

    assert anns.status == "closed"
