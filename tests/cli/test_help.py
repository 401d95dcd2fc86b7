"""Help, completion of commands, and the reference page: all from one catalog."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from durafold.cli.catalog import CATALOG, Entry, visible
from durafold.cli.reference import reference_page
from support.command_line import CommandLine

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_the_catalog_says_what_the_command_says(entry: Entry) -> None:
    function = getattr(import_module(f"durafold.cli.{entry.module}"), entry.function)

    assert (inspect.getdoc(function) or "").splitlines()[0] == entry.summary


def test_the_reference_page_is_up_to_date() -> None:
    assert (DOCS / "reference" / "cli.md").read_text() == reference_page()


def test_help_shows_every_command_under_its_heading(durafold: CommandLine) -> None:
    help_text = durafold.ok("--help").out

    assert [f"  {entry.name}" in help_text for entry in visible()] == [True] * len(visible())
    assert [f"\n{group}:\n" in help_text for group in ("Streams", "State", "Server", "Tools")] == [True] * 4


@pytest.mark.parametrize(("typed", "meant"), [("reed", "read"), ("appned", "append"), ("serv", "serve")])
def test_a_mistyped_command_is_guessed(durafold: CommandLine, typed: str, meant: str) -> None:
    outcome = durafold(typed)

    assert outcome.code == 2
    assert "Did you mean" in outcome.err
    assert f"'{meant}'" in outcome.err


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_both_ways_to_ask_for_the_version_answer_the_same(
    durafold: CommandLine, arguments: list[str]
) -> None:
    assert durafold.ok(*arguments).out.startswith("durafold ")


def completions(monkeypatch: pytest.MonkeyPatch, durafold: CommandLine, words: str) -> list[str]:
    monkeypatch.setenv("_DURAFOLD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    return durafold().out.split()


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch, durafold: CommandLine) -> None:
    assert completions(monkeypatch, durafold, "durafold re") == ["read", "replay", "repair"]


def test_the_shell_completes_options(monkeypatch: pytest.MonkeyPatch, durafold: CommandLine) -> None:
    assert "--checkpoint" in completions(monkeypatch, durafold, "durafold read --")
