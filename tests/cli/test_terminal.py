"""What people see at a terminal, and scripts do not."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from durafold.cli import output as module
from durafold.cli.output import Output
from support.command_line import CommandLine


@pytest.fixture
def terminal(durafold: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output looks like a terminal."""
    durafold.is_terminal = True
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def objects(durafold: CommandLine, name: str) -> str:
    """A stream of one object."""
    durafold.ok("append", name, "--create", "json", '{"a":1}')
    return name


@pytest.mark.usefixtures("terminal")
def test_json_is_indented_and_coloured(durafold: CommandLine, objects: str) -> None:
    shown = durafold.ok("read", objects).out

    assert re.findall(r"\x1b\[[0-9;]*\b3[0-7]", shown) != []
    assert shown.count("\n") == 3


@pytest.mark.usefixtures("terminal")
def test_no_color_means_no_colour(
    durafold: CommandLine, objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    # Bold is no colour, and stays: colours are the codes 30 to 37.
    shown = durafold.ok("read", objects).out
    assert re.findall(r"\x1b\[[0-9;]*\b3[0-7]", shown) == []


@pytest.mark.usefixtures("terminal")
def test_records_have_no_colours_at_a_terminal_either(durafold: CommandLine, objects: str) -> None:
    assert "\x1b" not in durafold.ok("read", objects, "--json").out


def test_nothing_is_coloured_elsewhere(durafold: CommandLine, objects: str) -> None:
    assert "\x1b" not in durafold.ok("read", objects, "--output", "pretty").out


class Screen(io.StringIO):
    """A terminal to draw on."""

    def isatty(self) -> bool:
        return True


def test_a_long_transfer_gets_a_progress_bar_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setattr(module, "_SHOW_AFTER_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")

    with Output().progress("Moving", 100) as advance:
        advance(50)

    assert "Moving" in screen.getvalue()


def test_a_short_transfer_has_no_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    now_s = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)

    with Output().progress("Moving", 100) as advance:
        advance(100)

    assert screen.getvalue() == ""


def test_scripts_get_neither_progress_nor_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.remark("something goes on")
    with output.progress("Moving", 100) as advance:
        advance(100)

    assert capsys.readouterr() == ("", "")
