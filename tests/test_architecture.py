"""The layer rules of .importlinter hold, and each of them can be broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
LINT_IMPORTS: Final = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, to plant violations in."""
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for source in ("sdk", "server"):
        shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint_imports(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'sdk'}{os.pathsep}{tree / 'server'}"}
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", *options],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_every_layer_rule_holds() -> None:
    outcome = lint_imports(ROOT)

    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        ("sdk-without-server", "sdk/durafold/errors.py", "import durafold_server.protocol"),
        ("sdk-layers", "sdk/durafold/wire/offsets.py", "import durafold.client"),
        ("sdk-layers", "sdk/durafold/a_module_without_a_layer.py", ""),
        ("server-layers", "server/durafold_server/protocol/decide.py", "import durafold_server.service"),
        ("server-layers", "server/durafold_server/a_module_without_a_layer.py", ""),
        ("store-layers", "server/durafold_server/store/base.py", "import durafold_server.store.memory"),
        (
            "service-sees-no-particular-store",
            "server/durafold_server/service.py",
            "import durafold_server.store.memory",
        ),
        ("tools-stay-outside", "server/durafold_server/bench/measure.py", "import durafold_server.protocol"),
        ("server-sees-only-wire", "server/durafold_server/service.py", "import durafold.errors"),
        ("pure", "sdk/durafold/wire/offsets.py", "import time"),
        ("pure", "sdk/durafold/state/reducer.py", "from random import random"),
        ("pure", "sdk/durafold/state_protocol/collections.py", "import logging"),
        ("pure", "server/durafold_server/protocol/decide.py", "import os.path"),
        ("httpx-in-one-place", "sdk/durafold/engine/__init__.py", "from httpx import Response"),
        ("httpx-in-one-place", "sdk/durafold/client/stream.py", "import httpx_sse"),
        ("reflex-in-one-place", "sdk/durafold/provider/core.py", "import reflex"),
        ("asgi-in-one-place", "server/durafold_server/service.py", "from starlette.requests import Request"),
        ("databases-in-stores", "server/durafold_server/protocol/decide.py", "import apsw"),
        ("databases-in-stores", "sdk/durafold/engine/__init__.py", "import sqlite3"),
        ("terminal-in-one-place", "server/durafold_server/service.py", "import typer"),
    ],
)
def test_a_violation_breaks_its_rule(tree: Path, contract: str, module: str, statement: str) -> None:
    with (tree / module).open("a") as source:
        source.write(f"\n{statement}\n")

    outcome = lint_imports(tree, "--contract", contract)

    assert outcome.returncode == 1
    assert "BROKEN" in outcome.stdout
