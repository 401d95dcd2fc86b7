"""What tests of the documentation share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody with the environment's programs at hand, whose modules are forgotten in the end."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield
    for name in {"todos", "shop", "shop_v1"} & ({*sys.modules} - before):
        del sys.modules[name]
