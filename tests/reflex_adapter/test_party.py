"""Presence, atoms and declared classes in a running app with a real stream server; tabs without a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import httpx
import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from websockets.exceptions import WebSocketException

from durafold.testing import ServerProcess
from support.reflex_app import ReflexApp
from support.reflex_crowd import crowd
from support.reflex_tab import ReflexTab, ReflexTalk
from support.waiting import eventually

pytestmark = pytest.mark.xdist_group("reflex_party")

LONG = "x" * 5000
SOURCE = Path(__file__).parent / "apps" / "party"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReflexApp]:
    directory = tmp_path_factory.mktemp("party")
    with (
        ServerProcess(directory / "streams") as streams,
        ReflexApp(streams.url, directory / "app", source=SOURCE) as app,
    ):
        yield app


def str_of(value: object) -> str:
    return f"{value!r:.12}"


class Doors:
    """Opens tabs of the app."""

    def __init__(self, app: ReflexApp, stack: ExitStack) -> None:
        self._app, self._stack = app, stack

    @property
    def url(self) -> str:
        return self._app.url

    def open(self, token: str | None = None, **query: Any) -> ReflexTab:
        return self._stack.enter_context(ReflexTab(self._app.url, "party.party", token=token, query=query))


@pytest.fixture
def tabs(app: ReflexApp) -> Iterator[Doors]:
    with ExitStack() as stack:
        yield Doors(app, stack)


def person(name: str = "Somebody", x: int = 0) -> dict[str, Any]:
    return {"name": name, "x": x}


def test_tabs_in_a_room_see_each_other_and_not_themselves(tabs: Doors) -> None:
    here, there = tabs.open(room="red"), tabs.open(room="red")

    here.send("People.show", value=person("Ann", 1))
    there.send("People.update", changes={"name": "Ben"})

    here.wait_for(lambda: here.shown["People.others"] == [person("Ben")])
    there.wait_for(lambda: there.shown["People.others"] == [person("Ann", 1)])
    assert (here.shown["People.me"], here.shown["People.count"]) == (person("Ann", 1), 2)
    assert there.shown["People.me"] == person("Ben")


def test_a_tab_is_alone_in_a_room_of_its_own_and_takes_its_name_along(tabs: Doors) -> None:
    here, there = tabs.open(room="green"), tabs.open(room="blue")
    there.send("People.update", changes={"name": "Ben"})
    there.wait_for(lambda: there.shown["People.me"] == person("Ben"))
    assert (here.shown["People.count"], there.shown["People.count"]) == (1, 1)

    there.go({"room": "green"})

    here.wait_for(lambda: here.shown["People.others"] == [person("Ben")])
    there.wait_for(lambda: there.shown["People.count"] == 2)


def test_who_closes_a_tab_has_left_and_who_reloads_has_not(tabs: Doors, app: ReflexApp) -> None:
    here = tabs.open(room="white")
    with ReflexTab(app.url, "party.party", query={"room": "white"}) as other:
        token = other.token
        other.send("People.update", changes={"name": "Ben"})
        here.wait_for(lambda: here.shown["People.others"] == [person("Ben")])
    with ReflexTab(app.url, "party.party", token=token, query={"room": "white"}) as other:
        assert other.shown["People.me"] == person("Ben")
    here.wait_for(lambda: here.shown["People.count"] == 1)

    assert [update["People.count"] for update in here.updates if "People.count" in update] == [1, 2, 1]


def test_a_page_without_a_room_is_in_none(tabs: Doors) -> None:
    here = tabs.open()

    here.send("People.update", changes={"name": "Ann"})
    here.wait_for(lambda: "does not say which" in "".join(here.toasts))

    assert (here.shown["People.count"], here.shown["People.me"]) == (0, None)


def test_who_only_looks_on_is_not_counted(tabs: Doors) -> None:
    here, there = tabs.open(), tabs.open()

    here.send("Onlookers.show", value=person("Ann"))
    there.wait_for(lambda: there.shown["Onlookers.others"] == [person("Ann")])

    assert (there.shown["Onlookers.count"], there.shown["Onlookers.me"]) == (1, None)


@pytest.mark.parametrize(
    "event",
    [
        ("People.show", {"value": None}),
        ("People.show", {"value": {"name": "x" * 41}}),
        ("People.show", {"value": {"x": "far"}}),
        ("People.update", {"changes": {"x": [1]}}),
        ("People.update", {"changes": "x"}),
    ],
)
def test_what_no_person_can_show_is_refused_with_a_toast(
    tabs: Doors, event: tuple[str, dict[str, Any]]
) -> None:
    here = tabs.open(room="black")

    here.send(event[0], **event[1])
    here.wait_for(lambda: here.toasts != [])

    assert here.shown["People.me"] == person()


# ---- atoms, computed values, declared classes ----


def test_a_declared_class_has_its_store_and_more_beside_it(tabs: Doors) -> None:
    here, there = tabs.open(), tabs.open()
    here.send("Shop.dispatch", action={"type": "empty"})

    here.send("Shop.restock")
    here.send("Shop.dispatch", action={"type": "put", "name": "wine", "price": 40})

    there.wait_for(lambda: len(there.shown["Shop.value"]["lines"]) == 3)
    assert sorted(there.shown["Shop.bargains"]) == ["oil", "salt"]
    assert there.shown["Shop.cheap"] == 10
    there.wait_for(lambda: there.shown["Total.value"] == 42)


def test_every_member_of_a_family_is_a_stream_of_its_own(tabs: Doors) -> None:
    here, there, elsewhere = tabs.open(room="oak"), tabs.open(room="oak"), tabs.open(room="elm")

    here.send("Shelf.set_value", value="full")

    there.wait_for(lambda: there.shown["Shelf.value"] == "full")
    assert elsewhere.shown["Shelf.value"] == "empty"


def test_every_user_has_a_stream_which_follows_them_to_another_tab(tabs: Doors) -> None:
    here, there = tabs.open(), tabs.open()
    here.send("Account.sign_in", user="ann", password="ann's secret")
    here.wait_for(lambda: here.shown["Account.user"] == "ann")
    here.send("Account.Notes.set_value", value="buy milk")
    here.wait_for(lambda: here.shown["Notes.value"] == "buy milk")
    assert there.shown["Notes.value"] == "nothing"

    there.send("Account.sign_in", user="ann", password="ann's secret")

    there.wait_for(lambda: there.shown["Notes.value"] == "buy milk")


def test_an_address_does_not_say_who_somebody_is(tabs: Doors) -> None:
    ann, eve = tabs.open(), tabs.open(user="ann2")
    ann.send("Account.sign_in", user="ann2", password="ann2's secret")
    ann.wait_for(lambda: ann.shown["Account.user"] == "ann2")
    ann.send("Account.Notes.set_value", value="my secret")
    ann.wait_for(lambda: ann.shown["Notes.value"] == "my secret")

    eve.send("Account.Notes.set_value", value="read by eve")
    eve.wait_for(lambda: "does not say which" in "".join(eve.toasts))

    assert eve.shown["Notes.value"] == "nothing"
    assert ann.shown["Notes.value"] == "my secret"


# ---- what a browser can send ----


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("Shop.dispatch", {"action": {"type": "steal"}}),
        ("Shop.dispatch", {"action": {"type": "put", "name": "x" * 41, "price": 1}}),
        ("Shop.dispatch", {"action": {"type": "put", "name": "x", "price": -1}}),
        ("Shop.dispatch", {"action": {"type": "put", "name": "x"}}),
        ("Shop.dispatch", {"action": []}),
        ("Shop.dispatch", {"action": None}),
        ("Shelf.set_value", {"value": 7}),
        ("Shelf.set_value", {"value": {"a": "dict"}}),
        ("Shelf.setvar", {"var_name": "value", "value": ["a list"]}),
        ("Shop.setvar", {"var_name": "value", "value": {"lines": []}}),
        ("People.setvar", {"var_name": "_shown", "value": "{"}),
        ("Account.setvar", {"var_name": "user", "value": "ann"}),
        ("Shop.no_such_event", {}),
        ("Shop.dispatch", {"no": "such argument"}),
        ("Shop.value", {}),
        ("Shop.__init__", {}),
    ],
)
def test_a_hostile_event_changes_nothing_and_breaks_nothing(
    tabs: Doors, event: str, payload: dict[str, Any]
) -> None:
    room = uuid4().hex
    here = tabs.open(room=room)
    cart, user = here.shown["Shop.value"], here.shown["Account.user"]

    here.send(event, **payload)
    here.send("People.update", changes={"x": 5})
    here.wait_for(lambda: here.shown["People.me"]["x"] == 5)

    with ReflexTab(tabs.url, "party.party", query={"room": room}) as later:
        assert (later.shown["Shop.value"], later.shown["Account.user"]) == (cart, user)
        assert later.shown["Shelf.value"] == "empty"
        assert later.shown["People.others"] == [person("Somebody", 5)]


@pytest.mark.parametrize(
    "room", ["..", "a/b", "__presence__", "", "a\n", {"a": 1}, ["a"], 7, LONG], ids=str_of
)
def test_a_hostile_address_names_no_room_and_breaks_no_other_page(tabs: Doors, room: Any) -> None:
    here, hostile = tabs.open(room="hall"), tabs.open(room=room)

    hostile.send("Shelf.set_value", value="mine")
    here.send("Shelf.set_value", value=f"ours {room!r:.9}")

    here.wait_for(
        lambda: here.shown["Shelf.value"] == f"ours {room!r:.9}" and not here.shown["Shelf.pending"]
    )
    assert here.shown["Connection.status"] == "live"


def test_the_connection_is_live_when_all_streams_are(tabs: Doors) -> None:
    here = tabs.open(room="quiet")

    here.wait_for(lambda: here.shown["Connection.status"] == "live")

    assert (here.shown["Connection.reason"], here.shown["Connection.pending"]) == ("", 0)


# ---- what tabs leave behind ----


class Backstage:
    """Asks the app how many there are of what tabs could leave behind."""

    def __init__(self, tab: ReflexTab) -> None:
        self._tab = tab

    def counts(self) -> dict[str, int]:
        asked = self._tab.shown["Backstage.asked"]
        self._tab.send("Backstage.ask")
        self._tab.wait_for(lambda: self._tab.shown["Backstage.asked"] > asked)
        return {name: self._tab.shown[f"Backstage.{name}"] for name in ("tabs", "tasks", "open", "listeners")}

    def settled(self) -> dict[str, int]:
        """When nothing changes any more, for longer than it takes to notice that a tab has gone."""
        counts, since_s = self.counts(), time.monotonic()
        while time.monotonic() < since_s + 4:
            time.sleep(0.2)
            if (now := self.counts()) != counts:
                counts, since_s = now, time.monotonic()
        return counts


def test_two_hundred_tabs_opened_and_closed_leave_nothing_behind(tabs: Doors) -> None:
    backstage = Backstage(tabs.open())
    before = backstage.settled()

    async def come_and_go() -> dict[str, int]:
        places: list[dict[str, str]] = [*({"room": f"r{n}"} for n in range(40)), *({} for _ in range(160))]
        async with crowd(ReflexTalk(tabs.url, "party.party", query=place) for place in places):
            return await anyio.to_thread.run_sync(backstage.counts)

    meanwhile = anyio.run(come_and_go)

    assert meanwhile["tabs"] == before["tabs"] + 200
    assert meanwhile["open"] == before["open"] + 2 * 40
    anyio.run(eventually, lambda: backstage.counts() == before)


def readers(streams: ServerProcess) -> list[str]:
    """How many follow streams of the server, by how they do."""
    metrics = httpx.get(streams.url.replace("/v1/stream", "/metrics")).text
    return [line for line in metrics.splitlines() if line.startswith("durafold_readers{")]


def settled_after_reload(app: ReflexApp, cheap: int) -> dict[str, int]:
    """The counts of the process that runs the source in which the shop's limit is this."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError, WebSocketException), ReflexTab(app.url, "party.party") as tab:
            if tab.shown["Shop.cheap"] == cheap:
                return Backstage(tab).settled()
        time.sleep(0.1)
    raise AssertionError(f"the app was not reloaded:\n{app.output}")


def change_limit(app: ReflexApp, old: int, new: int) -> None:
    source = app.source / "party" / "party.py"
    source.write_text(source.read_text().replace(f"cheap: int = {old}", f"cheap: int = {new}"))


def test_an_app_that_is_reloaded_twice_follows_nothing_twice(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "streams") as streams,
        ReflexApp(streams.url, tmp_path / "app", source=SOURCE, reloads=True) as app,
    ):
        before, followed = settled_after_reload(app, 10), readers(streams)

        change_limit(app, 10, 11)
        settled_after_reload(app, 11)
        change_limit(app, 11, 12)
        after = settled_after_reload(app, 12)

        assert (after, readers(streams)) == (before, followed)
        assert 'durafold_readers{mode="sse"} 2' in followed
