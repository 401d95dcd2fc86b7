"""What a scenario is, and what it gets to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from durafold_server.bench.client import Client, delete_quietly, restart
from durafold_server.bench.measure import Cost, Meter
from durafold_server.bench.settings import Settings
from durafold_server.bench.targets import Target


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is measured.

    Attributes:
        key: its name in results; it stays as it is.
        title: its name for people.
        unit: of the value.
        better: whether more or less of it is better.
        summary: what stands for all rounds. Memory that a process has let go of is there for the next round,
            so only the largest value tells what was needed.
    """

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"] = "lower"
    summary: Literal["median", "max"] = "median"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found.

    Attributes:
        values: by key of the metric; None where something is not known of this server.
        cost: what the measured time took.
    """

    values: Mapping[str, float | None]
    cost: Cost


Measure = Callable[[], Sample]
"""Measures once.

Raises:
    BenchError, OSError: the server did not do what it should.
"""


class Space:
    """One scenario's place on one server: its streams, deleted at the end; a context manager.

    Args:
        target: the server.
        settings: of the run.
        prefix: of the streams' names; nobody else's begin with it.
    """

    def __init__(self, target: Target, settings: Settings, prefix: str) -> None:
        self.target = target
        self.settings = settings
        self._prefix = prefix
        self._paths: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        delete_quietly(self.target, self._paths)

    def client(self) -> Client:
        """A new connection to the server, to be closed by the caller."""
        return Client(self.target)

    def meter(self) -> Meter:
        """A meter of what the server and this process do."""
        return Meter(self.target)

    def create(self, count: int = 1) -> list[str]:
        """Make empty JSON streams; returns their paths."""
        first = len(self._paths)
        paths = [f"{self._prefix}/{number}" for number in range(first, first + count)]
        with self.client() as client:
            for path in paths:
                client.create(path)
                self._paths.append(path)
        return paths

    def restart_if_ours(self) -> None:
        """Give the server fresh memory, if it was started for this run."""
        if self.target.process is not None:
            restart(self.target)


Begin = Callable[[Space], AbstractContextManager[Measure]]
"""Prepares a server, and gives what measures it once a round."""


def unprepared(measure: Callable[[Space], Sample]) -> Begin:
    """For a scenario in which each round makes its own streams."""

    @contextmanager
    def begin(space: Space) -> Iterator[Measure]:
        yield lambda: measure(space)

    return begin


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure.

    Attributes:
        name: for the command line and for results; it stays as it is.
        about: one line for people.
        metrics: what comes out.
        begin: prepares a server.
        needs_process: whether it needs to know the server's process.
        durable_only: whether it needs a server that was started for this run and keeps data on disk.
    """

    name: str
    about: str
    metrics: tuple[Metric, ...]
    begin: Begin
    needs_process: bool = False
    durable_only: bool = False

    def obstacle(self, target: Target) -> str | None:
        """Why it cannot be measured on a server; None if it can."""
        if self.needs_process and target.pid is None:
            return "its process is not known: add ,pid=PID to its URL"
        if self.durable_only and target.process is None:
            return "only for servers that this program starts"
        if self.durable_only and target.data_dir is None:
            return "it keeps nothing on disk"
        return None
