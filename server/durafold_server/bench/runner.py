"""Measures every scenario on every server, round by round: A B C A B C …

What the machine does besides changes from minute to minute. In turns, it meets all servers alike.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from durafold_server.bench.client import wait_until_up
from durafold_server.bench.errors import BenchError
from durafold_server.bench.machine import describe_machine, describe_versions
from durafold_server.bench.results import Outcome, Results, ScenarioInfo, TargetInfo
from durafold_server.bench.scenarios.append import warm_up
from durafold_server.bench.scenarios.base import Measure, Sample, Scenario, Space
from durafold_server.bench.settings import Settings
from durafold_server.bench.targets import Target

_GENERATOR_BOUND_SHARE: Final = 0.8

Progress = Callable[[str], None]
"""Told in words what is done next."""

Finding = Callable[[ScenarioInfo, Sequence[Outcome]], None]
"""Told what a scenario found."""


def run(
    targets: Sequence[Target],
    scenarios: Sequence[Scenario],
    settings: Settings,
    *,
    directory: Path,
    progress: Progress,
    found: Finding,
) -> Results:
    """Start the servers that are to be started, measure all, and stop them.

    Args:
        targets: the servers.
        scenarios: what to measure, in order.
        settings: rounds, sizes and times.
        directory: where the started servers keep their data.
        progress: told what is done next.
        found: told what a scenario found, as soon as it is known.

    Raises:
        BenchError: a server does not start, or not take appends. What fails later is part of the results.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    machine = describe_machine(directory)
    outcomes: list[Outcome] = []
    infos = tuple(ScenarioInfo(scenario.name, scenario.about, scenario.metrics) for scenario in scenarios)
    with _running(targets):
        for target in targets:
            progress(f"warming up {target.name}")
            with Space(target, settings, _new_prefix("warm-up")) as space:
                warm_up(space)
        for scenario, info in zip(scenarios, infos, strict=True):
            news = run_scenario(scenario, targets, settings, progress)
            found(info, news)
            outcomes += news
    return Results(
        started_at,
        machine,
        describe_versions(),
        settings,
        tuple(TargetInfo(t.name, t.process is not None, t.data_dir is not None) for t in targets),
        infos,
        tuple(outcomes),
    )


def run_scenario(
    scenario: Scenario, targets: Sequence[Target], settings: Settings, progress: Progress
) -> list[Outcome]:
    """Measure one scenario on all servers, which run already; one that fails does not hold up the others."""
    prefix = _new_prefix(scenario.name)
    courses = [_Course(target, skipped=scenario.obstacle(target)) for target in targets]
    with ExitStack() as stack:
        for course in _going(courses):
            progress(f"{scenario.name}: preparing {course.target.name}")
            space = Space(course.target, settings, prefix)
            with course.failures():
                course.measure = stack.enter_context(scenario.begin(stack.enter_context(space)))
        for number in range(1, settings.rounds + 1):
            for course in _going(courses):
                progress(f"{scenario.name}: round {number} of {settings.rounds}, {course.target.name}")
                with course.failures():
                    course.samples.append(course.measure())
    return [_outcome(scenario, course) for course in courses]


@dataclass(slots=True)
class _Course:
    """One scenario on one server, while it runs."""

    target: Target
    measure: Measure = field(init=False)
    samples: list[Sample] = field(default_factory=list)
    skipped: str | None = None
    failed: str | None = None

    @contextmanager
    def failures(self) -> Iterator[None]:
        """What goes wrong in the block ends this course, and no other."""
        try:
            yield
        except (BenchError, OSError) as exc:
            obituary = self.target.process.obituary() if self.target.process else None
            self.failed = obituary or str(exc) or type(exc).__name__


def _going(courses: Sequence[_Course]) -> Iterator[_Course]:
    return (course for course in courses if course.skipped is None and course.failed is None)


def _outcome(scenario: Scenario, course: _Course) -> Outcome:
    rounds = {
        metric.key: known
        for metric in scenario.metrics
        if (known := _known(sample.values.get(metric.key) for sample in course.samples))
    }
    shares = [sample.cost.generator_share for sample in course.samples]
    return Outcome(
        scenario.name,
        course.target.name,
        rounds,
        generator_share=shares,
        others_share=_known(sample.cost.others_share for sample in course.samples),
        generator_bound=bool(shares) and statistics.median(shares) > _GENERATOR_BOUND_SHARE,
        skipped=course.skipped,
        failed=course.failed,
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _new_prefix(name: str) -> str:
    """Where nobody has streams, not even an earlier run that was cut short."""
    return f"durafold-bench/{uuid.uuid4().hex[:12]}/{name}"


@contextmanager
def _running(targets: Sequence[Target]) -> Iterator[None]:
    with ExitStack() as stack:
        for target in targets:
            if target.process is not None:
                stack.callback(target.process.stop)
                target.process.start()
        for target in targets:
            wait_until_up(target)
        yield
