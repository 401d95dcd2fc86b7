"""The protocol's own conformance suite (npm, 338 tests) against real server processes: all of it passes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from support.node import install_packages, run_node_program
from support.server import ServerProcess

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300), pytest.mark.xdist_group("conformance")]

SUITE_SIZE: Final = 338
LONG_POLL_TIMEOUT_MS: Final = 500
OPTIONS: Final = ("--long-poll-timeout-s", str(LONG_POLL_TIMEOUT_MS / 1000), "--webhooks", "local")
SUITE: Final = Path(__file__).parent / "npm"


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """How one test of the suite ended."""

    section: str
    title: str
    status: str
    messages: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def __str__(self) -> str:
        return f"{self.section} > {self.title}: {self.status}\n{''.join(self.messages)}"


@pytest.fixture(params=["memory", "sqlite"])
def server_for_suite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server as the suite wants it: long-polls well within its 5 s per test, webhooks to this machine."""
    data_dir = {"memory": None, "sqlite": tmp_path / "streams"}[request.param]
    with ServerProcess(data_dir, options=OPTIONS) as server:
        yield server


def test_the_server_passes_the_protocols_own_suite(
    server_for_suite: ServerProcess,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    install_packages(SUITE)

    outcome = run_suite(server_for_suite, tmp_path / "report.json")

    record_property("summary", counts(outcome))
    assert len(outcome) == SUITE_SIZE
    assert [str(test) for test in outcome if not test.passed] == []


def run_suite(server: ServerProcess, report: Path) -> Sequence[SuiteTest]:
    """Run the whole suite; that tests fail is no error here, that it did not run is one."""
    said = run_node_program(
        ["npx", "--no-install", "vitest", "run", "--reporter=json", f"--outputFile={report}"],
        SUITE,
        check=False,
        SERVER_URL=server.url.removesuffix("/v1/stream"),
        LONG_POLL_TIMEOUT_MS=str(LONG_POLL_TIMEOUT_MS),
    )
    assert report.exists(), said
    files = json.loads(report.read_text())["testResults"]
    return [
        SuiteTest(test["ancestorTitles"][0], test["title"], test["status"], tuple(test["failureMessages"]))
        for file in files
        for test in file["assertionResults"]
    ]


def counts(outcome: Sequence[SuiteTest]) -> str:
    by_status = Counter(test.status for test in outcome)
    return f"{by_status['passed']} passed, {len(outcome) - by_status['passed']} failed, {len(outcome)} in all"
