"""Messages of the State Protocol: what is one, what is none, and what claims to be one and is not."""

from __future__ import annotations

from typing import Any

import pytest

from durafold.state_protocol import Change, Control, InvalidChange, MaterializedState, parse_message

INSERT = {"type": "user", "key": "1", "value": {"name": "Ann"}, "headers": {"operation": "insert"}}


def parsed(**fields: Any) -> Any:
    return parse_message({**INSERT, **fields})


@pytest.mark.parametrize("operation", ["insert", "update", "upsert", "delete"])
def test_a_change_has_an_operation(operation: str) -> None:
    change = parsed(headers={"operation": operation})

    assert isinstance(change, Change)
    assert change.headers.operation == operation


def test_a_change_is_written_as_it_was_read_with_nothing_added() -> None:
    message = {
        **INSERT,
        "old_value": None,
        "headers": {"operation": "update", "txid": "t", "timestamp": "2026-01-01T00:00:00Z", "from": "me"},
    }
    change = parse_message(message)

    assert isinstance(change, Change)
    assert change.to_message() == message


@pytest.mark.parametrize("value", [None, 0, "text", [1], {"a": 1}])
def test_a_value_may_be_any_json(value: Any) -> None:
    change = parsed(value=value)

    assert isinstance(change, Change)
    assert change.value == value
    assert change.to_message()["value"] == value


def test_a_delete_needs_no_value() -> None:
    change = parse_message({"type": "user", "key": "1", "headers": {"operation": "delete"}})

    assert isinstance(change, Change)
    assert "value" not in change.to_message()


@pytest.mark.parametrize("control", ["snapshot-start", "snapshot-end", "reset"])
def test_a_control_has_only_headers(control: str) -> None:
    message = {"headers": {"control": control}}
    parsed = parse_message(message)

    assert isinstance(parsed, Control)
    assert parsed.to_message() == message


@pytest.mark.parametrize(
    "message", [None, 1, "a", [], {}, {"headers": 1}, {"headers": {}}, {"type": "action"}]
)
def test_anything_else_is_none_of_it(message: Any) -> None:
    assert parse_message(message) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ""},
        {"key": 1},
        {"type": ""},
        {"headers": {"operation": "explode"}},
        {"headers": {"control": "explode"}},
        {"headers": {"operation": "insert", "txid": 1}},
    ],
)
def test_what_claims_to_be_a_change_and_is_none_is_told_apart(fields: dict[str, Any]) -> None:
    message = {**INSERT, **fields}
    result = parse_message(message)

    assert isinstance(result, InvalidChange)
    assert result.message == message
    assert result.reason


def test_an_insert_without_a_value_is_invalid() -> None:
    message = {"type": "user", "key": "1", "headers": {"operation": "insert"}}

    assert isinstance(parse_message(message), InvalidChange)


def state_of(*messages: dict[str, Any]) -> MaterializedState:
    state = MaterializedState()
    state.apply_batch(
        [found for message in messages if isinstance(found := parse_message(message), Change | Control)]
    )
    return state


def test_changes_add_up_to_rows() -> None:
    state = state_of(
        INSERT,
        {**INSERT, "key": "2", "value": 5, "headers": {"operation": "upsert"}},
        {**INSERT, "value": {"name": "Anna"}, "headers": {"operation": "update"}},
        {"type": "user", "key": "2", "headers": {"operation": "delete"}},
        {**INSERT, "type": "room", "value": None},
    )

    assert state.get_type("user") == {"1": {"name": "Anna"}}
    assert state.get("user", "1") == {"name": "Anna"}
    assert state.get("user", "9") is None
    assert state.types == ["user", "room"]
    assert state.type_count == 2


def test_deleting_what_is_not_there_is_no_fault() -> None:
    assert state_of({"type": "user", "key": "9", "headers": {"operation": "delete"}}).get_type("user") == {}


def test_a_reset_voids_everything_before() -> None:
    state = state_of(INSERT, {"headers": {"control": "reset"}}, {**INSERT, "key": "2"})

    assert list(state.get_type("user")) == ["2"]


def test_snapshot_marks_are_hints() -> None:
    state = state_of(
        {"headers": {"control": "snapshot-start"}}, INSERT, {"headers": {"control": "snapshot-end"}}
    )

    assert list(state.get_type("user")) == ["1"]
