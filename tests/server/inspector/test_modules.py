"""The page's pure modules fold as the SDK does, and cut what the server sends where it should be cut."""

from __future__ import annotations

import json
import random
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest

from durafold.state.ops import apply_op
from durafold.state.outcomes import Reject, UnknownAction
from durafold.state.reducer import set_state_step
from durafold.state.replica import Batch, Confirmed, Mark, fold_batch
from durafold.wire.envelope import from_message
from support.node import node_environment

MODULES: Final = Path(str(files("durafold_server.inspector"))) / "static" / "js"
PROGRAM: Final = Path(__file__).parents[2] / "support" / "inspector_modules.mjs"


def in_javascript(what: str, cases: Any) -> Any:
    """What the page's modules make of the cases."""
    outcome = subprocess.run(
        ["node", PROGRAM, MODULES.as_uri(), what],
        input=json.dumps({"cases": cases}),
        capture_output=True,
        text=True,
        env=node_environment(),
    )
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


def in_python(state: Any, op: Any) -> list[Any]:
    """What the SDK makes of an operation."""
    try:
        return ["applied", apply_op(state, op)]
    except Reject:
        return ["rejected", None]
    except UnknownAction:
        return ["unknown", None]
    except ValueError:
        return ["poison", None]


def random_value(chance: random.Random, depth: int = 2) -> Any:
    plain = [None, True, False, 0, 1, -3, 2.5, "", "a", "b"]
    if depth and chance.random() < 0.6:
        inner = [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        return inner if chance.random() < 0.5 else dict(zip("abc", inner, strict=False))
    return chance.choice(plain)


def random_op(chance: random.Random) -> Any:
    names = ["increment", "append", "extend", "remove", "merge", "put", "toggle", "min", "max", "newer"]
    path = [chance.choice(["a", "b", "c", 0, 1]) for _ in range(chance.randrange(3))]
    name = chance.choice(names)
    argument = random_value(chance)
    usual = {"put": [name, path, argument], "toggle": [name, path]}.get(name, [name, argument, path])
    return chance.choice([usual, usual, usual, [name, argument], [name], [name, path, argument, 1], name])


def test_operations_do_what_they_do_in_the_sdk() -> None:
    chance = random.Random(4437)
    cases = [[random_value(chance), random_op(chance)] for _ in range(4000)]

    expected = [in_python(state, op) for state, op in cases]

    assert in_javascript("ops", cases) == expected
    assert {verdict for verdict, _ in expected} == {"applied", "rejected", "unknown", "poison"}


def message(client: str, n: int, kind: str, payload: Any, **meta: Any) -> dict[str, Any]:
    return {"type": kind, "payload": payload, "meta": {"id": f"{client}:{n}", "v": 1, **meta}}


def folded(messages: list[Any]) -> list[list[Any]]:
    """State, revision and verdict after each message, by the SDK."""
    confirmed: Confirmed[Any] = Confirmed(None)
    steps = []
    for envelope in map(from_message, messages):
        mark: Mark = (envelope.id.client_id, envelope.id.n) if envelope.id else ("", -1)
        batch = Batch([envelope], confirmed.offset, confirmed.offset)
        done = fold_batch(set_state_step(), confirmed, batch, {mark})
        confirmed = done.confirmed
        verdict = done.settled[0].outcome.verdict if done.settled else "duplicate"
        steps.append([confirmed.state, confirmed.revision, verdict])
    return steps


def test_a_log_is_folded_as_the_sdk_folds_it() -> None:
    messages = [
        message("a", 1, "set", {"n": 0}),
        message("b", 1, "op", ["increment", 2, ["n"]]),
        message("a", 1, "set", {"n": 100}),
        message("a", 2, "set", {"n": 5}, if_revision=2),
        message("b", 2, "set", {"n": 6}, if_revision=2),
        message("b", 3, "op", ["increment", 1, ["n", "deep"]]),
        message("b", 4, "dance", 1),
        message("b", 3, "op", ["increment", 1, ["n"]]),
        {"type": "op", "payload": ["put", ["foreign"], True]},
        message("b", 5, "op", "not an operation"),
        *(message("c", n, "op", ["increment", 1, ["n"]]) for n in range(600)),
    ]

    assert in_javascript("replay", messages) == folded(messages)


def test_pages_are_cut_where_messages_end() -> None:
    messages: list[Any] = [1, '"],[{', {"a": [1, {"b": "\\"}]}, [], {}, "ünïcödé ✓", None, [[[]]], -1.5e-7]
    texts = [json.dumps(one, ensure_ascii=False) for one in messages]
    pages = [f"[{','.join(texts[:4])}]", "[]", f"[{','.join(texts[4:])}]"]

    cut = in_javascript("pages", pages)

    sizes = [len(text.encode()) + 1 for text in texts]
    assert cut == [[sum(sizes[:index]), text] for index, text in enumerate(texts)]


def test_text_is_cut_into_lines_wherever_chunks_end() -> None:
    assert in_javascript("lines", ["one\ntw", "o\n", "", "\nfour"]) == ["one", "two", "", "four"]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2, "b": 3}, [["changed", "/a"], ["added", "/b"]]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, [["removed", "/a/c"]]),
        ([1, 2, 3], [1, 3], [["removed", "/1"]]),
        ([1, 3], [0, 1, 3], [["added", "/0"]]),
        ([{"n": 1}, {"n": 2}], [{"n": 1}, {"n": 9}], [["changed", "/1/n"]]),
        (None, {"a": 1}, [["changed", ""]]),
        ({"a": []}, {"a": {}}, [["changed", "/a"]]),
    ],
)
def test_a_difference_names_the_parts_that_changed(before: Any, after: Any, changes: Any) -> None:
    assert in_javascript("diff", [[before, after]]) == [changes]


def test_events_are_read_however_the_network_cuts_them() -> None:
    text = ": heartbeat\n\nevent: data\ndata:[1,\ndata:  2]\n\nevent: control\r\ndata:{}\r\n\r\ndata:open"
    expected = [["data", "[1,\n 2]"], ["control", "{}"]]

    assert in_javascript("events", [text]) == expected
    assert in_javascript("events", list(text)) == expected


def test_filters_look_for_words_and_for_parts() -> None:
    messages = [{"type": "add", "meta": {"by": "Nadia"}}, {"type": "remove", "n": 2}, "add"]
    queries = ["add", "NADIA", "type=add", "type!=add", "n=2", "meta.by=Nadia type=add", "none"]

    assert in_javascript("filter", {"messages": messages, "queries": queries}) == [
        [True, False, True],
        [True, False, False],
        [True, False, False],
        [False, True, True],
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]


def test_metrics_become_rates_and_quantiles() -> None:
    before = 'x_messages_total 10\nx_seconds_bucket{le="0.1"} 5\nx_seconds_bucket{le="+Inf"} 5\n'
    after = '# HELP x\nx_messages_total 30\nx_seconds_bucket{le="0.1"} 15\nx_seconds_bucket{le="+Inf"} 15\n'

    assert in_javascript("metrics", [before, after]) == [30, pytest.approx(0.05), None]
