"""The stream server inside an app: what happens when its port is taken."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

from durafold.reflex import embed_server
from support.examples import EXAMPLES
from support.ports import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def app() -> Any:
    """As much of an app as `embed_server` needs."""
    tasks: list[Any] = []
    return SimpleNamespace(register_lifespan_task=tasks.append, tasks=tasks)


def run_as(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    monkeypatch.setattr(sys, "argv", ["reflex", *command])


def test_a_run_ends_before_pages_are_built_and_says_what_to_set(
    app: Any, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_as(monkeypatch, "run", "--env", "prod")
    monkeypatch.setenv("STREAM_URL", f"http://127.0.0.1:{taken}/v1/stream")

    with pytest.raises(SystemExit, match=f"127.0.0.1:{taken} .*: STREAM_URL=http://127.0.0.1:{taken + 1}/v1"):
        embed_server(app)


def test_a_port_that_the_program_names_is_to_be_changed_there(
    app: Any, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_as(monkeypatch, "run")

    with pytest.raises(SystemExit, match="another port with embed_server: port="):
        embed_server(app, port=taken)


def test_an_export_needs_no_port(app: Any, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run_as(monkeypatch, "export")

    embed_server(app, port=taken)

    assert len(app.tasks) == 1


def test_what_a_user_sees_is_one_error_without_a_traceback(taken: int, tmp_path: Path) -> None:
    source = tmp_path / "counter"
    shutil.copytree(EXAMPLES / "counter", source, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    command = ["run", "--env", "prod", "--backend-only", "--backend-port", str(free_port())]

    run = subprocess.run(
        [sys.executable, "-m", "reflex", *command],
        cwd=source,
        env={"STREAM_URL": f"http://127.0.0.1:{taken}/v1/stream", "REFLEX_CHECK_LATEST_VERSION": "false"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 1
    assert (run.stdout + run.stderr).count(f"cannot listen on 127.0.0.1:{taken}") == 1
    assert "Traceback" not in run.stdout + run.stderr
