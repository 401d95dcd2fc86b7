"""Commands of the server package get their arguments as they are; without the package they say what to do."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from support.command_line import CommandLine

HOMES = [
    ("serve", "durafold_server.cli", "main"),
    ("config", "durafold_server.cli", "config"),
    ("repair", "durafold_server.store.sqlite.repair", "main"),
    ("conformance", "durafold_server.conformance.cli", "main"),
    ("bench", "durafold_server.bench.cli", "main"),
]


@pytest.mark.parametrize(("command", "module", "function"), HOMES)
def test_all_arguments_arrive_and_the_exit_code_comes_back(
    durafold: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str, module: str, function: str
) -> None:
    seen: list[list[str]] = []
    fake = SimpleNamespace(**{function: lambda arguments: seen.append(arguments) or 42})
    monkeypatch.setitem(sys.modules, module, fake)

    outcome = durafold(command, "show", "--help", "--json", "-x", "--url=1")

    assert (outcome.code, seen) == (42, [["show", "--help", "--json", "-x", "--url=1"]])


@pytest.mark.parametrize(("command", "module", "function"), HOMES)
def test_without_the_package_the_line_to_install_it_is_given(
    durafold: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str, module: str, function: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    outcome = durafold(command)

    assert outcome.code == 1
    assert 'pip install "durafold[cli,server]"' in outcome.err
