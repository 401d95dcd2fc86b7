"""The programs of the how-to pages run as they are printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

PAGES: Final = Path(__file__).parents[2] / "docs" / "how-to"


def programs(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)


def test_a_server_of_the_scripts_own_answers(tmp_path: Path) -> None:
    *_, script = programs("embed-the-server.md")

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "200\n", "")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_server_inside_fastapi_keeps_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {}

    exec(programs("embed-the-server.md")[0], made)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made["app"])) as client:  # type: ignore[arg-type]
        reply = await client.put("http://host/sync/v1/stream/a")
    await made["streams"].aclose()  # type: ignore[attr-defined]

    assert reply.status_code == 201
    assert (tmp_path / "streams").is_dir()


@pytest.mark.timeout(120)
def test_the_tests_of_an_app_pass_as_they_are_printed(tmp_path: Path) -> None:
    code, fixtures, tests = programs("test-your-app.md")
    (tmp_path / "todos.py").write_text(code)
    (tmp_path / "conftest.py").write_text(fixtures)
    (tmp_path / "test_todos.py").write_text(tests)

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert "4 passed" in ended.stdout, ended.stdout
