"""`export` and `import`: what goes out comes in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine


def test_streams_of_all_types_come_back_as_they_were(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", f"{name}/json", "--create", "json", '{"a": 1.10}', '[["ü"]]')
    durafold.ok("append", f"{name}/text", "--create", "text", "--close", "hello", "wörld")
    durafold.ok("append", f"{name}/bytes", "--create", "bytes", stdin=bytes(range(256)))
    durafold.ok("create", f"{name}/empty", "--ttl", "3600")
    names = [f"{name}/{kind}" for kind in ("json", "text", "bytes", "empty")]
    exported = durafold.ok("export", *names)

    durafold.ok("import", "--prefix", "copy-", stdin=exported.data)

    copies = durafold.ok("export", *(f"copy-{one}" for one in names))
    assert copies.out.replace("copy-", "") == exported.out
    assert durafold.ok("info", f"copy-{name}/text", "--json").records[0]["closed"] is True
    assert durafold.ok("info", f"copy-{name}/empty", "--json").records[0]["ttl_s"] == 3600


def test_export_to_a_file_tells_what_is_in_it(durafold: CommandLine, name: str, tmp_path: Path) -> None:
    durafold.ok("append", name, "--create", "json", "1", "2")
    file = tmp_path / "backup.ndjson"

    outcome = durafold.ok("export", name, "--file", str(file))

    assert outcome.out == f"Exported {name}: 2 parts, 5 B\n"
    assert list(tmp_path.glob("*.part")) == []
    assert durafold.ok("import", str(file), "--as", f"{name}-copy").out == f"Imported {name}-copy: 2 parts\n"


def test_retention_goes_with_a_stream(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--retention-bytes", "5000", "--retention-age", "60")

    durafold.ok("import", "--prefix", "copy-", stdin=durafold.ok("export", name).data)

    (copy,) = durafold.ok("info", f"copy-{name}", "--json").records
    assert (copy["retention_bytes"], copy["retention_age_s"]) == (5000, 60)


def test_a_failed_export_leaves_no_file(durafold: CommandLine, name: str, tmp_path: Path) -> None:
    outcome = durafold("export", name, "--file", str(tmp_path / "backup.ndjson"))

    assert outcome.code == 3
    assert list(tmp_path.glob("backup*")) == []


def test_export_of_nothing_is_wrong_usage(durafold: CommandLine) -> None:
    assert durafold("export").code == 2


def test_import_does_not_touch_a_stream_with_content(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "1")
    exported = durafold.ok("export", name).data

    assert durafold("import", stdin=exported).code == 4
    assert durafold.ok("read", name).out == "1\n"


def test_import_appends_where_that_is_asked_for(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "1")
    exported = durafold.ok("export", name).data

    durafold.ok("import", "--append", stdin=exported)

    assert durafold.ok("read", name).out == "1\n1\n"


def test_a_cut_file_is_noticed_and_its_stream_left_open(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "--close", "1", "2")
    begin, first, *_ = durafold.ok("export", name).data.splitlines(keepends=True)

    outcome = durafold("import", "--as", f"{name}-copy", stdin=begin + first)

    assert outcome.code == 2
    assert "cut" in outcome.err
    assert durafold.ok("info", f"{name}-copy", "--json").records[0]["closed"] is False


@pytest.mark.parametrize(
    "line", [b"hello", b"[]", b'{"durafold_export": 99}', b'{"message": 1}', b'{"base64": "%"}']
)
def test_what_is_not_an_export_is_refused(durafold: CommandLine, line: bytes) -> None:
    outcome = durafold("import", stdin=line)

    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_import_of_nothing_is_wrong_usage(durafold: CommandLine) -> None:
    assert durafold("import").code == 2
