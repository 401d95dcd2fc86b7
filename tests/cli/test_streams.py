"""`create`, `append`, `read`, `tail`, `info`, `close`, `fork` and `rm`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine

# ---- create and info ----


def test_create_makes_a_json_stream(durafold: CommandLine, name: str) -> None:
    assert durafold.ok("create", name).out == f"Created {name} (application/json)\n"
    assert durafold.ok("info", name, "--json").records[0]["content_type"] == "application/json"


def test_create_again_is_fine(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    assert durafold.ok("create", name).out == f"There is already {name} (application/json)\n"


def test_create_new_fails_if_the_stream_exists(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    assert durafold("create", name, "--new").code == 4


def test_create_with_another_type_is_a_conflict(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    outcome = durafold("create", name, "--type", "text")

    assert outcome.code == 4
    assert "`durafold info STREAM` shows" in outcome.err


def test_create_with_a_lifetime_and_content(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text", "--ttl", "3600", "--closed", "--data", "all")

    (record,) = durafold.ok("info", name, "--json").records
    assert (record["ttl_s"], record["closed"]) == (3600, True)
    assert durafold.ok("read", name).data == b"all"


def test_create_with_a_retention_that_info_shows(durafold: CommandLine, name: str) -> None:
    limits = ("--retention-bytes", "5000", "--retention-age", "60")
    durafold.ok("create", name, *limits)

    (record,) = durafold.ok("info", name, "--json").records
    assert (record["retention_bytes"], record["retention_age_s"]) == (5000, 60)
    assert durafold.ok("create", name, *limits).out.startswith("There is already")
    assert durafold("create", name).code == 4


def test_an_unknown_type_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    outcome = durafold("create", name, "--type", "jason")

    assert outcome.code == 2
    assert "json, text, ndjson, bytes" in outcome.err


def test_info_is_readable(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text")

    assert f"Stream:          {name}\nType:            text/plain\n" in durafold.ok("info", name).out


def test_a_stream_can_be_named_by_its_url(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    assert durafold.ok("info", f"{durafold.url}/{name}", "--url", "http://127.0.0.1:1").code == 0


@pytest.mark.parametrize("strange", ["a b", "ü/ö", "100%", "a+b?c#d"])
def test_any_name_works(durafold: CommandLine, name: str, strange: str) -> None:
    durafold.ok("append", f"{name}/{strange}", "--create", "json", "1")

    assert durafold.ok("read", f"{name}/{strange}").out == "1\n"


# ---- append ----


def test_a_line_of_text_is_appended_and_read(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text")

    outcome = durafold.ok("append", name, stdin=b"hi\n")

    assert outcome.out.startswith(f"Appended 1 line, 3 B to {name}, next offset ")
    assert durafold.ok("read", name).data == b"hi\n"


def test_write_is_another_name_for_append(durafold: CommandLine, name: str) -> None:
    durafold.ok("write", name, "--create", "text", "one", "two")

    assert durafold.ok("read", name).data == b"one\ntwo\n"


def test_json_arguments_are_messages_and_keep_their_form(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", '{"a": 1.10}', "[1,2]", "9007199254740993", "1e400")

    assert durafold.ok("read", name).out == '{"a": 1.10}\n[1,2]\n9007199254740993\n1e400\n'


def test_lines_of_json_are_messages(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", stdin=b'{"a":1}\n\n  [2]  \n"three"')

    assert durafold.ok("read", name).out == '{"a":1}\n[2]\n"three"\n'


def test_text_makes_strings_of_lines(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "--text", stdin='say "hü"\r\n'.encode())

    assert durafold.ok("read", name).out == '"say \\"hü\\""\n'


@pytest.mark.parametrize("line", ["hello", "1,2", "NaN", "[1", '"\\ud8"'])
def test_what_is_not_json_is_refused_with_its_line_and_what_to_do(
    durafold: CommandLine, name: str, line: str
) -> None:
    durafold.ok("create", name)

    outcome = durafold("append", name, stdin=f"1\n2\n{line}\n4\n".encode())

    assert outcome.code == 2
    assert "Line 3 is not a JSON value" in outcome.err
    assert "--text" in outcome.err


def test_bytes_are_appended_as_they_are(durafold: CommandLine, name: str) -> None:
    data = bytes(range(256)) * 1000
    durafold.ok("append", name, "--create", "bytes", stdin=data)

    assert durafold.ok("read", name).data == data


def test_a_file_is_appended(durafold: CommandLine, name: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"1\n2\n")

    durafold.ok("append", name, "--create", "json", "--file", str(tmp_path / "lines"))

    assert durafold.ok("read", name).out == "1\n2\n"


def test_a_missing_file_is_named(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    outcome = durafold("append", name, "--file", "nowhere.ndjson")

    assert outcome.code == 2
    assert "Cannot read nowhere.ndjson" in outcome.err


def test_nothing_to_append_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    assert durafold("append", name).code == 2


def test_append_to_a_stream_that_does_not_exist_says_how_to_make_it(durafold: CommandLine, name: str) -> None:
    outcome = durafold("append", name, "1")

    assert outcome.code == 3
    assert "`durafold create STREAM` makes one" in outcome.err


def test_append_to_a_closed_stream_is_a_conflict(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--closed")

    outcome = durafold("append", name, "1")

    assert outcome.code == 4
    assert "closed" in outcome.err


def test_a_message_that_the_server_finds_too_large_is_named_by_its_line(
    durafold: CommandLine, name: str
) -> None:
    durafold.ok("create", name)
    largest_line = b'"' + b"x" * (4 * 1024 * 1024 - 3) + b'"\n'

    outcome = durafold("append", name, stdin=b"1\n" + largest_line)

    assert outcome.code == 1
    assert "Line 2: " in outcome.err
    assert "(1 message appended before)" in outcome.err


def test_a_line_without_end_is_refused(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    assert durafold("append", name, stdin=b"1" * (5 * 1024 * 1024)).code == 2


def test_append_can_close_behind_itself(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "--close", "1")

    assert durafold.ok("info", name, "--json").records[0]["closed"] is True


def test_the_same_run_of_a_producer_appends_once(durafold: CommandLine, name: str) -> None:
    arguments = ["append", name, "--create", "json", "--producer-id", "importer", "--epoch", "1", "7"]
    durafold.ok(*arguments)

    again = durafold(*arguments)

    assert again.code == 4
    assert "--epoch" in again.err
    assert durafold.ok("read", name).out == "7\n"


# ---- read ----


@pytest.fixture
def numbers(durafold: CommandLine, name: str) -> str:
    """A JSON stream with 1 to 5, in one batch."""
    durafold.ok("append", name, "--create", "json", "1", "2", "3", "4", "5")
    return name


def test_n_stops_after_so_many_messages(durafold: CommandLine, numbers: str) -> None:
    assert durafold.ok("read", numbers, "-n", "2").out == "1\n2\n"


def test_n_stops_after_so_many_lines_of_text(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "text", "a", "b", "c")

    assert durafold.ok("read", name, "-n", "2").out == "a\nb\n"


def test_n_of_bytes_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "bytes", "abc")

    outcome = durafold("read", name, "-n", "2")

    assert outcome.code == 2
    assert "application/octet-stream" in outcome.err


def test_an_offset_that_was_told_is_where_reading_goes_on(durafold: CommandLine, numbers: str) -> None:
    (record,) = durafold.ok("info", numbers, "--json").records
    durafold.ok("append", numbers, "6")

    assert durafold.ok("read", numbers, "--offset", record["next_offset"]).out == "6\n"


def test_from_now_prints_nothing_old(durafold: CommandLine, numbers: str) -> None:
    assert durafold.ok("read", numbers, "--from", "now").out == ""


def test_offset_and_from_contradict_each_other(durafold: CommandLine, numbers: str) -> None:
    assert durafold("read", numbers, "--offset", "0", "--from", "now").code == 2


def test_what_cannot_be_an_offset_is_wrong_usage(durafold: CommandLine, numbers: str) -> None:
    assert durafold("read", numbers, "--offset", "a b").code == 2


@pytest.mark.parametrize(
    ("form", "expected"),
    [("raw", "[1,2,3,4,5]\n"), ("ndjson", "1\n2\n3\n4\n5\n"), ("pretty", "1\n2\n3\n4\n5\n")],
)
def test_json_is_printed_in_three_forms(
    durafold: CommandLine, numbers: str, form: str, expected: str
) -> None:
    assert durafold.ok("read", numbers, "--output", form).out == expected


def test_pretty_shows_control_characters_instead_of_obeying_them(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "text", "\x1b[31mred")

    assert durafold.ok("read", name, "--output", "pretty").out == "\\x1b[31mred\n"


def test_pretty_shows_bytes_in_hexadecimal(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "bytes", stdin=b"\x00AB")

    expected = "00000000  00 41 42" + " " * 39 + "  .AB\n"
    assert durafold.ok("read", name, "--output", "pretty").out == expected


def test_ndjson_of_text_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "text", "a")

    assert durafold("read", name, "--output", "ndjson").code == 2


def test_a_checkpoint_goes_on_within_a_page(durafold: CommandLine, numbers: str, tmp_path: Path) -> None:
    place = str(tmp_path / "place")

    first = durafold.ok("read", numbers, "--checkpoint", place, "-n", "2").out
    second = durafold.ok("read", numbers, "--checkpoint", place, "-n", "2").out
    durafold.ok("append", numbers, "6")
    third = durafold.ok("read", numbers, "--checkpoint", place).out
    fourth = durafold.ok("read", numbers, "--checkpoint", place).out

    assert (first, second, third, fourth) == ("1\n2\n", "3\n4\n", "5\n6\n", "")


def test_a_checkpoint_of_another_stream_is_refused(
    durafold: CommandLine, numbers: str, tmp_path: Path
) -> None:
    place = str(tmp_path / "place")
    durafold.ok("read", numbers, "--checkpoint", place)
    durafold.ok("create", f"{numbers}-other")

    outcome = durafold("read", f"{numbers}-other", "--checkpoint", place)

    assert outcome.code == 2
    assert "delete it" in outcome.err


def test_a_checkpoint_that_could_not_be_kept_is_told_before_anything_is_printed(
    durafold: CommandLine, numbers: str, tmp_path: Path
) -> None:
    outcome = durafold("read", numbers, "--checkpoint", str(tmp_path / "missing" / "place"))

    assert (outcome.code, outcome.out) == (2, "")
    assert "Make the directory" in outcome.err


@pytest.mark.parametrize("live", ["auto", "sse", "long-poll"])
def test_following_ends_with_the_stream(durafold: CommandLine, numbers: str, live: str) -> None:
    durafold.ok("close", numbers, "--data", "6")

    assert durafold.ok("read", numbers, "--live", live).out == "1\n2\n3\n4\n5\n6\n"


def test_until_closed_is_to_follow(durafold: CommandLine, numbers: str) -> None:
    durafold.ok("close", numbers)

    assert durafold.ok("read", numbers, "--until-closed", "--from", "now").out == ""


def test_tail_prints_the_last_messages_first(durafold: CommandLine, numbers: str) -> None:
    durafold.ok("close", numbers)

    assert durafold.ok("tail", numbers, "-n", "2").out == "4\n5\n"


def test_tail_prints_the_last_lines_first(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "text", "--close", stdin=b"a\nb\nc\nd")

    assert durafold.ok("tail", name, "-n", "2").out == "c\nd"


def test_tail_of_a_closed_stream_ends_at_once(durafold: CommandLine, numbers: str) -> None:
    durafold.ok("close", numbers)

    assert durafold.ok("tail", numbers).out == ""


# ---- close, fork, rm ----


def test_close_appends_a_last_message(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text")

    outcome = durafold.ok("close", name, "--data", "bye")

    assert outcome.out.startswith(f"Closed {name} at ")
    assert durafold.ok("read", name).data == b"bye\n"


def test_a_fork_has_what_its_source_has_up_to_a_place(durafold: CommandLine, numbers: str) -> None:
    (middle,) = durafold.ok("info", numbers, "--json").records
    durafold.ok("append", numbers, "6", "7", "8")
    fork = f"{numbers}-fork"

    durafold.ok("fork", numbers, fork, "--at", middle["next_offset"], "--skip", "2")

    assert durafold.ok("read", fork).out == "1\n2\n3\n4\n5\n6\n7\n"


def test_skip_needs_an_offset_to_count_from(durafold: CommandLine, numbers: str) -> None:
    assert durafold("fork", numbers, f"{numbers}-fork", "--skip", "2").code == 2


def test_rm_without_a_terminal_wants_yes(durafold: CommandLine, numbers: str) -> None:
    outcome = durafold("rm", numbers)

    assert outcome.code == 2
    assert "--yes" in outcome.err
    durafold.ok("info", numbers)


def test_rm_deletes_streams(durafold: CommandLine, numbers: str) -> None:
    assert durafold.ok("rm", numbers, "--yes").out == f"Deleted {numbers}\n"
    assert durafold("info", numbers).code == 3


def test_a_stream_that_lives_on_in_a_fork_is_gone(durafold: CommandLine, numbers: str) -> None:
    durafold.ok("fork", numbers, f"{numbers}-fork")
    durafold.ok("rm", numbers, "--yes")

    assert durafold("info", numbers).code == 7
