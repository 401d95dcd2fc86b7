"""How a command line names servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from durafold_server.bench.errors import UsageError
from durafold_server.bench.targets import Target, check_names, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=http://127.0.0.1:4437", Target("a", "127.0.0.1", 4437, "/v1/stream")),
        ("a=http://127.0.0.1:4437/", Target("a", "127.0.0.1", 4437, "/v1/stream")),
        ("a=http://localhost/streams/", Target("a", "localhost", 80, "/streams")),
        ("a=http://[::1]:1/v1/stream", Target("a", "::1", 1, "/v1/stream")),
        ("a.b-c=http://h:1,pid=123", Target("a.b-c", "h", 1, "/v1/stream", given_pid=123)),
    ],
)
def test_a_url_names_a_server_that_runs(text: str, expected: Target, tmp_path: Path) -> None:
    assert parse_target(text, tmp_path) == expected


def test_a_server_with_an_ipv6_address_has_it_in_brackets_in_its_url() -> None:
    assert Target("a", "::1", 1).url == "http://[::1]:1/v1/stream"


def test_memory_is_a_server_of_ours_that_keeps_nothing(tmp_path: Path) -> None:
    target = parse_target("memory", tmp_path)

    assert target.process is not None
    assert target.data_dir is None


def test_sqlite_is_a_server_of_ours_with_its_own_data(tmp_path: Path) -> None:
    target = parse_target("sqlite", tmp_path)

    assert target.process is not None
    assert target.data_dir == tmp_path / "sqlite-data"


def test_a_command_names_a_server_to_start(tmp_path: Path) -> None:
    target = parse_target("other=node 'my server.mjs' {port} {data}", tmp_path)

    assert target.process is not None
    assert target.process.command == (
        "node",
        "my server.mjs",
        str(target.port),
        str(tmp_path / "other-data"),
    )


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("mysql", "memory, sqlite"),
        ("http://127.0.0.1:4437", "NAME=http"),
        ("a=https://127.0.0.1", "https is not measured"),
        ("a=http://", "needs a URL"),
        ("a=node server.mjs", "{port}"),
    ],
)
def test_what_names_no_server_is_answered_with_what_does(text: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_target(text, tmp_path)

    assert advice in str(refusal.value)


def test_two_servers_cannot_have_one_name() -> None:
    with pytest.raises(UsageError, match="a is there more than once"):
        check_names([Target("a", "h", 1), Target("b", "h", 1), Target("a", "h", 2)])
