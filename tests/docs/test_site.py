"""The documentation as a site: it builds without a complaint, and its API page leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

import pytest

from support.api_page import FAMILIES, api_page, names_of
from support.pages import DOCS

ROOT: Final = DOCS.parent
API: Final = DOCS / "reference" / "api.md"
SHOWN: Final = (
    "durafold.Provider",
    "durafold.ServerState.undo",
    "durafold.client.Offset",
    "durafold.testing.settle",
)


def test_the_api_page_is_up_to_date() -> None:
    assert API.read_text() == api_page().rstrip() + "\n", (
        "run: PYTHONPATH=tests .venv/bin/python -m support.api_page > docs/reference/api.md"
    )


@pytest.mark.parametrize("module", ["durafold", *FAMILIES])
def test_everything_that_a_module_exports_is_on_the_api_page(module: str) -> None:
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", API.read_text(), re.MULTILINE)}

    assert set(names_of(module)) - shown == set()


@pytest.mark.parametrize(
    "method",
    [
        "client.DurableStream.create",
        "client.Follower.iter_json",
        "client.IdempotentProducer.flush",
        "state_protocol.StreamDB.write",
        "Provider.server_state",
        "Reading.value",
        "ServerReducer.dispatch",
        "ServerState.increment",
    ],
)
def test_what_blocking_classes_take_over_is_listed_on_the_api_page(method: str) -> None:
    _, _, blocking = API.read_text().partition("From `durafold.blocking`.")

    assert f"][durafold.{method}]: " in blocking


@pytest.mark.timeout(300)
def test_the_site_builds_without_a_complaint() -> None:
    built = subprocess.run(
        [f"{sys.prefix}/bin/zensical", "build", "--clean"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    page = (ROOT / "build" / "docs" / "reference" / "api" / "index.html").read_text()

    assert (built.returncode, "No issues found" in built.stdout + built.stderr) == (0, True), built.stdout
    assert (ROOT / "build" / "docs" / "llms.txt").is_file()
    assert [name for name in SHOWN if f'id="{name}"' not in page] == []
