"""The shell commands of the page on curl, run one after another in one shell, as a reader would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import httpx
import pytest

from durafold import Provider
from durafold.testing import ServerProcess

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "talk-to-it-from-curl-and-typescript.md"
BLOCKS: Final = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="THE CURL PAGE WAS NOT TESTED: no curl")


@pytest.fixture
def output(durable_server: ServerProcess) -> str:
    script = "set -eu\n" + "\n".join(BLOCKS).replace("http://127.0.0.1:4437/v1/stream", durable_server.url)
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return shell.stdout


@pytest.mark.anyio
async def test_what_curl_appended_is_the_state_of_a_python_client(
    output: str, durable_server: ServerProcess
) -> None:
    async with Provider(durable_server.url) as party:
        counter = await party.server_state(0, "my-counter").ready()

    assert counter.value == 5
    assert json.loads(output.splitlines()[0])[1]["payload"] == ["increment", 3]


def test_a_repeated_request_counts_once(output: str, durable_server: ServerProcess) -> None:
    assert output.splitlines()[1:3] == ["200", "204"]
    assert [todo["text"] for todo in httpx.get(f"{durable_server.url}/my-todos").json()] == ["milk", "bread"]


def test_a_live_reader_is_told_the_next_offset(output: str) -> None:
    assert "event: control" in output
    assert '"upToDate":true' in output
