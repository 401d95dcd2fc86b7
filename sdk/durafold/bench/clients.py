"""`durafold bench --client`: measures stream clients side by side, over one server in a process of its own.

Each number is the median of several rounds in which the clients take turns. PyPI `durable-streams` is
measured if it is installed, and npm `@durable-streams/client` if you say where; if not, the report says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final, Protocol

import anyio

from durafold import blocking, client
from durafold.bench.rounds import Figures, Options, medians, new_stream, options_of, say_unmeasured, seconds
from durafold.bench.table import Measure, Numbers, table
from durafold.bench.typescript import Node, node
from durafold.testing import ServerProcess

__all__ = ["main"]

_OTHER: Final = "durable_streams"


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured in one round."""

    appends: int = 200
    produced: int = 20_000
    caught_up: int = 100_000
    live: int = 100


_MEASURES: Final = {
    "append": Measure("one append after the other", "appends/s"),
    "produce": Measure("many appends, exactly once (the other: batched, not idempotent)", "messages/s"),
    "catch_up": Measure("catch-up read of a JSON stream, decoded", "messages/s"),
    "live": Measure("append to delivery over SSE, median", "ms", is_better_high=False),
}


class _Client(Protocol):
    """One client under measurement."""

    async def append(self, url: str, count: int) -> None:
        """Append so many messages, each when the one before is confirmed."""
        ...

    async def produce(self, url: str, count: int) -> None:
        """Append so many messages as fast as it goes."""
        ...

    async def catch_up(self, url: str) -> int:
        """Read and decode everything; return how many messages there were."""
        ...

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        """Follow a stream over SSE to its end."""
        ...


class _Ours:
    async def append(self, url: str, count: int) -> None:
        async with client.DurableStream(url, content_type="application/json") as stream:
            for n in range(count):
                await stream.append({"n": n})

    async def produce(self, url: str, count: int) -> None:
        async with (
            client.DurableStream(url, content_type="application/json") as stream,
            client.IdempotentProducer(stream, "bench") as producer,
        ):
            for n in range(count):
                await producer.append({"n": n})

    async def catch_up(self, url: str) -> int:
        async with client.DurableStream(url) as stream:
            return len(await stream.read_json())

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        async with client.DurableStream(url) as stream, stream.follow(live="sse") as follower:
            async for event in follower.iter_events():
                if event.has_data:
                    on_message(event.data, time.perf_counter())
                started.set()


class _OursBlocking:
    async def append(self, url: str, count: int) -> None:
        await anyio.to_thread.run_sync(self._append, url, count)

    def _append(self, url: str, count: int) -> None:
        with blocking.DurableStream(url, content_type="application/json") as stream:
            for n in range(count):
                stream.append({"n": n})

    async def produce(self, url: str, count: int) -> None:
        await anyio.to_thread.run_sync(self._produce, url, count)

    def _produce(self, url: str, count: int) -> None:
        with (
            blocking.DurableStream(url, content_type="application/json") as stream,
            blocking.IdempotentProducer(stream, "bench") as producer,
        ):
            for n in range(count):
                producer.append({"n": n})

    async def catch_up(self, url: str) -> int:
        return await anyio.to_thread.run_sync(self._catch_up, url)

    def _catch_up(self, url: str) -> int:
        with blocking.DurableStream(url) as stream:
            return len(stream.read_json())

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        await anyio.to_thread.run_sync(self._live, url, on_message, started)

    def _live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        with blocking.DurableStream(url) as stream, stream.follow(live="sse") as follower:
            for event in follower.iter_events():
                if event.has_data:
                    anyio.from_thread.run_sync(on_message, event.data, time.perf_counter())
                anyio.from_thread.run_sync(started.set)


class _Other:
    """PyPI `durable-streams`, asynchronous: it batches what is appended while a request is under way."""

    def __init__(self) -> None:
        self._package: Any = import_module(_OTHER)

    async def append(self, url: str, count: int) -> None:
        async with self._package.AsyncDurableStream(url, content_type="application/json") as stream:
            for n in range(count):
                await stream.append({"n": n})

    async def produce(self, url: str, count: int) -> None:
        async with (
            self._package.AsyncDurableStream(url, content_type="application/json") as stream,
            anyio.create_task_group() as tasks,
        ):
            for n in range(count):
                tasks.start_soon(stream.append, {"n": n})

    async def catch_up(self, url: str) -> int:
        async with self._package.astream(url, offset="-1", live=False) as response:
            return len(await response.read_json())

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        async with self._package.astream(url, offset="-1", live="sse") as response:
            started.set()
            async for message in response.iter_json():
                on_message(message, time.perf_counter())


class _TypeScript:
    """npm `@durable-streams/client`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def append(self, url: str, count: int) -> None:
        await self._node.run(do="append", url=url, count=count)

    async def produce(self, url: str, count: int) -> None:
        await self._node.run(do="produce", url=url, count=count)

    async def catch_up(self, url: str) -> int:
        count: int = await self._node.run(do="catch_up", url=url)
        return count

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        async for line in self._node.lines(do="live", url=url):
            if "came_s" in line:
                on_message(line["item"], line["came_s"])
            else:
                started.set()


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print a table; see `--help`.

    Returns:
        The exit code.
    """
    options = options_of(arguments, "durafold bench --client", __doc__)
    with ServerProcess() as server:
        numbers = anyio.run(_measure, options, f"{server.url}/bench")
    print(table(_MEASURES, numbers))  # noqa: T201
    return 0


async def _measure(options: Options, base: str) -> Numbers:
    size = _Size(appends=5, produced=200, caught_up=1000, live=5) if options.is_quick else _Size()
    history = await new_stream(base)
    await _Ours().produce(history, size.caught_up)
    async with node(options.typescript) as npm:
        clients = _installed_clients()
        if npm is not None:
            clients[npm.name] = _TypeScript(npm)
        figures = {name: _figures(one, base, history, size) for name, one in clients.items()}
        return await medians(figures, options.rounds)


def _installed_clients() -> dict[str, _Client]:
    clients: dict[str, _Client] = {"durafold": _Ours(), "durafold.blocking": _OursBlocking()}
    if find_spec(_OTHER) is None:
        say_unmeasured("durable-streams is not installed (pip install durable-streams)")
    else:
        clients[f"durable-streams {version('durable-streams')}"] = _Other()
    return clients


def _figures(one: _Client, base: str, history: str, size: _Size) -> Figures:
    async def append() -> float:
        return size.appends / await seconds(one.append, await new_stream(base), size.appends)

    async def produce() -> float:
        return size.produced / await seconds(one.produce, await new_stream(base), size.produced)

    async def catch_up() -> float:
        return size.caught_up / await seconds(one.catch_up, history)

    async def live() -> float:
        return await _live_latency_ms(one, await new_stream(base), size.live)

    return {"append": append, "produce": produce, "catch_up": catch_up, "live": live}


async def _live_latency_ms(one: _Client, url: str, count: int) -> float:
    delivered_ms: list[float] = []
    news = anyio.Event()

    def on_message(sent_at_s: float, came_at_s: float) -> None:
        delivered_ms.append((came_at_s - sent_at_s) * 1000)
        news.set()

    async with anyio.create_task_group() as tasks, client.DurableStream(url) as writer:
        started = anyio.Event()
        tasks.start_soon(one.live, url, on_message, started)
        await started.wait()
        for _ in range(count):
            news = anyio.Event()
            await writer.append(time.perf_counter())
            await news.wait()
        await writer.close()
    return statistics.median(delivered_ms)
