"""Ctrl-C ends an example that has a web server at once and quietly, also while pages are open."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from support.examples import EXAMPLES, web_app
from support.ports import free_port


@pytest.mark.parametrize("example", ["ai_chat", "fastapi_embed", "ssr_starlette"])
def test_an_open_page_holds_up_nobody_who_ends_the_example(example: str, tmp_path: Path) -> None:
    port = free_port()
    streams = f"http://127.0.0.1:{port}/sync/v1/stream"
    follow = {"offset": "-1", "live": "sse"}
    with web_app(EXAMPLES / example / "app.py", tmp_path, port) as process:
        httpx.put(f"{streams}/open", headers={"Content-Type": "application/json"})
        with httpx.stream("GET", f"{streams}/open", params=follow) as page:
            assert page.status_code == 200
            process.end(signal.SIGINT, timeout_s=30)

        assert len(process.output.splitlines()) == 1
