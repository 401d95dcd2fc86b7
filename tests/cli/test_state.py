"""`dispatch`, `state` and `replay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from durafold.testing import ServerProcess
from support.command_line import CommandLine

BASKET = "support.cli_reducers:basket"
PRICES = "support.cli_reducers:prices"
ACTIONS = (
    '{"type": "add", "item": "milk"}',
    '{"type": "drop", "item": "eggs"}',
    '{"type": "add", "item": "eggs"}',
    '{"type": "drop", "item": "milk"}',
    '{"type": "eat"}',
)


@pytest.fixture
def shopping(durafold: CommandLine, name: str) -> str:
    """A stream of the actions above."""
    durafold.ok("dispatch", name, "--create", "--kind", "action", *ACTIONS)
    return name


def test_dispatch_writes_the_envelope_that_providers_write(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", "--by", "ann", "--kind", "op", '["increment", 2]')

    (page,) = durafold.ok("read", name, "--json").records
    (message,) = page["messages"]
    assert (message["type"], message["payload"], message["meta"]["v"]) == ("op", ["increment", 2], 1)
    assert message["meta"]["id"].endswith(":1")
    assert message["meta"]["by"] == "ann"


def test_dispatch_tells_the_confirmed_offset(durafold: CommandLine, name: str) -> None:
    (record,) = durafold.ok("dispatch", name, "--create", "-k", "action", "1", "2", "--json").records

    assert record["offset"] == durafold.ok("info", name, "--json").records[0]["next_offset"]
    assert len(record["ids"]) == 2


def test_dispatch_of_what_is_no_operation_sends_nothing(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name)

    outcome = durafold("dispatch", name, "--kind", "op", '["incremen", 1]')

    assert outcome.code == 2
    assert durafold.ok("read", name).out == ""


def test_dispatch_of_what_is_not_json_is_wrong_usage(durafold: CommandLine, name: str) -> None:
    assert durafold("dispatch", name, "milk").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (['{"type": "add"}', "-r", BASKET], "does not match"),
        (['{"type": "eat"}', "-r", BASKET], "no action of type 'eat'"),
        (['{"items": 5}', "-r", BASKET, "-k", "set"], "takes actions, and no set"),
        (["-r", PRICES], "is a shared value, and takes no actions"),
        (["-r", PRICES, "-k", "action"], "is a shared value, and takes no actions"),
        (['{"items": 5}', "-r", "support.cli_reducers:cupboard", "-k", "set"], "does not match"),
        (["-r", "state-protocol"], "Collections take changes"),
        (["1", "-r", "support.cli_reducers:nothing"], "has no 'nothing'"),
    ],
)
def test_dispatch_of_what_a_reducer_does_not_take_sends_nothing(
    durafold: CommandLine, name: str, arguments: list[str], said: str
) -> None:
    durafold.ok("create", name)

    outcome = durafold("dispatch", name, '{"type": "add", "item": "milk"}', *arguments)

    assert (outcome.code, durafold.ok("read", name).out) == (2, "")
    assert said in outcome.err


def test_dispatch_of_what_a_reducer_takes_goes_out(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", *ACTIONS[:4], "--reducer", BASKET)

    assert "eggs" in durafold.ok("state", name, "--reducer", BASKET).out


def test_dispatch_to_a_reducer_needs_no_kind(durafold: CommandLine, shopping: str) -> None:
    durafold.ok("dispatch", shopping, '{"type": "add", "item": "figs"}')

    assert "figs" in durafold.ok("state", shopping, "--reducer", BASKET).out


def test_dispatch_to_a_shared_value_is_refused_before_it_spoils_the_stream(
    durafold: CommandLine, name: str
) -> None:
    durafold.ok("dispatch", name, "--create", "--kind", "set", "5")

    unsaid, wrong = durafold("dispatch", name, "6"), durafold("dispatch", name, "6", "--kind", "action")

    assert (unsaid.code, wrong.code) == (2, 2)
    assert "holds a shared value" in unsaid.err
    assert "--kind set for a new value" in unsaid.err
    assert "readers take no action" in wrong.err
    assert durafold.ok("state", name).out == "5\n"


def test_dispatch_of_a_value_to_a_reducer_is_refused(durafold: CommandLine, shopping: str) -> None:
    outcome = durafold("dispatch", shopping, "6", "--kind", "set")

    assert (outcome.code, "holds actions, whose readers take no set" in outcome.err) == (2, True)


@pytest.mark.parametrize("content", [[], ["--data", '{"type": "set", "payload": 5}'], ["--data", "1"]])
def test_dispatch_asks_for_the_kind_where_the_stream_does_not_tell(
    durafold: CommandLine, name: str, content: list[str]
) -> None:
    durafold.ok("create", name, *content)
    before = durafold.ok("info", name).out

    outcome = durafold("dispatch", name, "6")

    assert (outcome.code, durafold.ok("info", name).out) == (2, before)
    assert "name either with --reducer" in outcome.err


def test_dispatch_creates_no_stream_for_what_it_refuses(durafold: CommandLine, name: str) -> None:
    assert durafold("dispatch", name, "6", "--create").code == 2
    assert durafold("info", name).code == 3


def test_dispatch_to_no_stream_creates_none(durafold: CommandLine, name: str) -> None:
    assert durafold("dispatch", name, "6", "--kind", "set").code == 3


def test_dispatch_works_with_a_token_that_only_writes(
    durafold: CommandLine, tmp_path: Path, name: str
) -> None:
    with ServerProcess(tmp_path / "data", options=["--token", "pen=write"]) as server:
        durafold.ok("dispatch", name, "6", "-k", "set", "--create", "--url", server.url, "--token", "pen")


@pytest.mark.parametrize("value", ["NaN", "[1e999]", '"\\ud800"', "[" * 20_000 + "]" * 20_000])
def test_dispatch_of_what_no_reader_could_decode_is_wrong_usage(
    durafold: CommandLine, name: str, value: str
) -> None:
    outcome = durafold("dispatch", name, value, "--kind", "set", "--create")

    assert outcome.code == 2
    assert "JSON" in outcome.err
    assert durafold("info", name).code == 3


def test_dispatch_needs_a_json_stream(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text")

    outcome = durafold("dispatch", name, "1", "--kind", "set")

    assert (outcome.code, "is one of text/plain" in outcome.err) == (2, True)


def test_a_shared_value_is_folded_without_a_reducer(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", "--kind", "set", "5")
    durafold.ok("dispatch", name, "--kind", "op", '["increment", 2]')

    assert durafold.ok("state", name).out == "7\n"


def test_state_starts_at_what_it_is_told(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", "--kind", "op", '["increment", 2]')

    assert durafold.ok("state", name, "--initial", "10").out == "12\n"


def test_state_folds_with_a_reducer_of_the_users(durafold: CommandLine, shopping: str) -> None:
    outcome = durafold.ok("state", shopping, "--reducer", BASKET)

    assert outcome.out == '{\n  "items": [\n    "eggs"\n  ]\n}\n'
    assert "1 message could not be folded, the first of them is number 5" in outcome.err


def test_state_of_actions_without_their_reducer_says_what_is_missing(
    durafold: CommandLine, shopping: str
) -> None:
    outcome = durafold.ok("state", shopping)

    assert outcome.out == "null\n"
    assert "Nothing in it is of a shared value: name what folds it with --reducer" in outcome.err


def test_state_as_record_lists_what_could_not_be_folded(durafold: CommandLine, shopping: str) -> None:
    (record,) = durafold.ok("state", shopping, "--reducer", BASKET, "--json").records

    assert (record["state"], record["revision"], record["messages"]) == ({"items": ["eggs"]}, 3, 5)
    assert [(fault["number"], fault["verdict"]) for fault in record["faults"]] == [(5, "unknown")]


@pytest.mark.parametrize(("reducer", "state"), [("total", "6\n"), ("letters", '"123"\n'), ("sums", "106\n")])
def test_the_initial_state_comes_from_the_type_or_the_atom(
    durafold: CommandLine, name: str, reducer: str, state: str
) -> None:
    durafold.ok("append", name, "--create", "json", "1", "2", "3")

    assert durafold.ok("state", name, "--reducer", f"support.cli_reducers:{reducer}").out == state


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reducer", "nowhere:reducer"], "There is no module 'nowhere'"),
        (["--reducer", "support.cli_reducers:nothing"], "has no 'nothing'"),
        (["--reducer", "set_state"], "module:name"),
        (["--reducer", "support.cli_reducers:__all__"], "neither a function"),
        (
            ["--reducer", "support.cli_reducers:impossible"],
            "impossible tells no state before the first message",
        ),
        (["--reducer", "support.cli_reducers:impossible"], "--initial JSON"),
        (["--reducer", BASKET, "--initial", '{"items": 5}'], "--initial does not match"),
        (["--initial", "{"], "--initial is not JSON"),
        (["--to", "a b"], "cannot be an offset"),
        (["--to", "1", "--follow"], "--follow"),
    ],
)
def test_what_cannot_be_folded_is_wrong_usage(
    durafold: CommandLine, shopping: str, arguments: list[str], said: str
) -> None:
    outcome = durafold("state", shopping, *arguments)

    assert outcome.code == 2
    assert said in outcome.err


def test_a_shared_value_is_folded_by_the_name_of_its_atom(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", "--kind", "set", '{"milk": 2}')

    arguments = ["replay", name, "--reducer", "support.cli_reducers:prices", "--json"]
    first, last = durafold.ok(*arguments).records
    assert first["verdict"] == "applied"
    assert last["state"] == {"milk": 2}


def test_a_value_that_stays_null_asks_for_what_it_begins_with(durafold: CommandLine, name: str) -> None:
    durafold.ok("dispatch", name, "--create", "--kind", "op", '["increment", 2]')

    unsaid = durafold.ok("state", name)
    said = durafold.ok("state", name, "--initial", "0")

    assert (unsaid.out, said.out, said.err) == ("null\n", "2\n", "")
    assert "--initial JSON" in unsaid.err


def test_only_json_streams_can_be_folded(durafold: CommandLine, name: str) -> None:
    durafold.ok("create", name, "--type", "text")

    assert durafold("state", name).code == 2


def test_the_state_protocol_is_folded_into_collections(durafold: CommandLine, name: str) -> None:
    durafold.ok(
        "append", name, "--create", "json",
        '{"type": "user", "key": "1", "value": {"name": "ann"}, "headers": {"operation": "insert"}}',
        '{"type": "user", "key": "2", "value": {"name": "bob"}, "headers": {"operation": "insert"}}',
        '{"type": "user", "key": "1", "headers": {"operation": "delete"}}',
    )  # fmt: skip

    (record,) = durafold.ok("state", name, "--reducer", "state-protocol", "--json").records
    assert record["state"] == {"user": {"2": {"name": "bob"}}}


def test_to_stops_at_an_offset_within_a_page(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "1", "2", "3")
    (middle,) = durafold.ok("info", name, "--json").records
    durafold.ok("append", name, "4", "5")

    arguments = ["state", name, "--reducer", "support.cli_reducers:total", "--to", middle["next_offset"]]
    assert durafold.ok(*arguments).out == "6\n"


def test_to_the_tail_folds_everything(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "1", "2", "3")
    (tail,) = durafold.ok("info", name, "--json").records

    arguments = ["state", name, "--reducer", "support.cli_reducers:total", "--to", tail["next_offset"]]
    assert durafold.ok(*arguments).out == "6\n"


def test_follow_prints_until_the_stream_ends(durafold: CommandLine, name: str) -> None:
    durafold.ok("append", name, "--create", "json", "--close", "1", "2")

    assert durafold.ok("state", name, "-f", "--reducer", "support.cli_reducers:total").out == "3\n"


def test_replay_shows_what_became_of_each_action(durafold: CommandLine, shopping: str) -> None:
    *steps, _ = durafold.ok("replay", shopping, "--reducer", BASKET, "--json").records

    assert [step["number"] for step in steps] == [1, 2, 3, 4, 5]
    verdicts = [step["verdict"] for step in steps]
    assert verdicts == ["applied", "rejected", "applied", "applied", "unknown"]
    assert steps[1]["reason"] == "there is no eggs"


def test_replay_shows_what_each_action_changed(durafold: CommandLine, shopping: str) -> None:
    lines = durafold.ok("replay", shopping, "--reducer", BASKET, "--diff").out.splitlines()

    assert lines[1] == '        + items[0]: "milk"'
    assert lines[4] == '        + items[1]: "eggs"'
    assert lines[6] == '        - items[0]: "milk"'


def test_replay_notices_second_copies_of_an_action(durafold: CommandLine, name: str) -> None:
    message = '{"type": "set", "payload": 5, "meta": {"id": "ann:1", "v": 1}}'
    durafold.ok("append", name, "--create", "json", message, message)

    *steps, last = durafold.ok("replay", name, "--json").records
    assert [step["verdict"] for step in steps] == ["applied", "duplicate"]
    assert last["state"] == 5
