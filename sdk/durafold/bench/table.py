"""Measured numbers as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Measure", "Numbers", "table"]

Numbers = Mapping[str, Mapping[str, float]]
"""By who was measured and what was measured. What somebody does not offer is missing."""

_UNMEASURED: Final = "–"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured.

    Attributes:
        name: in words, for the table.
        unit: of its numbers.
        is_better_high: whether a larger number is a better one.
        target: what the first column should reach, in words; empty for none.
    """

    name: str
    unit: str
    is_better_high: bool = True
    target: str = ""


def table(measures: Mapping[str, Measure], numbers: Numbers) -> str:
    """A line for each measure and a column for each who was measured.

    Behind each number stands how many times as good it is as the first column's. If a measure has a target,
    there is a column for it.
    """
    first = next(iter(numbers.values()))
    targets = ["target"] if any(measure.target for measure in measures.values()) else []
    lines = [_line(["measure", *numbers, *targets]), "|---" * (len(numbers) + len(targets) + 1) + "|"]
    for key, measure in measures.items():
        cells = [_cell(of.get(key), first.get(key), measure) for of in numbers.values()]
        target = [measure.target or _UNMEASURED] if targets else []
        lines.append(_line([f"{measure.name}, {measure.unit}", *cells, *target]))
    return "\n".join([*lines, "", f"In brackets: how many times as good as {next(iter(numbers))}."])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(figure: float | None, first: float | None, measure: Measure) -> str:
    if figure is None:
        return _UNMEASURED
    shown = f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
    if not figure or not first:
        return shown
    return f"{shown} ({figure / first if measure.is_better_high else first / figure:.2f})"
