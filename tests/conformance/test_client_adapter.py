"""The adapter for the protocol's client conformance suite, driven as the suite drives it: JSON lines.

The suite itself (a TypeScript runner, not published as a package) is run by hand; docs/reference/
conformance.md says how, and what comes out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from support.server import ServerProcess

ADAPTER: Final = Path(__file__).with_name("client_adapter.py")

Tell = Callable[..., dict[str, Any]]


@pytest.fixture(params=["async", "blocking"])
def tell(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Tell]:
    """Sends a command to an adapter process and returns its answer."""
    flags = ["--blocking"] if request.param == "blocking" else []
    process = subprocess.Popen(
        [sys.executable, ADAPTER, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    write, read = process.stdin, process.stdout

    def tell(kind: str, **fields: Any) -> dict[str, Any]:
        write.write(json.dumps({"type": kind, **fields}) + "\n")
        write.flush()
        answer: dict[str, Any] = json.loads(read.readline())
        return answer

    tell("init", serverUrl=server.url)
    yield tell
    assert tell("shutdown")["success"]
    write.close()
    assert process.wait(timeout=30) == 0
    read.close()


@pytest.fixture
def path(tell: Tell) -> str:
    """A JSON stream."""
    path = f"/adapter/{uuid4().hex}"
    assert tell("create", path=path, contentType="application/json")["status"] == 201
    return path


def test_what_is_appended_is_read(tell: Tell, path: str) -> None:
    tell("append", path=path, data='{"n":1}')
    tail = tell("append", path=path, data="[2,3]")["offset"]

    answer = tell("read", path=path)

    assert json.loads(answer["chunks"][0]["data"]) == [{"n": 1}, [2, 3]]
    assert (answer["offset"], answer["upToDate"]) == (tail, True)


def test_live_reading_ends_with_the_time_or_with_the_stream(tell: Tell, path: str) -> None:
    in_time = tell("read", path=path, live="long-poll", timeoutMs=300)
    tell("append", path=path, data="1")
    tell("close", path=path)
    to_the_end = tell("read", path=path, live="sse")

    assert (in_time["status"], in_time["chunks"]) == (204, [])
    assert (to_the_end["chunks"][0]["data"], to_the_end["streamClosed"]) == ("[1]", True)


def test_a_producer_writes_once_and_closes(tell: Tell, path: str) -> None:
    producer = {"path": path, "producerId": "p", "epoch": 0, "autoClaim": False}

    assert tell("idempotent-append", data="1", **producer)["status"] == 200
    batch = {**producer, "producerId": "q", "items": ["2", "3"], "maxInFlight": 5}
    assert tell("idempotent-append-batch", **batch)["status"] == 200
    assert tell("idempotent-close", data="4", **producer)["status"] == 200
    assert tell("idempotent-close", **{**producer, "producerId": "r"})["errorCode"] == "STREAM_CLOSED"
    assert sorted(json.loads(tell("read", path=path)["chunks"][0]["data"])) == [1, 2, 3, 4]


def test_errors_are_answers_and_name_the_stream(tell: Tell) -> None:
    answer = tell("head", path="/adapter/none")

    assert (answer["errorCode"], answer["status"]) == ("NOT_FOUND", 404)
    assert "/adapter/none" in answer["message"]


def test_headers_are_evaluated_for_every_request(tell: Tell, path: str) -> None:
    tell("set-dynamic-header", name="X-Count", valueType="counter")

    sent = [tell("append", path=path, data="1")["headersSent"] for _ in range(2)]

    assert sent == [{"X-Count": "1"}, {"X-Count": "2"}]


def test_impossible_arguments_are_refused(tell: Tell) -> None:
    answer = tell("validate", target={"target": "idempotent-producer", "producerId": "", "epoch": 0})

    assert answer["errorCode"] == "INVALID_ARGUMENT"


def test_an_unknown_command_is_not_supported(tell: Tell) -> None:
    assert tell("benchmark", iterationId="1")["errorCode"] == "NOT_SUPPORTED"
