"""What a run found, and its JSON form.

The schema is stable: keys may be added, but none is renamed or given another meaning without a new `schema`.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from durafold_server.bench.errors import UsageError
from durafold_server.bench.machine import Machine
from durafold_server.bench.scenarios.base import Metric
from durafold_server.bench.settings import Settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario on one server.

    Attributes:
        scenario: its name.
        target: name of the server.
        rounds: for each metric by key the values of all rounds; what is not known of a server is left out.
        generator_share: in each round, the part of the time in which the load generator worked or had to
            wait for a CPU.
        others_share: in each round, the part of the machine's CPU time that went to other programs; empty if
            it is not known.
        generator_bound: whether the load generator was so busy that the server may be faster than it seems.
        skipped: why it was not measured, None if it was.
        failed: what went wrong, None if nothing did.
    """

    scenario: str
    target: str
    rounds: dict[str, list[float]]
    generator_share: list[float]
    others_share: list[float]
    generator_bound: bool
    skipped: str | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class ScenarioInfo:
    """What a scenario of a run was."""

    name: str
    about: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a server of a run was.

    Attributes:
        name: of the server.
        started: whether it was started for the run.
        durable: whether it was started with a directory to keep data in.
    """

    name: str
    started: bool
    durable: bool


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run.

    Attributes:
        schema: of the JSON form.
        started_at: when it began, ISO 8601.
        machine: where it was made.
        versions: of Python and of what our server is made of.
        settings: sizes and times.
        targets: the servers, in order.
        scenarios: what was measured, in order.
        outcomes: what was found.
    """

    started_at: str
    machine: Machine
    versions: dict[str, str]
    settings: Settings
    targets: tuple[TargetInfo, ...]
    scenarios: tuple[ScenarioInfo, ...]
    outcomes: tuple[Outcome, ...]
    schema: Literal["durafold-bench/1"] = "durafold-bench/1"

    def outcome(self, scenario: str, target: str) -> Outcome | None:
        """What was found for a scenario on a server, None if it was no part of the run."""
        return next((o for o in self.outcomes if (o.scenario, o.target) == (scenario, target)), None)


def summarize(metric: Metric, values: list[float]) -> float:
    """The one number that stands for all rounds."""
    return max(values) if metric.summary == "max" else statistics.median(values)


def spread(values: list[float]) -> float:
    """Half the distance between the smallest and the largest value, as a part of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0


def save(results: Results, file: Path) -> None:
    """Write the JSON form.

    Raises:
        OSError: the file cannot be written.
    """
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def load(file: Path) -> Results:
    """Read the JSON form.

    Raises:
        UsageError: the file cannot be read, or is none of ours.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Results)
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise UsageError(f"{file} holds no results of durafold bench: {exc}") from exc
