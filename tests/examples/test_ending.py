"""How examples end: at Ctrl-C at once and quietly, without their port or their server with what to do."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import pytest

from support.examples import EXAMPLES, running, web_app
from support.ports import free_port

WEB_EXAMPLES = ["ai_chat", "fastapi_embed", "ssr_starlette"]


@pytest.mark.parametrize("example", WEB_EXAMPLES)
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


@pytest.mark.parametrize("example", WEB_EXAMPLES)
def test_a_port_that_is_taken_ends_the_example_with_what_to_do(example: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        env = {"PORT": str(port), "DATA_DIR": str(tmp_path / "data")}
        with running(EXAMPLES / example / "app.py", env=env, cwd=tmp_path) as process:
            process.wait_until(lambda: process.exit_code, timeout_s=60)

            assert process.exit_code == 1
            assert process.output == (
                f"Cannot listen on port {port} (Address already in use). End the program that uses it, "
                f"or choose another port: PORT={port + 1} python app.py\n"
            )


@pytest.mark.parametrize(
    "command",
    [
        ["collector/collect.py"],
        ["event_sourcing/projection.py"],
        ["event_sourcing/record.py", "cancel", "A-1"],
    ],
    ids=lambda command: Path(command[0]).stem,
)
def test_without_a_server_a_script_ends_with_what_to_do(command: list[str], tmp_path: Path) -> None:
    env = {"STREAM_URL": f"http://127.0.0.1:{free_port()}/v1/stream"}
    with running(EXAMPLES / command[0], *command[1:], env=env, cwd=tmp_path) as process:
        process.wait_until(lambda: process.exit_code, timeout_s=60)

        assert process.exit_code == 1
        assert process.output.splitlines()[-1].startswith("Cannot connect: ")
        assert process.output.endswith("Is the stream server running there? To start one: durafold serve\n")
        assert "Traceback" not in process.output
