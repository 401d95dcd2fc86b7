"""Our client against the other servers of the protocol: the Node reference and the Python one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import pytest

from durafold.blocking import NOW, Checkpoint, DurableStream, IdempotentProducer
from durafold.errors import StreamClosed, StreamConflict, StreamNotFound
from support.node import install_packages, node_environment

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300), pytest.mark.xdist_group("conformance")]

FOLDER: Final = Path(__file__).parent


@contextmanager
def node_reference() -> Iterator[str]:
    install_packages(FOLDER)
    process = subprocess.Popen(
        ["node", "server.mjs"],
        cwd=FOLDER,
        env=node_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.stdout.read()


@contextmanager
def rakaia() -> Iterator[str]:
    """It takes a port, but not "any": a listening socket of ours is handed down."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        program = ["uvicorn", "rakaia:app", "--fd", str(listening.fileno()), "--log-level", "warning"]
        process = subprocess.Popen([sys.executable, "-m", *program], pass_fds=[listening.fileno()])
        with process:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            process.kill()  # it does not end on SIGTERM while it thinks that somebody reads


SERVERS: Final = {"node": node_reference, "rakaia": rakaia}


@pytest.fixture(scope="module", params=sorted(SERVERS))
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where one of the servers has its streams."""
    with SERVERS[request.param]() as url:
        yield f"{url}/v1/stream"


@pytest.fixture
def stream(base: str) -> Iterator[DurableStream]:
    """A new JSON stream."""
    with DurableStream(f"{base}/{uuid4().hex}") as handle:
        assert handle.create().created
        yield handle


def test_a_stream_is_created_written_read_closed_and_deleted(stream: DurableStream) -> None:
    stream.append({"n": 1})
    stream.append_many([[2], "€"])
    final_offset = stream.close("end").final_offset

    assert stream.read_json() == [{"n": 1}, [2], "€", "end"]
    assert (stream.head().closed, stream.head().next_offset) == (True, final_offset)
    with pytest.raises(StreamClosed):
        stream.append("more")
    stream.delete()
    with pytest.raises(StreamNotFound):
        stream.head()


def test_another_configuration_is_a_conflict(stream: DurableStream) -> None:
    assert not stream.create().created
    with pytest.raises(StreamConflict):
        stream.create(content_type="text/plain")


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_what_is_written_meanwhile_is_followed_to_the_end(
    live: Literal["sse", "long-poll"], stream: DurableStream
) -> None:
    def write() -> None:
        with IdempotentProducer(stream, "interop") as producer:
            for n in range(50):
                producer.append(n)
            producer.close_stream("end")

    writer = threading.Thread(target=write)
    with stream.follow(live=live) as follower:
        writer.start()
        received = list(follower.iter_json())
    writer.join()

    assert received == [*range(50), "end"]
    assert follower.closed


def test_a_reader_goes_on_from_the_middle_of_a_batch(stream: DurableStream) -> None:
    stream.append_many(list(range(10)))
    follower = stream.follow(live="off")
    first = list(islice(follower.iter_json(), 4))
    stored = json.dumps(follower.checkpoint.to_json())
    stream.append("later")

    rest = list(stream.follow(Checkpoint.from_json(json.loads(stored)), live="off").iter_json())

    assert first + rest == [*range(10), "later"]


def test_following_from_now_skips_what_was_there(stream: DurableStream) -> None:
    stream.append("before")
    with stream.follow(NOW) as follower:
        assert follower.ready(timeout_s=30)
        next(follower)
        stream.append("after")

        assert next(follower.iter_json()) == "after"


def test_bytes_come_through_unchanged_live_too(base: str) -> None:
    every_byte = bytes(range(256))
    with DurableStream(f"{base}/{uuid4().hex}") as stream:
        stream.create(content_type="application/octet-stream", body=every_byte)
        with stream.follow(live="sse") as follower:
            assert next(follower.iter_bytes()) == every_byte
            stream.append(every_byte, close=True)
            assert b"".join(follower.iter_bytes()) == every_byte


def test_two_lives_of_a_producer_write_once_each(stream: DurableStream) -> None:
    for epoch in (0, 1):
        with IdempotentProducer(stream, "interop", epoch=epoch) as producer:
            producer.append(epoch)

    assert stream.read_json() == [0, 1]
