"""What tests of the documentation share."""

from __future__ import annotations

from pathlib import Path

import pytest

from durafold.testing import ServerProcess
from support.command_line import CommandLine
from support.pages import Shell


@pytest.fixture
def shell(
    durable_server: ServerProcess,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """A shell in a directory of its own, whose `durafold` talks to a server that keeps its data."""
    monkeypatch.chdir(tmp_path)
    return Shell(CommandLine(durable_server.url, tmp_path, capsysbinary, monkeypatch))
