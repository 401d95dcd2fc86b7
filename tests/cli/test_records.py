"""The records of `--json` are a promise: which fields they have, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine


@pytest.fixture
def stream(durafold: CommandLine, name: str) -> str:
    """A stream of shared state with two messages."""
    durafold.ok("dispatch", name, "--create", "--kind", "set", "5", "6")
    return name


INFO = ["stream", "content_type", "next_offset", "closed", "ttl_s", "expires_at"]
INFO += ["retention_bytes", "retention_age_s"]
STEP = ["number", "offset", "id", "kind", "payload", "verdict", "reason", "changes"]
STATE = ["stream", "state", "offset", "revision", "messages", "partial", "fault_count", "faults"]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["create", "NEW"], [*INFO, "created"]),
        (["info", "STREAM"], INFO),
        (["append", "STREAM", "1"], ["stream", "appended", "bytes", "next_offset", "closed"]),
        (["read", "STREAM"], ["offset", "messages", "next_offset", "up_to_date", "closed"]),
        (
            ["read", "STREAM", "-n", "1"],
            ["offset", "messages", "next_offset", "skip", "up_to_date", "closed"],
        ),
        (["close", "STREAM"], ["stream", "closed", "final_offset"]),
        (["fork", "STREAM", "NEW"], [*INFO, "forked_from", "created"]),
        (["rm", "STREAM", "--yes"], ["stream", "deleted"]),
        (["dispatch", "STREAM", "1", "--kind", "set"], ["stream", "ids", "offset"]),
        (["state", "STREAM"], STATE),
        (["replay", "STREAM", "--diff"], STEP),
        (["doctor"], ["check", "status", "detail", "hint"]),
    ],
    ids=lambda value: "-".join(value[:1]) if isinstance(value, list) else None,
)
def test_a_record_has_these_fields(
    durafold: CommandLine, stream: str, arguments: list[str], fields: list[str]
) -> None:
    names = {"STREAM": stream, "NEW": f"{stream}-new"}

    outcome = durafold.ok(*(names.get(argument, argument) for argument in arguments), "--json")

    assert list(outcome.records[0]) == fields


def test_a_page_of_text_and_of_bytes_has_its_content_by_another_name(
    durafold: CommandLine, name: str
) -> None:
    durafold.ok("append", f"{name}/text", "--create", "text", "a")
    durafold.ok("append", f"{name}/bytes", "--create", "bytes", stdin=b"\xff")

    (text,) = durafold.ok("read", f"{name}/text", "--json").records
    (data,) = durafold.ok("read", f"{name}/bytes", "--json").records
    assert (text["text"], data["base64"]) == ("a\n", "/w==")


def test_transfers_and_the_version_have_records(durafold: CommandLine, stream: str, tmp_path: Path) -> None:
    file = str(tmp_path / "file")

    (exported,) = durafold.ok("export", stream, "--file", file, "--json").records
    (imported,) = durafold.ok("import", file, "--prefix", "copy-", "--json").records
    (version,) = durafold.ok("version", "--json").records

    assert list(exported) == ["stream", "count", "bytes", "closed"]
    assert list(imported) == ["stream", "count", "closed"]
    assert list(version) == ["durafold", "python"]
