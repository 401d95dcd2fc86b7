"""Links lead somewhere, and pages are found: from the overview, the navigation and llms.txt."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from support.pages import DOCS

ROOT: Final = DOCS.parent
PAGES: Final = sorted(DOCS.rglob("*.md"))
LLMS: Final = DOCS / "llms.txt"
TEXTS: Final = [
    *PAGES,
    LLMS,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


def prose(file: Path) -> str:
    """A text without its code, where brackets mean other things."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(file: Path) -> list[str]:
    """What a text links to, and the pictures that it shows; addresses of other hosts left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(file))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    without_code = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def leads_nowhere(file: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    there = (file.parent / path).resolve() if path else file
    return not there.exists() or bool(anchor and there.suffix == ".md" and anchor not in anchors(there))


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_link_leads_nowhere(file: Path) -> None:
    assert [target for target in links(file) if leads_nowhere(file, target)] == []


@pytest.mark.parametrize("index", [DOCS / "index.md", LLMS], ids=lambda file: file.name)
def test_every_page_is_named(index: Path) -> None:
    named = {(DOCS / target).resolve() for target in links(index)}

    assert [str(page.relative_to(DOCS)) for page in PAGES if page not in named | {DOCS / "index.md"}] == []


def test_every_page_has_its_place_in_the_sites_navigation() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    overview, *sections = project["nav"]
    listed = [overview, *(page for section in sections for pages in section.values() for page in pages)]

    assert sorted(listed) == [str(page.relative_to(DOCS)) for page in PAGES]


def test_llms_txt_has_the_form_that_its_readers_expect() -> None:
    title, _, quote, *rest = LLMS.read_text().splitlines()
    entries = [line for line in "\n".join(rest).partition("\n## ")[2].splitlines() if line.startswith("-")]

    assert title == "# durafold"
    assert quote.startswith("> ")
    assert [line for line in entries if not re.match(r"- \[[^]]+\]\([^)]+\)", line)] == []
