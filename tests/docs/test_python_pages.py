"""The programs of the how-to pages for plain Python and for rows, run one after another as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from durafold.testing import ServerProcess

PAGES: Final = Path(__file__).parents[2] / "docs" / "how-to"
URL: Final = "http://127.0.0.1:4437/v1/stream"
BLOCK: Final = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
END: Final = "----"


@pytest.mark.parametrize("page", ["use-it-from-plain-python.md", "read-and-write-state-protocol-streams.md"])
def test_every_program_prints_what_the_page_shows(page: str, durable_server: ServerProcess) -> None:
    blocks = BLOCK.findall((PAGES / page).read_text())
    script = "".join(f"{program}\nprint({END!r})\n" for program, _ in blocks)

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script.replace(URL, durable_server.url)],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ended.stderr == ""
    assert ended.stdout == "".join(f"{shown}{END}\n" for _, shown in blocks)
