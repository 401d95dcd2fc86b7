"""What the Reflex adapter costs: `python tests/bench/reflex_bench.py`. No test: it measures, for minutes.

The demo's backend runs in production mode over a stream server of its own. Tabs are websockets that speak
Reflex's protocol (`support.reflex_tab`), so a browser's own time is not in the figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from durafold.testing import ServerProcess
from durafold_server.bench.measure import percentile_ms, process_cpu_s, resident_bytes
from support.reflex_app import ReflexApp
from support.reflex_crowd import CrowdTab, crowd
from support.reflex_tab import ReflexTalk

PARTY: Final = Path(__file__).parents[1] / "reflex_adapter" / "apps" / "party"


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as directory:
        anyio.run(_measure_demo, Path(directory), arguments)
        anyio.run(_measure_room, Path(directory), arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=200, help="how many changes, one after the other")
    parser.add_argument("--tabs", type=int, default=200, help="how many tabs follow a change")
    parser.add_argument("--mice", type=int, default=10, help="how many people move in a room")
    parser.add_argument("--seconds", type=float, default=10, help="how long what goes on is watched")
    return parser.parse_args()


async def _measure_demo(directory: Path, arguments: argparse.Namespace) -> None:
    with (
        ServerProcess(directory / "streams") as streams,
        ReflexApp(streams.url, directory / "demo") as app,
    ):
        module = "reflex_demo.reflex_demo"
        async with crowd(ReflexTalk(app.url, module) for _ in range(2)) as (here, there):
            await _clicks(here, there, 20)  # warms up
            _report_latencies(await _clicks(here, there, arguments.clicks))
        await _measure_tabs(app, [ReflexTalk(app.url, module) for _ in range(arguments.tabs)], arguments)


async def _clicks(here: CrowdTab, there: CrowdTab, count: int) -> dict[str, list[float]]:
    """Seconds from a click in one tab until that tab, and the other one, show what follows from it."""
    seen: dict[str, list[float]] = {"the same tab": [], "the other tab": []}
    for _ in range(count):
        wanted, begin_s = _count(here) + 1, time.perf_counter()
        await here.send("DemoCounter.increment", by=1)
        async with anyio.create_task_group() as tasks:
            for who, tab in zip(seen, (here, there), strict=True):
                tasks.start_soon(_note_when, tab, wanted, begin_s, seen[who])
        await here.wait_for(lambda: here.talk.shown["DemoCounter.pending"] == 0)
    return seen


def _count(tab: CrowdTab) -> int:
    count: int = tab.talk.shown["DemoCounter.value"]
    return count


async def _note_when(tab: CrowdTab, wanted: int, begin_s: float, into: list[float]) -> None:
    await tab.wait_for(lambda: _count(tab) >= wanted)
    into.append(time.perf_counter() - begin_s)


def _report_latencies(seen: dict[str, list[float]]) -> None:
    for who, latencies_s in seen.items():
        _say(f"click to {who}, median ms", percentile_ms(latencies_s, 50))
        _say(f"click to {who}, p95 ms", percentile_ms(latencies_s, 95))


async def _measure_tabs(app: ReflexApp, talks: Sequence[ReflexTalk], arguments: argparse.Namespace) -> None:
    count, memory, cpu_s = len(talks), _memory(app), _cpu_s(app)
    async with crowd(talks) as tabs:
        _say("one tab opens and hydrates, CPU ms", (_cpu_s(app) - cpu_s) * 1e3 / count)
        _say("memory of one open tab, KiB", (_memory(app) - memory) / count / 1024)
        async with _cpu_of(app) as idle:
            await anyio.sleep(arguments.seconds)
        _say(f"{count} idle tabs, % of a processor", 100 * idle[0] / arguments.seconds)
        changes, latencies_s = 20, list[float]()
        async with _cpu_of(app) as busy:
            for _ in range(changes):
                latencies_s += await _change_all(tabs)
        _say(f"a change that {count} tabs show: CPU ms for each tab", busy[0] * 1e3 / changes / count)
        _say("the same: until the median tab shows it, ms", percentile_ms(latencies_s, 50))
        _say("the same: until the last 5 % show it, ms", percentile_ms(latencies_s, 95))


async def _change_all(tabs: Sequence[CrowdTab]) -> list[float]:
    wanted, begin_s, latencies_s = _count(tabs[0]) + 1, time.perf_counter(), list[float]()
    await tabs[0].send("DemoCounter.increment", by=1)
    async with anyio.create_task_group() as tasks:
        for tab in tabs:
            tasks.start_soon(_note_when, tab, wanted, begin_s, latencies_s)
    await tabs[0].wait_for(lambda: tabs[0].talk.shown["DemoCounter.pending"] == 0)
    return latencies_s


async def _measure_room(directory: Path, arguments: argparse.Namespace) -> None:
    with (
        ServerProcess(directory / "rooms") as streams,
        ReflexApp(streams.url, directory / "party", source=PARTY) as app,
    ):
        talks = [ReflexTalk(app.url, "party.party", query={"room": "hall"}) for _ in range(arguments.mice)]
        moves = int(arguments.seconds * 20)
        async with crowd(talks) as tabs:
            frames = sum(len(tab.talk.updates) for tab in tabs)
            async with _cpu_of(app) as cpu, anyio.create_task_group() as tasks:
                for tab in tabs:
                    tasks.start_soon(_move, tab, moves)
            frames = sum(len(tab.talk.updates) for tab in tabs) - frames
        _say(f"{arguments.mice} mice: CPU ms for each move", cpu[0] * 1e3 / moves / arguments.mice)
        _say("the same: frames for each tab and move", frames / moves / arguments.mice)


async def _move(tab: CrowdTab, moves: int) -> None:
    """As the mouse of somebody moves: 20 times a second."""
    for step in range(moves):
        await tab.send("People.update", changes={"x": step})
        await anyio.sleep(0.05)


@asynccontextmanager
async def _cpu_of(app: ReflexApp) -> AsyncIterator[list[float]]:
    """CPU seconds that the app takes for a block, as the only item of a list."""
    spent, begin_s = list[float](), _cpu_s(app)
    yield spent
    spent.append(_cpu_s(app) - begin_s)


def _cpu_s(app: ReflexApp) -> float:
    return process_cpu_s(app.pid) or 0.0


def _memory(app: ReflexApp) -> int:
    return resident_bytes(app.pid) or 0


def _say(what: str, number: float) -> None:
    print(f"| {what} | {number:.1f} |", flush=True)


if __name__ == "__main__":
    main()
