"""Presence, atoms and declared classes in a running app with a real stream server; tabs without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from durafold.testing import ServerProcess
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_party")

SOURCE = Path(__file__).parent / "apps" / "party"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReflexApp]:
    directory = tmp_path_factory.mktemp("party")
    with (
        ServerProcess(directory / "streams") as streams,
        ReflexApp(streams.url, directory / "app", source=SOURCE) as app,
    ):
        yield app


class Doors:
    """Opens tabs of the app."""

    def __init__(self, app: ReflexApp, stack: ExitStack) -> None:
        self._app, self._stack = app, stack

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
