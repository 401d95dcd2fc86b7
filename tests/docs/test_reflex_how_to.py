"""The app of "Build a Reflex app" is one that runs, and does what the page says of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_how_to")

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "build-a-reflex-app.md"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReflexApp]:
    source = tmp_path_factory.mktemp("source") / "shop"
    package = source / "shop"
    package.mkdir(parents=True)
    programs = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for file, text in zip(
        ("../rxconfig.py", "state.py", "shop.py", "__init__.py"), [*programs, ""], strict=True
    ):
        (package / file).write_text(text)
    streams = f"http://127.0.0.1:{free_port()}/v1/stream"
    with ReflexApp(streams, tmp_path_factory.mktemp("app"), source=source) as app:
        yield app


@pytest.fixture
def tabs(app: ReflexApp) -> Iterator[tuple[ReflexTab, ReflexTab]]:
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(ReflexTab(app.url, "shop.shop", query={"room": "red"})) for _ in range(2)
        )
        yield here, there


def test_its_pages_can_be_built(app: ReflexApp) -> None:
    build = "from shop.shop import index, room; index().render(); room().render()"

    built = subprocess.run(
        [sys.executable, "-c", build], cwd=app.source, capture_output=True, text=True, timeout=60, check=False
    )

    assert built.returncode == 0, built.stderr


def test_what_one_tab_puts_into_the_cart_the_other_one_sees_and_can_be_undone(
    tabs: tuple[ReflexTab, ReflexTab],
) -> None:
    here, there = tabs

    here.send("Shop.put", form={"name": "salt"})
    there.wait_for(lambda: (there.shown["Shop.bargains"], there.shown["Total.value"]) == (["salt"], 1))
    here.wait_for(lambda: here.shown["Shop.can_undo"])
    assert not there.shown["Shop.can_undo"]
    here.send("Shop.undo")

    there.wait_for(lambda: there.shown["Shop.value"] == {"lines": []})


def test_people_and_the_notice_are_those_of_the_room(tabs: tuple[ReflexTab, ReflexTab]) -> None:
    here, there = tabs

    here.send("People.update", changes={"name": "Ann"})
    here.send("Notice.set_value", value="hello")

    there.wait_for(lambda: there.shown["People.others"] == [{"name": "Ann"}])
    there.wait_for(lambda: there.shown["Notice.value"] == "hello")
    assert there.shown["People.count"] == 2


def test_a_draft_belongs_to_who_is_signed_in(tabs: tuple[ReflexTab, ReflexTab]) -> None:
    here, _ = tabs

    here.send("Account.Draft.set_value", value="mine")

    here.wait_for(lambda: "does not say which" in "".join(here.toasts))
    here.wait_for(lambda: here.shown["Connection.status"] == "live")
