"""What all tests share: event loops, servers, Hypothesis settings, order, and that CI skips nothing."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import pytest
from hypothesis import settings

from support.server import durable_server, server

__all__ = ["durable_server", "server"]

IN_CI: Final = os.environ.get("CI") == "true"

LONGEST_NAME: Final = 64
"""The characters that a value has at most in a test's name."""

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if IN_CI else "local")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, since the SDK promises both. Tests of asyncio-only code override this fixture."""
    backend: str = request.param
    return backend


def pytest_configure(config: pytest.Config) -> None:
    """Collect a directory's files one after the other, in whatever order they are named.

    pytest 9.1 takes a directory that it comes back to for another one, which the fixtures of its conftest are
    not for (pytest-dev/pytest issue 14635): tests of asyncio-only code would run on Trio.
    """
    config.args.sort()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a case by the beginning of a long value.

    Pytest keeps the name of the running test in the environment, and no program starts with a variable of
    128 KiB there: a server that such a test is the first to need would not start.
    """
    match val:
        case str() | bytes() if len(shown := ascii(val)) > LONGEST_NAME:
            return f"{shown[:LONGEST_NAME]}... of {len(val)}"
        case int() if val.bit_length() > 4 * LONGEST_NAME:
            return f"a number of {val.bit_length()} bits"
        case _:
            return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that the rest fills the other core beside them."""
    items.sort(key=_starts_late)


def _starts_late(item: pytest.Item) -> int:
    slow_first = ("browser", "conformance", "demo")
    return next(
        (rank for rank, marker in enumerate(slow_first) if item.get_closest_marker(marker)), len(slow_first)
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run groups torn apart: their tests share what must not be made twice at once.

    Raises:
        UsageError: pytest-xdist did not put its groups into the names that it hands tests out by.
    """
    if not getattr(session.config.option, "loadgroup", False):
        return
    torn = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group")]
    torn = [nodeid for nodeid in torn if "@" not in nodeid]
    if torn:
        raise pytest.UsageError(f"pytest-xdist does not keep groups together with this pytest: {torn[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what it needs has to be installed there."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file, which `pytest.importorskip` leaves out."""
    report = yield
    if IN_CI and report.skipped:
        _fail(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests said with `record_property("summary", ...)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "summary" and report.when == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {value}")


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    report.outcome = "failed"
    report.longrepr = f"skipped in CI, where nothing may be missing: {reason}"
