"""A table, its publisher and its mirrors, all of which are away at times."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from durafold.processes import ChildProcess
from durafold.state_protocol import Change, Control, MaterializedState, parse_message
from durafold.testing import ServerProcess
from support.examples import EXAMPLES, running

HERE: Final = EXAMPLES / "db_sync"

Start = Callable[[str], AbstractContextManager[ChildProcess]]


@pytest.fixture
def start(durable_server: ServerProcess, tmp_path: Path) -> Start:
    """Starts a program of the example by its name."""
    return lambda name: running(HERE / name, env={"STREAM_URL": durable_server.url}, cwd=tmp_path)


@pytest.fixture
def change(tmp_path: Path) -> Callable[[str], Any]:
    """Changes the table, as any program would."""
    run = partial(subprocess.run, cwd=tmp_path, env=os.environ, check=True, timeout=60)
    return lambda statement: run([sys.executable, str(HERE / "shop.py"), statement])


def rows_in(file: Path) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT * FROM products ORDER BY id").fetchall()


def wait_for_line(process: ChildProcess, line: str) -> None:
    process.wait_until(lambda: line in process.output.splitlines() or None, timeout_s=60)


def published(server: ServerProcess) -> list[Change | Control]:
    messages = map(parse_message, httpx.get(f"{server.url}/shop/products").json())
    return [message for message in messages if isinstance(message, Change | Control)]


def operations(changes: list[Change | Control]) -> list[str]:
    return [f"{c.headers.operation} {c.key}" for c in changes if isinstance(c, Change)]


@pytest.mark.crash
def test_mirrors_that_were_away_catch_up_with_every_change(
    start: Start, change: Callable[[str], Any], durable_server: ServerProcess, tmp_path: Path
) -> None:
    change("INSERT INTO products VALUES ('tea', 'Tea', 350), ('mug', 'Mug', 900), ('pot', 'Pot', 2500)")
    with start("publish.py") as publisher:
        wait_for_line(publisher, "publishing")
        with start("mirror.py") as mirror:
            wait_for_line(mirror, "3 changes, 3 products")
            mirror.end(signal.SIGKILL)
        change("UPDATE products SET price_cents = 400 WHERE id = 'tea'")
        change("DELETE FROM products WHERE id = 'mug'")
        change("UPDATE products SET id = 'kettle' WHERE id = 'pot'")
        with start("mirror.py") as mirror, start("watch.py") as watch:
            wait_for_line(watch, "2 products")
            change("UPDATE products SET name = 'Green tea' WHERE id = 'tea'")
            wait_for_line(watch, "update tea: Tea at 4.00 -> Green tea at 4.00")
            mirror.wait_until(
                lambda: rows_in(tmp_path / "mirror.db") == rows_in(tmp_path / "shop.db") or None, timeout_s=60
            )

    assert rows_in(tmp_path / "mirror.db") == [("kettle", "Pot", 2500), ("tea", "Green tea", 400)]
    state = MaterializedState()
    state.apply_batch(published(durable_server))
    assert sorted(state.get_type("product")) == ["kettle", "tea"]


@pytest.mark.crash
def test_a_killed_publisher_publishes_every_change_exactly_once(
    start: Start, change: Callable[[str], Any], durable_server: ServerProcess, tmp_path: Path
) -> None:
    change("INSERT INTO products VALUES ('tea', 'Tea', 350)")
    with start("publish.py") as publisher:
        wait_for_line(publisher, "published 1 changes")
        durable_server.kill()
        change("UPDATE products SET price_cents = 400")
        publisher.wait_until(lambda: "waiting for the server" in publisher.output or None, timeout_s=60)
        publisher.end(signal.SIGKILL)
    durable_server.start()
    change("UPDATE products SET price_cents = 400")  # changes nothing
    change("DELETE FROM products")

    with start("publish.py") as publisher:
        publisher.wait_until(lambda: publisher.output.count("published 1") == 2 or None, timeout_s=60)

    assert operations(published(durable_server)) == ["insert tea", "update tea", "delete tea"]


@pytest.mark.crash
def test_a_batch_that_had_arrived_when_the_publisher_died_is_not_appended_again(
    start: Start, change: Callable[[str], Any], durable_server: ServerProcess, tmp_path: Path
) -> None:
    change("INSERT INTO products VALUES ('tea', 'Tea', 350)")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        noted = shop.execute("SELECT * FROM changes").fetchall()
    with start("publish.py") as publisher:
        wait_for_line(publisher, "published 1 changes")
        publisher.end(signal.SIGKILL)
    # As it is when a process dies between the server's answer and its own commit.
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.executemany("INSERT INTO changes VALUES (?, ?, ?, ?)", noted)
        shop.execute("INSERT INTO batch VALUES (?)", (noted[-1][0],))

    with start("publish.py") as publisher:
        wait_for_line(publisher, "published 1 changes")

    assert operations(published(durable_server)) == ["insert tea"]


def test_without_a_publisher_there_is_nothing_to_mirror(start: Start) -> None:
    with start("mirror.py") as mirror, start("watch.py") as watch:
        mirror.wait_until(lambda: mirror.exit_code, timeout_s=60)
        watch.wait_until(lambda: watch.exit_code, timeout_s=60)
        answers = mirror.output, watch.output

    assert answers == (
        "There is nothing to mirror yet: start publish.py first\n",
        "There is nothing to watch yet: start publish.py first\n",
    )


@pytest.mark.crash
def test_the_story_ends_with_the_same_rows_everywhere(tmp_path: Path) -> None:
    with running(HERE / "story.py", env={}, cwd=tmp_path) as story:
        story.wait_until(lambda: story.exit_code is not None or None, timeout_s=120)
        output = story.output

    assert story.exit_code == 0, output
    assert "shop.db: Cup at 12.00, Pot at 25.00, Tea at 4.00" in output
    assert "mirror.db: Cup at 12.00, Pot at 25.00, Tea at 4.00" in output
    assert list(tmp_path.iterdir()) == []
