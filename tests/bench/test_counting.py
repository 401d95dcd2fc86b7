"""What is sent is counted, every answer is looked at, and what was acknowledged has to be there."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import TypeAlias

import pytest

from durafold_server.bench.client import Client
from durafold_server.bench.errors import BenchError
from durafold_server.bench.load import ClosedLoad, PacedLoad
from durafold_server.bench.messages import batch, count_messages, message
from durafold_server.bench.runner import run_scenario
from durafold_server.bench.scenarios import choose
from durafold_server.bench.settings import Settings
from durafold_server.bench.targets import Target

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
Serve: TypeAlias = Callable[[Callable[[str], Answer]], Target]

CREATED: Answer = (201, {}, b"")
APPENDED: Answer = (204, {}, b"")
EMPTY_PAGE: Answer = (200, {"Stream-Up-To-Date": "true", "Stream-Next-Offset": "0"}, b"[]")
UNFINISHED_PAGE: Answer = (200, {"Stream-Next-Offset": "-1"}, b"[]")
REFUSED: Answer = (503, {}, b"come back later")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives each request the answer that a function has for its method."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))


@contextmanager
def serving(answer: Callable[[str], Answer]) -> Iterator[Target]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self.command)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = reply  # noqa: N815 - names that the base class looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Target("scripted", "127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def appends(target: Target) -> Iterator[bytes]:
    return repeat(target.encode("POST", "stream", body=message()))


def test_a_closed_load_counts_what_the_server_got(serve: Serve) -> None:
    got: Counter[str] = Counter()

    def count(method: str) -> Answer:
        got[method] += 1
        return APPENDED

    target = serve(count)

    with ClosedLoad(target, [appends(target)] * 3, expected=(204,)) as load:
        stretch = load.run(0.1)
        load.finish()

    assert load.answered == load.sent == got["POST"]
    assert 0 < stretch.answered <= load.answered


def test_a_closed_load_ends_with_its_requests(serve: Serve) -> None:
    target = serve(lambda _: APPENDED)
    request = target.encode("POST", "stream")

    with ClosedLoad(target, [[request] * 3, [request] * 5], expected=(204,)) as load:
        stretch = load.run()

    assert stretch.answered == load.sent == 8


def test_a_paced_load_sends_no_more_than_is_due(serve: Serve) -> None:
    target = serve(lambda _: APPENDED)

    with PacedLoad(target, [appends(target)] * 4, expected=(204,), rate_per_s=100) as load:
        load.run(0.1)
        load.finish()

    assert 0 < load.sent <= 11
    assert load.answered == load.sent


def test_an_answer_of_another_status_ends_a_closed_load(serve: Serve) -> None:
    target = serve(lambda _: REFUSED)

    with (
        ClosedLoad(target, [appends(target)], expected=(200, 204)) as load,
        pytest.raises(BenchError, match="503: come back later"),
    ):
        load.run(10)


def test_an_answer_of_another_status_ends_a_paced_load(serve: Serve) -> None:
    target = serve(lambda _: REFUSED)

    with (
        PacedLoad(target, [appends(target)], expected=(200, 204), rate_per_s=1000) as load,
        pytest.raises(BenchError, match="503: come back later"),
    ):
        load.run(10)


def test_a_server_that_hangs_up_ends_a_load(serve: Serve) -> None:
    target = serve(lambda _: (204, {"Connection": "close"}, b""))

    with (
        ClosedLoad(target, [appends(target)], expected=(204,)) as load,
        pytest.raises((BenchError, ConnectionResetError)),
    ):
        load.run(10)


def test_nothing_can_be_said_about_a_server_that_answered_nothing(serve: Serve) -> None:
    target = serve(lambda _: APPENDED)

    with (
        ClosedLoad(target, [], expected=(204,)) as load,
        pytest.raises(BenchError, match="answered nothing"),
    ):
        _ = load.run(0.01).answered


def test_lost_messages_are_found_out(serve: Serve) -> None:
    target = serve(lambda _: EMPTY_PAGE)

    with Client(target) as client, pytest.raises(BenchError, match="3 messages were acknowledged, but 0"):
        client.check_messages(["stream"], 3)


def test_a_read_that_gets_nowhere_is_an_error(serve: Serve) -> None:
    target = serve(lambda _: UNFINISHED_PAGE)

    with Client(target) as client, pytest.raises(BenchError, match="neither"):
        list(client.pages("stream"))


def test_messages_have_the_size_asked_for_and_can_be_counted_however_they_are_spaced() -> None:
    assert len(message()) == 100
    assert len(message("token", 1000)) == 1000
    assert count_messages(batch(7)) == count_messages(batch(7).replace(b":", b" : ")) == 7


def test_a_scenario_fails_on_a_server_that_loses_messages(serve: Serve) -> None:
    lossy = serve({"PUT": CREATED, "POST": APPENDED, "GET": EMPTY_PAGE, "DELETE": APPENDED}.__getitem__)
    settings = Settings(rounds=1, warmup_s=0.01, measured_s=0.05)

    [outcome] = run_scenario(choose(["append-1x1"])[0], [lossy], settings, lambda _: None)

    assert outcome.failed is not None
    assert "but 0 are there" in outcome.failed
    assert outcome.rounds == {}
