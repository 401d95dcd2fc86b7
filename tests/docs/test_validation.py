"""The page on validating actions: its commands and its program run as they are printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from durafold.testing import ServerProcess
from durafold_server.reducers.bindings import load_bindings

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "validate-actions-on-the-server.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


MODULE, MAPPING, PROGRAM = blocks("python")
ADDRESS: Final = "http://127.0.0.1:4437/v1/stream"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    """The server that the page starts."""
    (tmp_path / "shop.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arguments = re.findall(r"durafold serve (--bind) '(.*)'", blocks("console")[0])[0]
    with ServerProcess(options=arguments) as server:
        yield server


def test_the_program_prints_what_the_page_says(shop: ServerProcess) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.replace(ADDRESS, shop.url)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.stdout, ended.stderr) == (blocks("text")[0], "")


@pytest.mark.skipif(shutil.which("curl") is None, reason="THE PAGE ON VALIDATION WAS NOT TESTED: no curl")
def test_the_commands_answer_what_the_page_says(shop: ServerProcess) -> None:
    script = "set -eu\n" + "\n".join(blocks("sh")).replace(ADDRESS, shop.url)

    output = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)

    refusal, state = [json.loads(line) for line in output.stdout.splitlines()]
    printed_refusal, printed_state = [json.loads(block) for block in blocks("json")]
    assert refusal == printed_refusal
    assert without_marks(state) == without_marks(printed_state)


def without_marks(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what is another every time."""
    return {name: value for name, value in state.items() if name not in ("offset", "fingerprint")}


def test_the_mapping_binds_what_the_flag_binds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_with_bindings.py").write_text(f"{MODULE}\n{MAPPING}")
    monkeypatch.syspath_prepend(tmp_path)

    reducer = load_bindings([], ["shop_with_bindings"]).of("stock/apples")

    assert reducer is not None
    assert reducer.name == "shop_with_bindings:stock"
