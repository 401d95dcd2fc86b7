"""Every test that the pages on guarantees and on security name exists."""

from __future__ import annotations

import re
from typing import Final

import pytest

from support.pages import DOCS

TESTS: Final = DOCS.parent / "tests"

# A page, where its tests are, and how many lines of its tables have to name one.
GUARANTEES: Final = ("explanation/guarantees-of-state.md", "sdk", r"^\| \w", 19)
SECURITY: Final = ("explanation/security.md", ".", r"^\| [A-Z][^|]+ \| [^|]+\. \|", 13)


def named_tests(page: str) -> list[tuple[str, str]]:
    return re.findall(r"`([\w/]+\.py)::(\w+)`", (DOCS / page).read_text())


def is_there(file: str, test: str, folder: str) -> bool:
    text = (TESTS / folder / file).read_text()
    return re.search(rf"^(async )?def {test}\(", text, re.MULTILINE) is not None


@pytest.mark.parametrize(("page", "folder", "line", "count"), [GUARANTEES, SECURITY])
def test_every_test_that_is_named_exists(page: str, folder: str, line: str, count: int) -> None:
    named = named_tests(page)

    assert [f"{file}::{test}" for file, test in named if not is_there(file, test, folder)] == []


@pytest.mark.parametrize("number", range(1, 15))
def test_every_rule_is_told_and_has_tests_with_its_number(number: int) -> None:
    rules = re.findall(r"^- \*\*R(\d+), ", (DOCS / GUARANTEES[0]).read_text(), re.MULTILINE)
    sources = [file.read_text() for file in (TESTS / "sdk").rglob("test_*.py")]
    pattern = re.compile(rf"^(async )?def test_r{number}_", re.MULTILINE)

    assert rules == [str(rule) for rule in range(1, 15)]
    assert sum(len(pattern.findall(source)) for source in sources) >= 2


@pytest.mark.parametrize(("page", "folder", "line", "count"), [GUARANTEES, SECURITY])
def test_every_line_of_the_tables_names_a_test(page: str, folder: str, line: str, count: int) -> None:
    lines = [text for text in (DOCS / page).read_text().splitlines() if re.match(line, text)]

    assert [text for text in lines if ".py::test_" not in text] == []
    assert len(lines) == count
