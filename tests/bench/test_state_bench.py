"""`durafold bench --state`: every number is taken, and beside those made by hand."""

from __future__ import annotations

import pytest

from durafold.bench import state
from durafold.cli import main as durafold


def test_it_measures_everything_and_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert state.main(["--quick", "--rounds", "1"]) == 0

    said = capsys.readouterr()
    assert "| measure | durafold | by hand | target |" in said.out
    assert said.out.count(" (1.00) | ") == len(state._MEASURES)
    assert "NOT MEASURED: npm @durable-streams/client" in said.err


def test_the_command_line_finds_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert durafold(["bench", "--state", "--rounds", "0"]) == 2

    assert "--rounds must be at least 1" in capsys.readouterr().err
