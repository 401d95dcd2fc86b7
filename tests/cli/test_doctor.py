"""`durafold doctor` finds what works and what does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from durafold.cli import doctor as module
from durafold.client.exchange import Reply
from support.command_line import CommandLine, Outcome

Respond = Callable[[str], tuple[int, bytes]]
Start = Callable[[Respond], str]


def statuses(outcome: Outcome) -> dict[str, str]:
    return {record["check"]: record["status"] for record in outcome.records}


def test_a_good_server_passes_every_check(durafold: CommandLine, tmp_path: Path) -> None:
    outcome = durafold("doctor", "--json", "--data", str(tmp_path / "data"))

    found = statuses(outcome)
    assert outcome.code == 0
    checks = (
        "python",
        "durafold",
        "[server]",
        "data",
        "server",
        "clock",
        "protocol",
        "sse",
        "long-poll",
        "close",
    )
    assert [found[check] for check in checks] == ["ok"] * len(checks)


def test_without_a_server_it_says_what_to_do(durafold: CommandLine) -> None:
    outcome = durafold("doctor", "--url", "http://127.0.0.1:1")

    assert outcome.code == 1
    assert "FAILED  server" in outcome.out


def test_a_server_of_another_kind_fails_the_protocol(durafold: CommandLine, other_server: Start) -> None:
    outcome = durafold("doctor", "--json", "--url", other_server(lambda _: (200, b"hello")))

    assert outcome.code == 1
    assert statuses(outcome)["protocol"] == "failed"


def test_a_file_is_no_data_directory(durafold: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    outcome = durafold("doctor", "--json", "--data", str(tmp_path / "data"))

    assert outcome.code == 1
    assert statuses(outcome)["data"] == "failed"


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)

    assert module._data_directory(tmp_path).status == "warning"


@pytest.mark.parametrize(("skew_s", "status"), [(0, "ok"), (-3, "ok"), (60, "warning"), (-60, "warning")])
def test_a_clock_that_differs_is_a_warning(skew_s: int, status: str) -> None:
    now = datetime.now(UTC)
    date = format_datetime(now + timedelta(seconds=skew_s), usegmt=True)

    assert module._clock(Reply(404, {"date": date}, b"", now, "")).status == status


def test_a_missing_extra_is_noted_with_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EXTRAS", {"server": ("no_such_module",)})

    *_, finding = module._installation()
    assert (finding.check, finding.status) == ("[server]", "note")
    assert 'pip install "durafold[server]"' in (finding.hint or "")
