"""The documentation as a site: it builds without a complaint, and its API page leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import durafold
import durafold_server
from durafold import client, errors, state_protocol, testing

ROOT: Final = Path(__file__).parents[2]
API: Final = (ROOT / "docs" / "reference" / "api.md").read_text()
NAMED: Final = set(re.findall(r"^::: ([\w.]+)$", API, re.MULTILINE))

ALIASES: Final = {
    "durafold.client": {"NOW", "START", "Headers", "Params", "LiveChoice", "LiveMode", "EventMode", "Offset"},
    "durafold_server": {"Operation", "Scope", "Authenticate", "Authorize"},
}
"""Names of types and constants: what they stand for is said where they are used."""


@pytest.mark.parametrize(
    "module", [client, errors, state_protocol, testing, durafold_server], ids=lambda module: module.__name__
)
def test_everything_that_a_module_exports_is_on_the_api_page(module: object) -> None:
    name: str = getattr(module, "__name__", "")
    exported: set[str] = set(getattr(module, "__all__", ()))

    assert {f"{name}.{one}" for one in exported - ALIASES.get(name, set())} <= NAMED


def test_everything_that_durafold_exports_is_on_the_api_page() -> None:
    named = {name.rpartition(".")[2] for name in NAMED}

    assert set(durafold.__all__) <= named


@pytest.mark.timeout(300)
def test_the_site_builds_without_a_complaint() -> None:
    zensical = Path(sys.executable).with_name("zensical")

    built = subprocess.run(
        [zensical, "build", "--clean"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (built.returncode, "No issues found" in built.stdout + built.stderr) == (0, True), built.stdout
    assert (ROOT / "build" / "docs" / "llms.txt").is_file()
