"""The examples in docstrings, run as they are printed."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = [
    "durafold.atoms",
    "durafold.computed",
    "durafold.presence.messages",
    "durafold.presence.roster",
    "durafold.presence.voices",
    "durafold.snapshots",
    "durafold.state.combine",
    "durafold.state.context",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_give_what_they_say(name: str) -> None:
    outcome = doctest.testmod(import_module(name))

    assert outcome.attempted > 0
    assert outcome.failed == 0
