"""The page on changing a reducer: two versions really run side by side, and print what the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from durafold.testing import ServerProcess
from support.pages import Shell, write_files

PAGE: Final = "how-to/change-a-reducer-safely.md"


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("reader")
def test_every_command_prints_what_the_page_shows(
    durable_server: ServerProcess, tmp_path: Path, shell: Shell
) -> None:
    write_files(PAGE, tmp_path, server_url=durable_server.url)

    assert shell.differing(PAGE) == []
