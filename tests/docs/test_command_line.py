"""The examples of "Use the command line" do what they show, in their order."""

from __future__ import annotations

from typing import Final

from support.pages import Shell, examples

PAGE: Final = "how-to/use-the-command-line.md"


def test_every_example_prints_what_the_page_shows(shell: Shell) -> None:
    assert shell.differing(PAGE) == []


def test_there_are_examples() -> None:
    assert len(examples(PAGE)) > 20
