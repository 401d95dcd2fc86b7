"""Results: their JSON form, and their tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from durafold_server.bench.errors import UsageError
from durafold_server.bench.machine import Machine, describe_machine
from durafold_server.bench.report import comparison_tables, format_number, plain_text, scenario_table, show
from durafold_server.bench.results import (
    Outcome,
    Results,
    ScenarioInfo,
    TargetInfo,
    load,
    save,
    spread,
    summarize,
)
from durafold_server.bench.scenarios.base import Metric
from durafold_server.bench.settings import Settings

SPEED: Final = Metric("requests_per_s", "requests per second", "1/s", "higher")
MEMORY: Final = Metric("extra_mb", "extra memory", "MB", summary="max")
SCENARIO: Final = ScenarioInfo("append-1x1", "one by one", (SPEED, MEMORY))
OURS: Final = Outcome("append-1x1", "ours", {"requests_per_s": [900.0, 1000.0, 1200.0]}, [0.5] * 3, [], False)
OTHER: Final = Outcome(
    "append-1x1",
    "other",
    {"requests_per_s": [500.0, 500.0, 500.0], "extra_mb": [1.0, 9.0]},
    [0.9] * 3,
    [0.3] * 3,
    True,
)
RESULTS: Final = Results(
    "2026-01-02T03:04:05+00:00",
    Machine("Linux", "a CPU", 2, 8000, 0.5, "ext4"),
    {"durafold": "0.1.0"},
    Settings(),
    (TargetInfo("ours", started=True, durable=False), TargetInfo("other", started=False, durable=False)),
    (SCENARIO,),
    (OURS, OTHER),
)


def test_a_run_can_be_saved_and_loaded(tmp_path: Path) -> None:
    save(RESULTS, tmp_path / "run.json")

    assert load(tmp_path / "run.json") == RESULTS


def test_the_json_form_is_what_others_rely_on(tmp_path: Path) -> None:
    save(RESULTS, tmp_path / "run.json")

    form = json.loads((tmp_path / "run.json").read_text())
    assert form["schema"] == "durafold-bench/1"
    assert form["settings"]["measured_s"] == 2.0
    assert form["machine"]["cpu"] == "a CPU"
    assert form["targets"][0] == {"name": "ours", "started": True, "durable": False}
    assert form["scenarios"][0]["metrics"][0] == {
        "key": "requests_per_s",
        "title": "requests per second",
        "unit": "1/s",
        "better": "higher",
        "summary": "median",
    }
    assert form["outcomes"][0] == {
        "scenario": "append-1x1",
        "target": "ours",
        "rounds": {"requests_per_s": [900.0, 1000.0, 1200.0]},
        "generator_share": [0.5, 0.5, 0.5],
        "others_share": [],
        "generator_bound": False,
        "skipped": None,
        "failed": None,
    }


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "durafold-bench/2"}'])
def test_a_file_that_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)

    with pytest.raises(UsageError, match=r"run\.json holds no results"):
        load(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*run\.json"):
        load(tmp_path / "run.json")


def test_a_machine_says_what_it_is(tmp_path: Path) -> None:
    machine = describe_machine(tmp_path)

    assert machine.cores > 0
    assert machine.memory_mb > 0
    assert machine.system


def test_rounds_are_summed_up_by_their_median_and_memory_by_its_peak() -> None:
    assert summarize(SPEED, [1.0, 9.0, 2.0]) == 2.0
    assert summarize(MEMORY, [1.0, 9.0, 2.0]) == 9.0


def test_the_spread_is_half_the_range_relative_to_the_median() -> None:
    assert spread([900.0, 1000.0, 1200.0]) == pytest.approx(0.15)
    assert spread([0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits_that_matter(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_table_has_a_column_for_each_server_and_ratios_to_the_first() -> None:
    table = scenario_table(SCENARIO, [OURS, OTHER])

    assert plain_text(table) == (
        "append-1x1: one by one\n"
        "                                 ours          other\n"
        "requests per second (1/s)  1,000 ±15%  500 ±0% 0.50×\n"
        "extra memory (MB)                   –           9.00\n"
        "other: generator-bound: the generator was busy up to 90% of the time\n"
        "other: other programs took 30% of the machine's CPU time\n"
    )


def test_a_table_says_what_failed_and_what_was_skipped() -> None:
    failed = replace(OURS, rounds={}, failed="it lost a message")
    skipped = replace(
        OTHER, rounds={}, others_share=[], generator_bound=False, skipped="it keeps nothing on disk"
    )

    assert plain_text(scenario_table(SCENARIO, [failed, skipped])) == (
        "append-1x1: one by one\n"
        "ours: FAILED: it lost a message\n"
        "other: not measured: it keeps nothing on disk\n"
    )


def test_a_comparison_shows_both_runs_and_what_differs_between_them() -> None:
    faster = replace(OURS, rounds={"requests_per_s": [2000.0]})
    after = replace(RESULTS, settings=Settings(rounds=1), outcomes=(faster,))

    differences, table = comparison_tables(RESULTS, after)

    assert differences.rows == (("rounds", "3", "1"),)
    assert table.rows == (("requests per second (1/s)", "ours", "1,000", "2,000", "2.00×"),)


def test_what_is_no_terminal_gets_plain_text() -> None:
    out = io.StringIO()
    table = scenario_table(SCENARIO, [OURS, OTHER])

    show(table, out)

    assert out.getvalue() == plain_text(table) + "\n"


def test_a_terminal_gets_a_drawn_table() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()

    show(scenario_table(SCENARIO, [OURS, OTHER]), out)

    assert "┃" in out.getvalue()
    assert "generator-bound" in out.getvalue()
