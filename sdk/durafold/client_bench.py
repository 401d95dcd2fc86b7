"""`durafold bench --client`: measures stream clients side by side, over one server in a process of its own.

Each number is the median of several rounds in which the clients take turns. PyPI `durable-streams` is
measured if it is installed, and npm `@durable-streams/client` if you say where; if not, the report says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from durafold import blocking, client
from durafold.testing import ServerProcess

__all__ = ["main"]

_OTHER: Final = "durable_streams"
_NODE_PROGRAM: Final = Path(__file__).with_name("client_bench.mjs")
_MAX_LINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured in one round."""

    appends: int = 200
    produced: int = 20_000
    caught_up: int = 100_000
    live: int = 100


@dataclass(frozen=True, slots=True)
class _Measure:
    """What is measured: one attribute of a round's numbers."""

    name: str
    unit: str
    is_better_high: bool = True


_MEASURES: Final = {
    "append": _Measure("one append after the other", "appends/s"),
    "produce": _Measure("many appends, exactly once (the other: batched, not idempotent)", "messages/s"),
    "catch_up": _Measure("catch-up read of a JSON stream, decoded", "messages/s"),
    "live": _Measure("append to delivery over SSE, median", "ms", is_better_high=False),
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
    """npm `@durable-streams/client` in a Node process of its own, which stays, so that it gets warm."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def append(self, url: str, count: int) -> None:
        await self._run(do="append", url=url, count=count)

    async def produce(self, url: str, count: int) -> None:
        await self._run(do="produce", url=url, count=count)

    async def catch_up(self, url: str) -> int:
        count: int = await self._run(do="catch_up", url=url)
        return count

    async def live(self, url: str, on_message: Callable[[float, float], None], started: anyio.Event) -> None:
        await self._send(do="live", url=url)
        async for line in self._until_done():
            if "came_s" in line:
                on_message(line["item"], line["came_s"])
            else:
                started.set()

    async def _run(self, **command: object) -> Any:
        await self._send(**command)
        result = None
        async for line in self._until_done():
            result = line.get("result")
        return result

    async def _send(self, **command: object) -> None:
        await self._commands.send(json.dumps(command).encode() + b"\n")

    async def _until_done(self) -> AsyncIterator[dict[str, Any]]:
        done = False
        while not done:
            line = json.loads(await self._lines.receive_until(b"\n", _MAX_LINE_BYTES))
            done = "done" in line
            yield line


@asynccontextmanager
async def _typescript(directory: Path | None) -> AsyncIterator[dict[str, _Client]]:
    """The client of npm's package, if there is a directory that it is installed in."""
    if directory is None:
        yield {}
        return
    package = json.loads((directory / "node_modules/@durable-streams/client/package.json").read_text())
    command = ["node", "--input-type=module", "--eval", _NODE_PROGRAM.read_text()]
    async with await anyio.open_process(command, cwd=directory, stderr=subprocess.DEVNULL) as process:
        try:
            yield {f"npm client {package['version']}": _TypeScript(process)}
        finally:
            process.terminate()


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print a table; see `--help`.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="durafold bench --client", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, at least 1 (default 5)")
    parser.add_argument("--quick", action="store_true", help="a hundredth of everything, to try it out")
    parser.add_argument(
        "--typescript",
        metavar="DIR",
        type=Path,
        help="directory in which npm has installed @durable-streams/client, to measure it too; needs node",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    installed = options.typescript and options.typescript / "node_modules" / "@durable-streams" / "client"
    if installed and not installed.is_dir():
        parser.error(f"{options.typescript} has no @durable-streams/client: run npm install in it")
    size = _Size(appends=5, produced=200, caught_up=1000, live=5) if options.quick else _Size()
    clients: dict[str, _Client] = {"durafold": _Ours(), "durafold.blocking": _OursBlocking()}
    if find_spec(_OTHER) is None:
        _say_unmeasured("durable-streams is not installed (pip install durable-streams)")
    else:
        clients[f"durable-streams {version('durable-streams')}"] = _Other()
    if not installed:
        _say_unmeasured("npm @durable-streams/client: say where it is with --typescript")
    with ServerProcess() as server:
        numbers = anyio.run(
            _measure_all, clients, options.typescript, f"{server.url}/bench", size, options.rounds
        )
    print(_table(numbers))  # noqa: T201
    return 0


def _say_unmeasured(what: str) -> None:
    print(f"NOT MEASURED: {what}", file=sys.stderr)  # noqa: T201


Numbers = Mapping[str, Mapping[str, float]]


async def _measure_all(
    clients: Mapping[str, _Client], typescript: Path | None, base: str, size: _Size, rounds: int
) -> Numbers:
    async with _typescript(typescript) as more:
        return await _measure({**clients, **more}, base, size, rounds)


async def _measure(clients: Mapping[str, _Client], base: str, size: _Size, rounds: int) -> Numbers:
    """Medians by client and measure; one more round before them warms up."""
    taken: dict[str, dict[str, list[float]]] = {name: {key: [] for key in _MEASURES} for name in clients}
    history = await _history(base, size.caught_up)
    for number in range(rounds + 1):
        for name, one in clients.items():
            figures = await _round(one, base, history, size)
            for key, figure in figures.items() if number else ():
                taken[name][key].append(figure)
    return {name: {key: statistics.median(all_) for key, all_ in of.items()} for name, of in taken.items()}


async def _history(base: str, count: int) -> str:
    url = await _new(base)
    await _Ours().produce(url, count)
    return url


async def _new(base: str) -> str:
    url = f"{base}/{uuid4().hex}"
    async with client.DurableStream(url) as stream:
        await stream.create()
    return url


async def _round(one: _Client, base: str, history: str, size: _Size) -> Mapping[str, float]:
    return {
        "append": size.appends / await _seconds(one.append, await _new(base), size.appends),
        "produce": size.produced / await _seconds(one.produce, await _new(base), size.produced),
        "catch_up": size.caught_up / await _seconds(one.catch_up, history),
        "live": await _live_latency_ms(one, await _new(base), size.live),
    }


async def _seconds(function: Callable[..., Awaitable[object]], *arguments: Any) -> float:
    started_at_s = time.perf_counter()
    await function(*arguments)
    return time.perf_counter() - started_at_s


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


def _table(numbers: Numbers) -> str:
    """The medians as a Markdown table, with the ratio to the first client behind each."""
    first = next(iter(numbers.values()))
    lines = ["| measure | " + " | ".join(numbers) + " |", "|---" * (len(numbers) + 1) + "|"]
    for key, measure in _MEASURES.items():
        cells = [_cell(of[key], first[key], measure) for of in numbers.values()]
        lines.append(f"| {measure.name}, {measure.unit} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "In brackets: how many times as good as durafold."])


def _cell(figure: float, first: float, measure: _Measure) -> str:
    ratio = figure / first if measure.is_better_high else first / figure
    shown = f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
    return f"{shown} ({ratio:.2f})"
