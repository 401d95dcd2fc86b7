"""The app with the server inside: its API, its background job, and a kill in between."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from durafold.processes import ChildProcess
from support.examples import EXAMPLES, web_app
from support.ports import free_port

APP: Final = EXAMPLES / "fastapi_embed" / "app.py"


def jobs(address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{address}/jobs").json()
    return found


def wait_until_done(process: ChildProcess, address: str, count: int) -> None:
    done = [100] * count
    process.wait_until(
        lambda: [job["percent"] for job in jobs(address)] == done or None,
        timeout_s=60,
    )


@pytest.mark.crash
def test_the_background_job_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web_app(APP, tmp_path, port, STEP_S="3600") as process:
        assert httpx.post(f"{address}/jobs", json={"title": "Resize images"}).status_code == 202
        assert httpx.post(f"{address}/jobs", json={"title": ""}).status_code == 422
        process.end(signal.SIGKILL)

    with web_app(APP, tmp_path, port, STEP_S="0.01") as process:
        httpx.post(f"{address}/jobs", json={"title": "Send invoices"})
        wait_until_done(process, address, count=2)

        assert "Traceback" not in process.output


def test_the_page_and_its_stream_are_served_by_one_app(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web_app(APP, tmp_path, port, STEP_S="3600"):
        page = httpx.get(f"{address}/")
        httpx.post(f"{address}/jobs", json={"title": "Resize images"})
        log = httpx.get(f"{address}/sync/v1/stream/jobs").json()

    assert "/sync/v1/stream/jobs" in page.text
    assert [message["payload"] for message in log] == [{"type": "add", "title": "Resize images"}]
