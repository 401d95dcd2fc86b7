"""What a run found, as values, as lines of JSON, and as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from durafold_server.conformance.check import Check, Level, Topic

PROTOCOL_COMMIT: Final = "82f9963a"
"""The version of PROTOCOL.md in durable-streams/durable-streams that the checks are written from."""
SCHEMA_VERSION: Final = 1
"""Of the lines of JSON; grows when a field changes its meaning or goes. New fields may come at any time."""


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended.

    Attributes:
        check: the check.
        outcome: how it ended.
        expected: of a failed check, what should have come.
        came: of a failed check, what came.
        exchange: of a failed check, the request and answer that showed it, if it was one.
        reason: of a skipped check, why.
        duration_s: how long it took.
        may_be_slowness: whether the machine may be to blame; the check was tried several times then.
    """

    check: Check
    outcome: Outcome
    expected: str = ""
    came: str = ""
    exchange: str = ""
    reason: str = ""
    duration_s: float = 0.0
    may_be_slowness: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields of the `check` line."""
        return {
            **describe(self.check),
            "outcome": self.outcome.value,
            "expected": self.expected or None,
            "came": self.came or None,
            "exchange": self.exchange or None,
            "reason": self.reason or None,
            "duration_s": round(self.duration_s, 4),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        url: the URL that all streams were below.
        results: one for each check that was chosen, in the order of `--list`.
        duration_s: how long the run took.
    """

    url: str
    results: tuple[Result, ...]
    duration_s: float

    @property
    def conforms(self) -> bool:
        """Whether no check of level MUST or SHOULD failed."""
        return not any(result.check.level is not Level.QUALITY for result in self.failed)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The failed checks of all levels."""
        return tuple(result for result in self.results if result.outcome is Outcome.FAILED)

    @property
    def skipped(self) -> tuple[Result, ...]:
        """The checks that could not be judged."""
        return tuple(result for result in self.results if result.outcome is Outcome.SKIPPED)

    def count(self, outcome: Outcome, level: Level | None = None, topic: str | None = None) -> int:
        """How many checks of a level and a topic ended so."""
        return sum(
            result.outcome is outcome
            and level in (None, result.check.level)
            and topic in (None, result.check.topic)
            for result in self.results
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of the `summary` line."""
        return {
            "type": "summary",
            "conforms": self.conforms,
            **{outcome.value: self.count(outcome) for outcome in Outcome},
            "must_failed": self.count(Outcome.FAILED, Level.MUST),
            "should_failed": self.count(Outcome.FAILED, Level.SHOULD),
            "quality_failed": self.count(Outcome.FAILED, Level.QUALITY),
            "duration_s": round(self.duration_s, 3),
        }


def describe(check: Check) -> dict[str, Any]:
    """What is known of a check before it runs."""
    return {
        "type": "check",
        "name": check.name,
        "title": check.title,
        "topic": check.topic,
        "section": check.section,
        "level": check.level.value,
    }


def opening(url: str, suite_version: str, checks: Sequence[Check]) -> dict[str, Any]:
    """The fields of the `run` line."""
    return {
        "type": "run",
        "schema": SCHEMA_VERSION,
        "suite": f"durafold {suite_version}",
        "protocol": PROTOCOL_COMMIT,
        "url": url,
        "checks": len(checks),
    }


def json_line(fields: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(fields, ensure_ascii=False)


def failure_line(result: Result) -> str:
    """What a person needs to know of a failed check, in one line."""
    shown = f" | {result.exchange}" if result.exchange else ""
    check = result.check
    return (
        f"FAILED {check.level.value} {check.section}: {check.title}. "
        f"Expected {result.expected}, came {result.came}{shown}"
    )


def table(report: Report, topics: Iterable[Topic]) -> str:
    """Passed checks of all that could be judged, by topic and level; then what was skipped, and why."""
    rows = [
        (topic.number, topic.title, *_cells(report, topic.name))
        for topic in topics
        if any(result.check.topic == topic.name for result in report.results)
    ]
    rows.append(("", "all", *_cells(report, None)))
    heading = ("", "section", *(level.value for level in Level), "skipped")
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    lines = [_row(row, widths) for row in [heading, *rows]]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    return "\n".join([*lines, *_reasons(report)])


def verdict(report: Report) -> str:
    """One sentence."""
    must, should = (report.count(Outcome.FAILED, level) for level in (Level.MUST, Level.SHOULD))
    if report.conforms:
        passed = report.count(Outcome.PASSED)
        return f"{report.url} conforms: {passed} checks passed in {report.duration_s:.1f} s."
    return f"{report.url} does not conform: {must} MUST and {should} SHOULD failed."


def _cells(report: Report, topic: str | None) -> list[str]:
    skipped = report.count(Outcome.SKIPPED, topic=topic)
    return [*(_ratio(report, level, topic) for level in Level), str(skipped) if skipped else ""]


def _ratio(report: Report, level: Level, topic: str | None) -> str:
    passed = report.count(Outcome.PASSED, level, topic)
    judged = passed + report.count(Outcome.FAILED, level, topic)
    return f"{passed}/{judged}" if judged else ""


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = f"{cells[0]:<{widths[0]}}  {cells[1]:<{widths[1]}}"
    right = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True))
    return f"{left}  {right}"


def _reasons(report: Report) -> list[str]:
    counted: dict[str, int] = {}
    for result in report.skipped:
        counted[result.reason] = counted.get(result.reason, 0) + 1
    return [f"skipped {count}: {reason}" for reason, count in counted.items()]
