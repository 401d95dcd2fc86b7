"""Every test that the guarantees of shared state name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "explanation" / "guarantees-of-state.md"
NAMED: Final = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())


def is_there(file: str, test: str) -> bool:
    return (
        re.search(rf"^(async )?def {test}\(", (ROOT / "tests/sdk" / file).read_text(), re.MULTILINE)
        is not None
    )


def test_every_test_that_is_named_exists() -> None:
    assert [f"{file}::{test}" for file, test in NAMED if not is_there(file, test)] == []


def test_every_line_of_the_tables_names_a_test() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \w", line)]

    assert [line for line in lines if ".py::test_" not in line] == []
    assert len(lines) == 15
