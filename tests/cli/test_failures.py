"""What a user is told when it does not work."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from durafold.cli import failures
from durafold.cli.failures import hint_of, single_error
from durafold.errors import ConnectFailed, MalformedResponse, StreamNotFound, TransportTimeout
from support import ports
from support.command_line import CommandLine

Respond = Callable[[str], tuple[int, bytes]]
Start = Callable[[Respond], str]


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.fixture
def former_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Something listens on what the hints take for the former default port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        monkeypatch.setattr(failures, "FORMER_PORT", port)
        yield port


def test_no_server_is_code_6_and_says_what_to_look_for(durafold: CommandLine, free_port: int) -> None:
    outcome = durafold("info", "x", "--url", f"http://127.0.0.1:{free_port}")

    assert outcome.code == 6
    assert "Cannot connect" in outcome.err
    assert "Is the stream server running there?" in outcome.err


def test_on_the_default_port_the_command_to_start_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "is_listening", lambda *_: False)
    error = ConnectFailed(
        "", stream="http://127.0.0.1:4437/v1/stream/x", hint="Is `durafold serve` running on 4437?"
    )

    assert hint_of(error) == "Is `durafold serve` running on 4437?"


def test_a_server_on_the_former_default_port_is_pointed_at(former_port: int) -> None:
    error = ConnectFailed("", stream="http://127.0.0.1:4437/v1/stream/x")

    assert hint_of(error) == (
        f"Something listens on {former_port}, the default of older servers: "
        f"try --url http://127.0.0.1:{former_port}"
    )


def test_a_url_without_the_default_path_is_suspected(durafold: CommandLine) -> None:
    outcome = durafold("info", "x", "--url", durafold.url.replace("/v1/stream", "/wrong"))

    assert outcome.code == 3
    assert "Does the URL contain /v1/stream?" in outcome.err


@pytest.mark.parametrize(
    ("status", "code", "said"), [(401, 5, "STREAM_AUTH"), (403, 5, "403"), (410, 7, "410")]
)
def test_refusals_have_their_codes(
    durafold: CommandLine, other_server: Start, status: int, code: int, said: str
) -> None:
    outcome = durafold("read", "x", "--url", other_server(lambda _: (status, b"no")))

    assert outcome.code == code
    assert said in outcome.err


def test_an_offset_that_the_server_does_not_know_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    outcome = durafold("read", name, "--offset", "zzz")

    assert outcome.code == 2
    assert "`durafold info STREAM` shows the tail's" in outcome.err


def test_a_page_of_another_program_is_no_stream(durafold: CommandLine, other_server: Start) -> None:
    outcome = durafold("read", "x", "--url", other_server(lambda _: (200, b"<html>")))

    assert outcome.code == 1
    assert "Does the URL contain /v1/stream?" in outcome.err


def test_what_a_server_says_cannot_control_the_terminal(durafold: CommandLine, other_server: Start) -> None:
    outcome = durafold("read", "x", "--url", other_server(lambda _: (400, b"\x1b[2J")))

    assert "\x1b" not in outcome.err
    assert "\\x1b[2J" in outcome.err


def test_a_server_without_events_gets_the_option_that_helps() -> None:
    error = MalformedResponse("", hint='Use live="long-poll"')

    assert hint_of(error) == "Use --live long-poll"


def test_errors_are_records_too(durafold: CommandLine) -> None:
    outcome = durafold("info", "never/made", "--json")

    assert outcome.out == ""
    error = json.loads(outcome.err)
    assert (error["error"], error["status"], error["exit_code"]) == ("not_found", 404, 3)
    assert error["stream"].endswith("/never/made")


@pytest.mark.parametrize(
    "options", [["--url", "nonsense"], ["--header", "nonsense"], ["--timeout", "0"], ["--nonsense"]]
)
def test_wrong_options_are_wrong_usage(durafold: CommandLine, options: list[str]) -> None:
    assert durafold("info", "x", *options).code == 2


@pytest.mark.parametrize("command", [["info", "x"], ["ls"], ["doctor"], ["tail", "x"], ["append", "x", "1"]])
def test_a_token_that_cannot_be_sent_is_wrong_usage_and_not_shown(
    durafold: CommandLine, command: list[str]
) -> None:
    outcome = durafold(*command, "--token", "s3cret\n")

    assert outcome.code == 2
    assert "--token gives begins or ends with a line break" in outcome.err
    assert "s3cret" not in outcome.err + outcome.out


def test_headers_are_sent(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--header", "Stream-TTL: 60")

    assert durafold.ok("info", name, "--json").records[0]["ttl_s"] == 60


def test_the_one_error_in_a_group_is_found() -> None:
    error = TransportTimeout("")

    assert single_error(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    assert single_error(error) is error


def test_a_missing_stream_has_a_way_out() -> None:
    error = StreamNotFound("", status=404, stream="http://host/v1/stream/x")

    assert "durafold create STREAM" in (hint_of(error) or "")
