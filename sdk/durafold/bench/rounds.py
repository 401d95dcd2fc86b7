"""Who is measured when: in turns, A B A B, so that what the machine does besides meets all alike."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from durafold import client
from durafold.bench.table import Numbers
from durafold.bench.typescript import is_installed

__all__ = ["Figures", "Options", "medians", "new_stream", "options_of", "say_unmeasured", "seconds"]

Figures = Mapping[str, Callable[[], Awaitable[float]]]
"""By measure: what takes one number of one contestant."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asks for.

    Attributes:
        rounds: rounds that count.
        is_quick: only see that all runs.
        typescript: directory in which npm has installed @durable-streams/client.
    """

    rounds: int
    is_quick: bool
    typescript: Path | None


def options_of(arguments: Sequence[str], program: str, description: str | None) -> Options:
    """Read a command line; the process ends if it makes no sense, or asks for help."""
    parser = argparse.ArgumentParser(prog=program, description=description)
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
    if options.typescript is None:
        say_unmeasured("npm @durable-streams/client: say where it is with --typescript")
    elif not is_installed(options.typescript):
        parser.error(f"{options.typescript} has no @durable-streams/client: run npm install in it")
    return Options(options.rounds, options.quick, options.typescript)


def say_unmeasured(what: str) -> None:
    """Tell the user what will be missing."""
    print(f"NOT MEASURED: {what}", file=sys.stderr)  # noqa: T201


async def medians(contestants: Mapping[str, Figures], rounds: int) -> Numbers:
    """Medians by contestant and measure, of so many rounds; one more round before them warms up."""
    taken: dict[str, dict[str, list[float]]] = {
        name: {key: [] for key in of} for name, of in contestants.items()
    }
    for number in range(rounds + 1):
        for key in dict.fromkeys(key for of in contestants.values() for key in of):
            for name in [name for name, of in contestants.items() if key in of]:
                figure = await contestants[name][key]()
                taken[name][key] += [figure] if number else []
    return {name: {key: statistics.median(all_) for key, all_ in of.items()} for name, of in taken.items()}


async def seconds(function: Callable[..., Awaitable[object]], *arguments: Any) -> float:
    """How long it takes, by the wall clock."""
    started_at_s = time.perf_counter()
    await function(*arguments)
    return time.perf_counter() - started_at_s


async def new_stream(base: str) -> str:
    """URL of a new JSON stream."""
    url = f"{base}/{uuid4().hex}"
    async with client.DurableStream(url) as stream:
        await stream.create()
    return url
