"""`durafold bench` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from durafold_server.bench.scenarios import ALL

DURAFOLD = str(Path(sys.executable).with_name("durafold"))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DURAFOLD, "bench", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_list_names_every_scenario() -> None:
    outcome = bench("--list")

    assert outcome.returncode == 0
    assert [line.split()[0] for line in outcome.stdout.splitlines()] == [scenario.name for scenario in ALL]


def test_servers_are_started_measured_and_compared(tmp_path: Path) -> None:
    file = str(tmp_path / "run.json")

    run = bench("--quick", "--seconds", "0.1", "--scenario", "append-1x1", "--json", file)
    comparison = bench("--compare", file, file)

    assert (run.returncode, run.stderr) == (0, "")
    assert "requests per second (1/s)" in run.stdout
    assert [target["name"] for target in json.loads(Path(file).read_text())["targets"]] == [
        "memory",
        "sqlite",
    ]
    assert comparison.returncode == 0
    assert "1.00×" in comparison.stdout


def test_a_command_starts_another_server(tmp_path: Path) -> None:
    command = f"mine={sys.executable} -m durafold_server --port {{port}} --data {{data}}"

    outcome = bench(
        command, "--quick", "--seconds", "0.1", "--scenario", "restart", "--directory", str(tmp_path)
    )

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "start to first answer (ms)" in outcome.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_is_quoted() -> None:
    outcome = bench(f"broken={sys.executable} -c 'raise SystemExit(\"no luck\")' {{port}}")

    assert outcome.returncode == 1
    assert "broken ended with exit code 1: no luck" in outcome.stderr


def test_a_server_that_is_not_there_is_named_with_its_url() -> None:
    outcome = bench("gone=http://127.0.0.1:9")

    assert outcome.returncode == 1
    assert "gone does not answer at http://127.0.0.1:9/v1/stream" in outcome.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--scenario", "no"], ["mysql"], ["--rounds", "0"], ["--seconds", "0"], ["memory", "memory"], ["--no"]],
)
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    outcome = bench(*arguments)

    assert outcome.returncode == 2
    assert "durafold bench" in outcome.stderr
