"""Results as tables for people: one table a scenario, one column a server."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final, TextIO

from durafold_server.bench.results import Outcome, Results, ScenarioInfo, spread, summarize
from durafold_server.bench.scenarios.base import Metric

_QUIET_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns.

    Attributes:
        title: above it.
        header: one text a column.
        rows: as many texts each.
        notes: below it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def scenario_table(scenario: ScenarioInfo, outcomes: Sequence[Outcome]) -> Table:
    """What one scenario found: medians of the rounds, spreads, and ratios to the first server."""
    rows = [
        (_label(metric), *(_cell(metric, outcome, outcomes[0]) for outcome in outcomes))
        for metric in scenario.metrics
        if any(metric.key in outcome.rounds for outcome in outcomes)
    ]
    header = ("", *(outcome.target for outcome in outcomes))
    return Table(f"{scenario.name}: {scenario.about}", header, tuple(rows), tuple(_notes(outcomes)))


def comparison_tables(before: Results, after: Results) -> list[Table]:
    """Two runs beside each other: how they differ in themselves, then all that is in both."""
    header = ("", "server", "before", "after", "after / before")
    tables = [
        Table(scenario.name, header, rows)
        for scenario in after.scenarios
        if (rows := tuple(_compared(scenario, before, after)))
    ]
    return [_differences(before, after), *tables]


def plain_text(table: Table) -> str:
    """The table in aligned columns, the first one to the left, the others to the right."""
    lines = [table.header, *table.rows] if table.rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [_align(line, widths) for line in lines]
    return "\n".join([table.title, *aligned, *table.notes]) + "\n"


def show(table: Table, out: TextIO) -> None:
    """Write a table: drawn by rich on a terminal, if rich is installed, else as plain text."""
    try:
        import rich.console
        import rich.table
    except ModuleNotFoundError:
        out.write(plain_text(table) + "\n")
        return
    console = rich.console.Console(file=out, highlight=False)
    if not console.is_terminal:
        out.write(plain_text(table) + "\n")
        return
    drawn = rich.table.Table()
    for at, name in enumerate(table.header):
        drawn.add_column(name, justify="left" if at == 0 else "right")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(table.title, style="bold", markup=False)
    if table.rows:
        console.print(drawn)
    console.print(*table.notes, "", sep="\n", markup=False)


def format_number(value: float) -> str:
    """Three digits that matter, and thousands apart: 12,345, 123, 12.3, 1.23, 0.0123."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:#.3g}"


def _align(line: Sequence[str], widths: Sequence[int]) -> str:
    first = line[0].ljust(widths[0])
    others = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([first, *others]).rstrip()


def _label(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def _cell(metric: Metric, outcome: Outcome, first: Outcome) -> str:
    values, reference = outcome.rounds.get(metric.key), first.rounds.get(metric.key)
    if not values:
        return "–"
    text = format_number(summarize(metric, values))
    if metric.summary == "median" and len(values) > 1:
        text += f" ±{spread(values):.0%}"
    ratio = _ratio(metric, reference, values) if reference and outcome is not first else ""
    return f"{text} {ratio}" if ratio else text


def _ratio(metric: Metric, before: list[float], after: list[float]) -> str:
    """How many times as much; nothing where that makes no sense."""
    base, value = summarize(metric, before), summarize(metric, after)
    if base <= 0 or value < 0:
        return ""
    return f"{value / base:#.2g}×" if value < base else f"{format_number(value / base)}×"


def _notes(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.failed is not None:
            yield f"{outcome.target}: FAILED: {outcome.failed}"
        if outcome.skipped is not None:
            yield f"{outcome.target}: not measured: {outcome.skipped}"
        if outcome.generator_bound:
            share = max(outcome.generator_share)
            yield f"{outcome.target}: generator-bound: the generator was busy up to {share:.0%} of the time"
        if outcome.others_share and statistics.median(outcome.others_share) > _QUIET_SHARE:
            share = statistics.median(outcome.others_share)
            yield f"{outcome.target}: other programs took {share:.0%} of the machine's CPU time"


def _compared(scenario: ScenarioInfo, before: Results, after: Results) -> Iterator[tuple[str, ...]]:
    for metric in scenario.metrics:
        for target in after.targets:
            old, new = (run.outcome(scenario.name, target.name) for run in (before, after))
            if old is None or new is None or metric.key not in old.rounds or metric.key not in new.rounds:
                continue
            values = old.rounds[metric.key], new.rounds[metric.key]
            cells = [format_number(summarize(metric, rounds)) for rounds in values]
            yield _label(metric), target.name, *cells, _ratio(metric, *values)


def _differences(before: Results, after: Results) -> Table:
    """Settings, machine and versions that are not the same: reasons not to compare the numbers."""
    facts = [
        {"started at": run.started_at} | asdict(run.settings) | asdict(run.machine) | run.versions
        for run in (before, after)
    ]
    rows = tuple(
        (name, str(facts[0].get(name, "–")), str(facts[1].get(name, "–")))
        for name in facts[0] | facts[1]
        if facts[0].get(name) != facts[1].get(name)
    )
    return Table("What differs between the runs", ("", "before", "after"), rows)
