"""The table of `durafold bench --client` and `--state`: ratios, targets, and what was not measured."""

from __future__ import annotations

from durafold.bench.table import Measure, table

FAST = Measure("append", "appends/s")
SOON = Measure("live", "ms", is_better_high=False)


def test_numbers_are_compared_with_the_first_column() -> None:
    numbers = {"a": {"append": 1000.0, "live": 2.0}, "b": {"append": 500.0, "live": 4.0}}

    shown = table({"append": FAST, "live": SOON}, numbers)

    assert "| measure | a | b |" in shown
    assert "| append, appends/s | 1,000 (1.00) | 500 (0.50) |" in shown
    assert "| live, ms | 2.00 (1.00) | 4.00 (0.50) |" in shown


def test_what_somebody_does_not_offer_is_a_dash() -> None:
    shown = table({"append": FAST, "live": SOON}, {"a": {"append": 1.0}, "b": {"live": 2.0}})

    assert "| append, appends/s | 1.00 (1.00) | – |" in shown
    assert "| live, ms | – | 2.00 |" in shown


def test_targets_have_a_column_of_their_own() -> None:
    measures = {"append": FAST, "live": Measure("live", "ms", target="≤ 2")}

    shown = table(measures, {"a": {"append": 1.0, "live": 3.0}})

    assert "| measure | a | target |" in shown
    assert "| append, appends/s | 1.00 (1.00) | – |" in shown
    assert "| live, ms | 3.00 (1.00) | ≤ 2 |" in shown
