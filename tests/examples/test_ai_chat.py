"""The chat: an answer that is made once, read by many, and outlives the page and the program."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import pytest

from durafold.processes import ChildProcess
from support.examples import EXAMPLES, running, web_app
from support.ports import free_port

APP: Final = EXAMPLES / "ai_chat" / "app.py"


class Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that says three words, or what is no JSON if it is confused."""

    asked: ClassVar[list[tuple[str, str | None, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        chunks = [{"choices": [{"delta": {"role": "assistant"}}]}]
        chunks += [{"choices": [{"delta": {"content": word}}]} for word in ("Be", "cau", "se")]
        events = [json.dumps(chunk) for chunk in [*chunks, {"choices": []}]] + ["[DONE]"]
        events = ["<html>"] if body["model"] == "confused" else events
        self.wfile.write("".join(f"data: {event}\n\n" for event in events).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def log(address: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = httpx.get(f"{address}/sync/v1/stream/chat/test").json()
    return messages


def wait_for(process: ChildProcess, address: str, kind: str) -> None:
    process.wait_until(lambda: kind in [message["type"] for message in log(address)] or None, timeout_s=60)


def ask(address: str, text: str) -> httpx.Response:
    return httpx.post(f"{address}/c/test", json={"text": text}, timeout=60)


def test_an_answer_is_made_once_from_the_whole_conversation(tmp_path: Path, endpoint: str) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    model = {"OPENAI_BASE_URL": endpoint, "OPENAI_MODEL": "tiny", "OPENAI_API_KEY": "secret"}
    with web_app(APP, tmp_path, port, **model) as process:
        assert ask(address, "Why?").json() == {"turn": 1}
        wait_for(process, address, "end")

    assert [path for path, _, _ in Endpoint.asked] == ["/v1/chat/completions"]
    _, authorization, request = Endpoint.asked[0]
    assert authorization == "Bearer secret"
    assert request == {"model": "tiny", "messages": [{"role": "user", "content": "Why?"}], "stream": True}


def test_an_endpoint_without_the_name_of_a_model_is_refused_at_the_start(tmp_path: Path) -> None:
    with running(APP, env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, cwd=tmp_path) as process:
        process.wait_until(lambda: process.exit_code, timeout_s=60)

        assert process.exit_code == 1
        assert process.output == "OPENAI_BASE_URL is set, but not OPENAI_MODEL: the name of a model there\n"


def test_what_a_model_says_amiss_ends_its_answer_and_not_the_chat(tmp_path: Path, endpoint: str) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web_app(APP, tmp_path, port, OPENAI_BASE_URL=endpoint, OPENAI_MODEL="confused") as process:
        ask(address, "Why?")
        wait_for(process, address, "end")
        first = log(address)
        assert ask(address, "And why?").json() == {"turn": 2}

    assert first[-1]["error"].startswith("The model does not answer: ")


@pytest.mark.crash
def test_a_killed_answer_keeps_what_it_had_and_is_ended_with_a_note(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web_app(APP, tmp_path, port, PAUSE_S="0.5") as process:
        ask(address, "Why?")
        wait_for(process, address, "piece")
        assert ask(address, "And why?").status_code == 409
        process.end(signal.SIGKILL)

    with web_app(APP, tmp_path, port, PAUSE_S="0.001") as process:
        httpx.get(f"{address}/c/test")
        first = log(address)
        assert ask(address, "And why?").json() == {"turn": 2}
        process.wait_until(lambda: log(address)[-1] == {"type": "end", "turn": 2} or None, timeout_s=60)

    assert first[:2] == [
        {"type": "question", "turn": 1, "text": "Why?"},
        {"type": "piece", "turn": 1, "text": "You "},
    ]
    assert first[-1]["type"] == "end"
    assert "stopped" in first[-1]["error"]
