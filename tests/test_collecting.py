"""What `conftest.py` sees to when pytest collects tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def test_overridden_fixtures_hold_in_whatever_order_files_are_named() -> None:
    files = [
        "tests/server/test_waiters.py",
        "tests/test_collecting.py",
        "tests/server/inspector/test_folding.py",
    ]

    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "inspector/test_folding.py::" in collected
    assert "[trio" not in collected
