"""Our own conformance suite: good servers pass all of it, and each of its checks fails against a broken one.

`faults.json` says which checks have to find which fault of `support.broken_rules`; all checks are there.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from durafold_server.conformance import Level, Outcome, UnknownSelection, Unreachable, arun, run, select
from durafold_server.conformance.events import Event, EventDecoder
from support.broken_rules import BROKEN, BROKEN_WIRES
from support.broken_servers import Answer, Ask, Broken, BrokenServers, BrokenWire, Call
from support.server import ServerProcess

pytestmark = pytest.mark.mutation

FAULTS: Final[dict[str, list[str]]] = json.loads(Path(__file__).with_name("faults.json").read_text())
OPTIONS: Final = ("--long-poll-timeout-s", "0.5", "--webhooks", "local")


@pytest.fixture(scope="module")
def broken_servers() -> Iterator[BrokenServers]:
    with BrokenServers({**BROKEN, "good": Broken(), "poor": Poor()}) as servers:
        yield servers


@pytest.fixture(params=["memory", "sqlite"])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    data_dir = {"memory": None, "sqlite": tmp_path / "streams"}[request.param]
    with ServerProcess(data_dir, options=OPTIONS) as server:
        yield server


class Poor(Broken):
    """Has no registry, and answers deletes with 200."""

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        if call.name == "__registry__":
            return Answer(404)
        return replace(answer, status=200) if call.method == "DELETE" else answer


class Tidied(Broken):
    """Has let go of what its registry told when somebody first wants to know."""

    def __init__(self) -> None:
        self.gone: str | None = None

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        if call.name != "__registry__" or call.method != "GET" or "offset=-1" in call.query:
            return answer
        self.gone = self.gone or call.query
        return Answer(410) if call.query == self.gone else answer


class Recorded(Broken):
    """Breaks nothing, and remembers which streams were made and which are gone."""

    def __init__(self) -> None:
        self.created: set[str] = set()
        self.gone: set[str] = set()

    async def answer(self, call: Call, answer: Answer, ask: Ask) -> Answer:
        if call.method == "PUT" and answer.status == 201:
            self.created.add(call.name)
        if call.method == "DELETE" and answer.status in (204, 404):
            self.gone.add(call.name)
        return answer


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "durafold_server.conformance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def missed(url: str, names: list[str]) -> list[str]:
    """The checks that find nothing wrong. Only those of lifetimes may need more than a moment."""
    takes_time = {"forks", "lifetimes"} & {check.topic for check in select(names=names)}
    report = run(url, names=names, timeout_s=5 if takes_time else 2, patience_s=1)
    return [result.check.name for result in report.results if result.outcome is not Outcome.FAILED]


# Good servers


def test_our_server_passes_every_check(own_server: ServerProcess) -> None:
    report = run(own_server.url)

    assert report.failed == ()
    assert report.skipped == ()


def test_the_good_server_behind_the_broken_ones_passes_every_check(broken_servers: BrokenServers) -> None:
    report = run(broken_servers.url("good"))

    assert report.failed == ()
    assert report.skipped == ()


def test_a_registry_may_let_go_of_what_it_told_about_streams_that_are_gone() -> None:
    tidied = Tidied()

    with BrokenServers({"tidied": tidied}) as servers:
        report = run(servers.url("tidied"), names=["a_new_stream_is_told", "a_fork_is_told"])

    assert tidied.gone is not None
    assert report.failed == ()


def test_the_suite_leaves_no_streams_behind() -> None:
    recorded = Recorded()

    with BrokenServers({"recorded": recorded}) as servers:
        run(servers.url("recorded"), sections=["4.2", "5.3"])

    assert recorded.created
    assert recorded.created - recorded.gone == set()


# Broken servers


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_found(broken_servers: BrokenServers, fault: str) -> None:
    assert missed(broken_servers.url(fault), FAULTS[fault]) == []


@pytest.mark.parametrize("fault", BROKEN_WIRES)
def test_a_fault_below_http_is_found(broken_servers: BrokenServers, fault: str) -> None:
    with BrokenWire(broken_servers.url("good"), BROKEN_WIRES[fault]) as server:
        assert missed(server.url, FAULTS[fault]) == []


def test_every_check_is_seen_to_fail() -> None:
    seen = {name for names in FAULTS.values() for name in names}

    assert seen == {check.name for check in select()}


def test_every_fault_is_tried() -> None:
    assert list(FAULTS) == [*BROKEN, *BROKEN_WIRES]


# The interface


async def _arun_on(url: str) -> list[str]:
    report = await arun(url, names=["a_delete_answers_204", "an_empty_append_is_refused"])
    return [f"{result.check.name} {result.outcome.value}" for result in report.results]


@pytest.mark.anyio
async def test_it_runs_on_the_event_loop_that_is_there(server: ServerProcess, anyio_backend: str) -> None:
    assert await _arun_on(server.url) == ["an_empty_append_is_refused passed", "a_delete_answers_204 passed"]


def test_a_section_includes_its_subsections() -> None:
    topics = {check.topic for check in select(["5.2"])}

    assert {"append", "producers"} <= topics


def test_a_subsection_does_not_include_its_section() -> None:
    sections = {check.section for check in select(["9.1.4"])}

    assert "9.1.4" in sections
    assert {"9.1", "9.1.1"} & sections == set()


def test_a_topic_can_be_chosen_by_its_name() -> None:
    assert {check.topic for check in select(["producers"])} == {"producers"}


@pytest.mark.parametrize("unknown", [{"sections": ["99"]}, {"names": ["no_such_check"]}])
def test_what_does_not_exist_cannot_be_chosen(unknown: dict[str, list[str]]) -> None:
    with pytest.raises(UnknownSelection, match=r"99|no_such_check"):
        select(**unknown)


def test_names_are_unique_sentences() -> None:
    names = [check.name for check in select()]

    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", name)] == []


def test_a_failure_says_what_was_expected_and_what_came(broken_servers: BrokenServers) -> None:
    report = run(broken_servers.url("deletes-answer-200"), names=["a_delete_answers_204"])

    (result,) = report.failed
    assert (result.expected, result.came) == ("204 No Content", "200 OK")
    assert re.match(
        r"DELETE /deletes-answer-200/v1/stream/conformance-[0-9a-f]+-\d+-0 -> 200 OK", result.exchange
    )
    assert not report.conforms


def test_quality_does_not_count_for_conformance(broken_servers: BrokenServers) -> None:
    report = run(broken_servers.url("tracebacks"), names=["refusals_show_no_inner_workings"])

    assert [result.check.level for result in report.failed] == [Level.QUALITY]
    assert report.conforms


def test_a_missing_feature_is_skipped(broken_servers: BrokenServers) -> None:
    report = run(broken_servers.url("poor"), sections=["registry"])

    assert {result.outcome for result in report.results} == {Outcome.SKIPPED}
    assert "__registry__" in report.results[0].reason


def test_a_long_poll_that_outlasts_our_patience_is_skipped() -> None:
    with ServerProcess(options=["--long-poll-timeout-s", "30"]) as server:
        report = run(server.url, names=["a_timeout_answers_204_up_to_date_with_the_tail"], patience_s=0.2)

    assert [result.outcome for result in report.results] == [Outcome.SKIPPED]


def test_headers_are_sent_with_every_request() -> None:
    guarded = Guarded()

    with BrokenServers({"guarded": guarded}) as servers:
        with pytest.raises(Unreachable, match="401"):
            run(servers.url("guarded"), sections=["5.5"])
        report = run(servers.url("guarded"), sections=["5.5"], headers={"Authorization": "Bearer secret"})

    assert report.failed == ()


class Guarded(Broken):
    """Lets nobody in without the token."""

    async def request(self, call: Call, ask: Ask) -> Call | Answer:
        return call if call.get("authorization") == "Bearer secret" else Answer(401)


# The command line


def test_a_conforming_server_ends_with_code_0(server: ServerProcess) -> None:
    outcome = conformance(server.url, "--section", "5.3")

    assert outcome.returncode == 0
    assert re.search(r"^5\.3 +Close a stream +\d+/\d+", outcome.stdout, re.MULTILINE)
    assert f"{server.url} conforms: " in outcome.stdout


def test_a_broken_server_ends_with_code_1_and_a_line_for_each_failure(broken_servers: BrokenServers) -> None:
    outcome = conformance(broken_servers.url("no-nosniff"), "--check", "head_forbids_sniffing")

    assert outcome.returncode == 1
    expected = "FAILED SHOULD 12.7: head forbids sniffing. Expected X-Content-Type-Options: nosniff, came no "
    assert outcome.stdout.startswith(expected)


def test_no_server_ends_with_code_6() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        outcome = conformance(f"http://127.0.0.1:{nobody.getsockname()[1]}")

    assert outcome.returncode == 6
    assert "cannot reach" in outcome.stderr


def test_a_server_without_streams_there_ends_with_code_6(server: ServerProcess) -> None:
    outcome = conformance(server.url.replace("/v1/stream", "/elsewhere"))

    assert outcome.returncode == 6
    assert "Give the URL that all streams are below" in outcome.stderr


@pytest.mark.parametrize("arguments", [[], ["--section", "99", "http://127.0.0.1:1"], ["--header", "x", "u"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    assert conformance(*arguments).returncode == 2


def test_json_is_one_object_a_line(broken_servers: BrokenServers) -> None:
    checks = [
        "--check",
        "a_delete_answers_204",
        "--check",
        "an_empty_append_is_refused",
        "--section",
        "registry",
    ]

    outcome = conformance(broken_servers.url("poor"), "--json", *checks)

    first, *middle, last = map(json.loads, outcome.stdout.splitlines())
    assert (first["type"], first["schema"], first["checks"]) == ("run", 1, len(middle))
    assert {line["type"] for line in middle} == {"check"}
    by_name = {line["name"]: line for line in middle}
    failed = by_name["a_delete_answers_204"]
    assert {**failed, "exchange": None, "duration_s": None} == {
        "type": "check",
        "name": "a_delete_answers_204",
        "title": "a delete answers 204",
        "topic": "delete",
        "section": "5.4",
        "level": "MUST",
        "outcome": "failed",
        "expected": "204 No Content",
        "came": "200 OK",
        "exchange": None,
        "reason": None,
        "duration_s": None,
    }
    assert by_name["an_empty_append_is_refused"]["outcome"] == "passed"
    assert by_name["a_new_stream_is_told"]["reason"]
    assert (last["type"], last["conforms"], last["must_failed"], last["passed"]) == ("summary", False, 1, 1)


def test_the_list_names_all_checks_without_a_server() -> None:
    listed = conformance("--list", "--json").stdout.splitlines()

    assert [json.loads(line)["name"] for line in listed] == [check.name for check in select()]


def test_the_durafold_command_is_the_same_program() -> None:
    command = [str(Path(sys.executable).with_name("durafold")), "conformance", "--list", "--section", "5.3"]

    outcome = subprocess.run(command, capture_output=True, text=True)

    assert outcome.stdout == conformance("--list", "--section", "5.3").stdout


# Server-sent events


def _decoded(*chunks: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        ((b"event: data\ndata: a\n\n",), [Event("data", "a")]),
        ((b"data:a\ndata:b\n\n",), [Event("message", "a\nb")]),
        ((b"data:a\r\ndata:b\r\rdata:c\n\n",), [Event("message", "a\nb"), Event("message", "c")]),
        ((b"data:a\r", b"\n\r", b"\n"), [Event("message", "a")]),
        ((b"da", b"ta:", b"a\n", b"\n"), [Event("message", "a")]),
        ((b"data:  two spaces\n\n",), [Event("message", " two spaces")]),
        ((b"data\n\n",), [Event("message", "")]),
        ((b"data:\ndata:\n\n",), [Event("message", "\n")]),
        ((b": comment\nid: 1\nretry: 2\nother: 3\n\n",), []),
        ((b"event: data\n\ndata: a\n\n",), [Event("message", "a")]),
        ((b"data: unfinished\n",), []),
        ((b"data: \xe2\x98", b"\x83\xe2\x80\xa8\n\n"), [Event("message", "\u2603\u2028")]),
    ],
)
def test_events_are_decoded_as_browsers_do(chunks: tuple[bytes, ...], events: list[Event]) -> None:
    assert _decoded(*chunks) == events
