"""`durafold bench --client`: measures the clients that are there, and says which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from durafold.bench import clients
from durafold.cli import main as durafold


def test_it_measures_both_faces_and_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)

    assert clients.main(["--quick", "--rounds", "1"]) == 0

    said = capsys.readouterr()
    assert said.out.count("\n| ") == 4
    assert "| measure | durafold | durafold.blocking |" in said.out
    assert "NOT MEASURED: durable-streams is not installed" in said.err


def test_the_command_line_finds_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert durafold(["bench", "--client", "--rounds", "0"]) == 2

    assert "--rounds must be at least 1" in capsys.readouterr().err


def test_a_directory_without_the_npm_client_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        clients.main(["--typescript", str(tmp_path)])

    assert "run npm install in it" in capsys.readouterr().err
