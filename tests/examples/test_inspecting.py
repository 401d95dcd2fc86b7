"""The inspector of examples that run a stream server: it knows their reducers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.examples import EXAMPLES, web_app
from support.ports import free_port


def reducers_of(server: str) -> list[str]:
    """Names of those that time travel can fold with."""
    found = httpx.get(f"{server}/_ui/api/reducers").raise_for_status().json()
    return [reducer["name"] for reducer in found]


@pytest.mark.parametrize(
    ("example", "reducer"),
    [("fastapi_embed", "jobs:job_reducer"), ("ssr_starlette", "guestbook:guestbook_reducer")],
)
def test_time_travel_knows_the_reducer_of_a_web_app(example: str, reducer: str, tmp_path: Path) -> None:
    port = free_port()

    with web_app(EXAMPLES / example / "app.py", tmp_path, port):
        assert reducers_of(f"http://127.0.0.1:{port}/sync") == [reducer]


@pytest.mark.xdist_group("reflex_app")
@pytest.mark.parametrize(
    ("example", "reducer"),
    [("todo", "todo.todos:todo_reducer"), ("whiteboard", "whiteboard.shapes:board_reducer")],
)
def test_time_travel_knows_the_reducer_of_a_reflex_app(example: str, reducer: str, tmp_path: Path) -> None:
    pytest.importorskip("reflex", reason="the Reflex examples need: pip install 'durafold[reflex]'")
    from support.reflex_app import ReflexApp

    streams = f"http://127.0.0.1:{free_port()}"

    with ReflexApp(f"{streams}/v1/stream", tmp_path, source=EXAMPLES / example):
        assert reducers_of(streams) == [reducer]
