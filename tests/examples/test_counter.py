"""The smallest app, with the stream server inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("reflex", reason="the Reflex examples need: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from support.examples import EXAMPLES
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_app")

MODULE = "counter.counter"


@pytest.fixture
def streams_url() -> str:
    return f"http://127.0.0.1:{free_port()}/v1/stream"


@pytest.fixture
def app(streams_url: str, tmp_path: Path) -> Iterator[ReflexApp]:
    with ReflexApp(streams_url, tmp_path, source=EXAMPLES / "counter") as app:
        yield app


@pytest.mark.crash
def test_one_process_shares_and_keeps_the_count(app: ReflexApp, streams_url: str) -> None:
    with ReflexTab(app.url, MODULE) as here, ReflexTab(app.url, MODULE) as there:
        here.send("Counter.increment", by=2)
        there.send("Counter.increment", by=3)
        here.wait_for(lambda: here.shown["Counter.value"] == 5 and here.shown["Counter.pending"] == 0)
        there.wait_for(lambda: there.shown["Counter.value"] == 5)
    assert len(httpx.get(f"{streams_url}/counter").json()) == 2

    app.kill()
    app.start()

    with ReflexTab(app.url, MODULE) as tab:
        tab.wait_for(lambda: tab.shown["Counter.status"] == "live")
        assert tab.shown["Counter.value"] == 5


def test_the_app_takes_about_25_lines() -> None:
    source = EXAMPLES / "counter" / "counter" / "counter.py"

    assert len([line for line in source.read_text().splitlines() if line.strip()]) <= 25
